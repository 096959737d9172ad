"""A transfer is complete only if its own end says so: packed or not, a file or an answer."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.exceptions import ServiceFault
from airflow_provider_archival.hooks.encodings import Broken, Unpacker
from airflow_provider_archival.hooks.jira import JiraCloudHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Carrier, Connections, Loopback

ME = b'{"displayName": "Me"}'
FILE = b"Issue key,Summary\r\n" + b"".join(b"A-%d,%d\r\n" % (n, n * n) for n in range(3000))


def bearer_to(connections: Connections, url: str, **extra: Any) -> JiraCloudHook:
    connections.add(
        "mine", host=url, password="pw", extra={"auth_type": "bearer", **extra}, conn_type="jira_cloud"
    )
    return JiraCloudHook("mine")


def bare(data: bytes) -> bytes:
    """Deflate as some servers have it: without zlib's head and check sum."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "bare": bare}


def answering(loopback: Callable[..., Loopback], body: bytes, coding: str = "", **headers: str) -> Loopback:
    coding = "deflate" if coding == "bare" else coding
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return loopback(lambda received: (200, {"Content-Encoding": coding, **more}, body))


def fetched(hook: JiraCloudHook, url: str) -> bytes:
    pieces: list[bytes] = []
    hook.fetch(url, pieces.append)
    return b"".join(pieces)


# --- files ---


@pytest.mark.parametrize("coding", PACKED)
def test_a_packed_file_comes_unpacked(
    loopback: Callable[..., Loopback], own_connections: Connections, coding: str
) -> None:
    server = answering(loopback, PACKED[coding](FILE), coding)
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv") == FILE
    assert server.received[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("coding", PACKED)
def test_half_a_packed_file_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections, coding: str, part: float
) -> None:
    """The length is right for what was sent: the server itself was cut off, and does not know."""
    whole = PACKED[coding](FILE)
    half = whole[: min(int(len(whole) * part) or (1 if part else 0), len(whole) - 1)]
    server = answering(
        loopback, half, coding, **({} if half else {"Content_Length": "", "Connection": "close"})
    )
    with pytest.raises(ServiceFault, match=r"the answer is not whole: the .* stream ended") as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.AnswerLost)
    assert caught.value.error.can_repeat


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(FILE)[:-1] + b"\x01",
        gzip.compress(FILE) + b"and more",
        gzip.compress(FILE[:1000]) + gzip.compress(FILE[1000:])[:-20],
        gzip.compress(FILE) + b"\x1f",
        b"no gzip at all",
    ],
    ids=["length", "more", "second half", "one byte", "none"],
)
def test_a_file_that_is_packed_wrongly_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections, body: bytes
) -> None:
    server = answering(loopback, body, "gzip")
    with pytest.raises(ServiceFault, match="the answer is not whole") as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(FILE[:1000]) + gzip.compress(b"") + gzip.compress(FILE[1000:]),
        gzip.compress(FILE) + 100 * b"\0",
    ],
    ids=["members", "padding"],
)
def test_a_gzip_may_have_several_members_and_padding(
    loopback: Callable[..., Loopback], own_connections: Connections, body: bytes
) -> None:
    server = answering(loopback, body, "gzip")
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv") == FILE


def test_a_file_whose_end_nothing_tells_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = answering(loopback, FILE[:100], Content_Length="", Connection="close")
    with pytest.raises(ServiceFault, match="nothing tells how long the file is") as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_an_empty_file_is_one(
    loopback: Callable[..., Loopback], own_connections: Connections, coding: str
) -> None:
    server = answering(loopback, b"", coding)
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv") == b""


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "100000"}, FILE[:1000]),
        ({"Transfer-Encoding": "chunked"}, b"3e8\r\n" + FILE[:1000] + b"\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"7d0\r\n" + FILE[:1000]),
        ({"Transfer-Encoding": "chunked"}, b"3e8\r\n" + FILE[:1000] + b"\r\n0"),
    ],
    ids=["length", "chunks", "chunk", "last chunk"],
)
def test_a_file_that_is_cut_short_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections, headers: dict[str, str], body: bytes
) -> None:
    close = {"Connection": "close", "Content-Length": "", **headers}
    server = loopback(lambda received: (200, close, body))
    with pytest.raises(ServiceFault) as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize("line", [b"garbage", b"X-A : 1", b"X A: 1", b": 1", b"<p>"])
def test_a_line_that_is_no_header_hides_neither_the_next_nor_the_url(
    own_connections: Connections, talking: Callable[..., int], logged: list[str], line: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 100\r\n\r\n" % line
    port = talking(lambda client, stop: (client.recv(65536), client.sendall(head + FILE[:100])))
    hook = bearer_to(own_connections, f"http://127.0.0.1:{port}", timeout=2)
    assert fetched(hook, f"http://127.0.0.1:{port}/f.csv?signature=0123456789") == FILE[:100]
    assert "0123456789" not in "".join(logged)


@pytest.mark.parametrize("length", ["many", "-1", "+66000", "66000.0", "0x100", "66_000"])
def test_a_length_that_is_none_tells_nothing(
    loopback: Callable[..., Loopback], own_connections: Connections, length: str
) -> None:
    server = answering(loopback, FILE[:1000], Content_Length=length, Connection="close")
    with pytest.raises(ServiceFault) as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize("how", ["gzip, chunked", "identity, chunked", "chunked;q=1", "gzip"])
def test_what_is_sent_in_another_way_can_not_be_read(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, how: str
) -> None:
    """One client takes the marks between the parts for the body, and would save them."""
    headers = {"Transfer-Encoding": how, "Content-Length": "", "Connection": "close"}
    server = loopback(lambda received: (200, headers, b"15\r\n" + ME + b"\r\n0\r\n\r\n"))
    hook = bearer_to(own_connections, server.url)
    for ask in (
        lambda: fetched(hook, f"{server.url}/f.csv"),
        lambda: carry(hook, jira.archive_by_jql("key = A-1"), attempts=1),
    ):
        with pytest.raises(ServiceFault, match=f"sent as {how}, which was not asked for") as caught:
            ask()
        assert isinstance(caught.value.error, http.UnreadableAnswer)


@pytest.mark.parametrize("status", [202, 203, 204, 205, 206])
def test_only_a_200_has_the_file(
    loopback: Callable[..., Loopback], own_connections: Connections, status: int
) -> None:
    """A file that is still being made, or a part of one, is not an empty file."""
    server = loopback(lambda received: (status, {}, b"" if status in (204, 205) else FILE[:1000]))
    with pytest.raises(ServiceFault, match="only HTTP 200 brings a whole file") as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.UnreadableAnswer)


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "a web page, perhaps to sign in"),
        (b"\xef\xbb\xbf<html>" + 70_000 * b" ", "a web page, perhaps to sign in"),
        (b'{"errorMessages": ["Try later."]}', r"something else instead of the file: Try later\."),
        (b'[{"a": "' + 5_000 * b"x", "something else instead of the file"),
        (b"<?xml version='1.0'?><Error/>", "something else instead of the file"),
    ],
    ids=["page", "long page", "JSON", "long JSON", "XML"],
)
def test_what_does_not_begin_like_a_file_is_none_whatever_it_calls_itself(
    loopback: Callable[..., Loopback], own_connections: Connections, body: bytes, words: str, coding: str
) -> None:
    packed = PACKED[coding](body) if coding else body
    server = answering(loopback, packed, coding, Content_Type="text/csv")
    pieces: list[bytes] = []
    with pytest.raises(ServiceFault, match=words) as caught:
        bearer_to(own_connections, server.url).fetch(f"{server.url}/f.csv", pieces.append)
    assert isinstance(caught.value.error, http.UnreadableAnswer)
    assert not pieces


@pytest.mark.parametrize("file", [b"K\r\n", b'"Issue key"\n', b"[Key],{b}\n" + FILE, b"<br\n", FILE[:1024]])
def test_what_begins_like_a_file_is_one(
    loopback: Callable[..., Loopback], own_connections: Connections, file: bytes
) -> None:
    server = answering(loopback, file)
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv") == file


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip"])
def test_a_coding_that_was_not_asked_for_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections, coding: str
) -> None:
    server = answering(loopback, FILE, coding)
    with pytest.raises(ServiceFault, match=f"packed as {coding}, which was not asked for") as caught:
        fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv")
    assert isinstance(caught.value.error, http.UnreadableAnswer)


@pytest.mark.parametrize("coding", ["utf-8", "identity", "none", "aws-chunked"])
def test_what_is_no_coding_is_passed_over(
    loopback: Callable[..., Loopback], own_connections: Connections, coding: str
) -> None:
    server = answering(loopback, FILE, coding)
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/f.csv") == FILE


# --- answers ---


@pytest.mark.parametrize("coding", PACKED)
def test_a_packed_answer_is_read(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, coding: str
) -> None:
    server = answering(loopback, PACKED[coding](ME), coding)
    assert carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1) == "Me"
    assert server.received[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("coding", PACKED)
def test_half_a_packed_answer_is_lost(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, coding: str
) -> None:
    """All of the JSON is there, but not the end of the stream."""
    server = answering(loopback, PACKED[coding](ME + 5000 * b" ")[:-1], coding)
    with pytest.raises(ServiceFault, match="the answer is not whole") as caught:
        carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "100"}, ME),
        ({"Transfer-Encoding": "chunked"}, b"15\r\n" + ME + b"\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"30\r\n" + ME),
    ],
    ids=["length", "chunks", "chunk"],
)
def test_an_answer_that_is_cut_short_is_lost(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    headers: dict[str, str],
    body: bytes,
) -> None:
    close = {"Connection": "close", "Content-Length": "", **headers}
    server = loopback(lambda received: (200, close, body))
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


def test_an_answer_that_ends_with_its_connection_is_read(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = answering(loopback, ME, Content_Length="", Connection="close")
    assert carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1) == "Me"


def test_an_answer_without_a_body_needs_no_end(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(lambda received: (202, {"Content-Encoding": "gzip"}, b""))
    carry(bearer_to(own_connections, server.url), jira.cancel_task("1"), attempts=1)


def test_an_answer_in_another_coding_can_not_be_read(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = answering(loopback, ME, "br")
    with pytest.raises(ServiceFault, match="packed as br") as caught:
        carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.UnreadableAnswer)


@pytest.mark.parametrize("location", ["https://[files/", "https://files:port/", "/login"])
def test_a_redirect_is_read_no_further_than_another_answer(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, location: str
) -> None:
    answers = [b"", 17 * 2**20 * b" "]
    server = loopback(lambda received: (302, {"Location": location}, answers.pop(0)))
    hook = bearer_to(own_connections, server.url)
    with pytest.raises(ServiceFault, match="redirected to"):
        carry(hook, jira.myself(), attempts=1)
    with pytest.raises(ServiceFault, match="more than 16 MiB"):
        carry(hook, jira.myself(), attempts=1)


@pytest.mark.parametrize("request_", [jira.cancel_task("1"), jira.archive_by_jql("key = A-1")], ids=str)
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 202",
        b"HTTP/1.1 202 Accepted\r\n",
        b"HTTP/1.1 202 Accepted\r\nX-A: 1",
        b"HTTP/1.1 202 Accepted\r\nX-A: 1\r\n",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b'HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n"T/1"',
    ],
    ids=str,
)
def test_half_a_head_is_no_answer(
    own_connections: Connections,
    carry: Carrier,
    talking: Callable[..., int],
    request_: http.Request[Any],
    head: bytes,
) -> None:
    port = talking(lambda client, stop: (client.recv(65536), client.sendall(head)))
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, f"http://127.0.0.1:{port}"), request_, attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


# --- the unpacker alone ---


def unpacked(pieces: list[bytes], coding: str) -> bytes:
    unpacker = Unpacker({"content-encoding": "deflate" if coding == "bare" else coding})
    out = b"".join(part for piece in pieces for part in unpacker.take(piece))
    unpacker.finish()
    return out


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.sampled_from(sorted(PACKED)),
    st.integers(0, 3),
)
def test_any_cut_is_put_together_and_any_begin_is_broken(
    members: list[bytes], places: list[int], coding: str, times: int
) -> None:
    if coding in ("deflate", "bare"):
        members = members[:1]
    members = [member * 10**times for member in members]
    packed = [PACKED[coding](member) for member in members]
    whole = b"".join(packed)
    assert unpacked(cut(whole, places), coding) == b"".join(members)
    if len(whole) <= 2000:
        ends = {sum(map(len, packed[: n + 1])) for n in range(len(packed))}
        for size in set(range(len(whole))) - ends:
            with pytest.raises(Broken):
                unpacked(cut(whole[:size], places), coding)


def test_an_unpacked_piece_is_never_large() -> None:
    bomb = gzip.compress(100_000_000 * b" ")
    pieces = [len(piece) for piece in Unpacker({"content-encoding": "gzip"}).take(bomb)]
    assert sum(pieces) == 100_000_000
    assert max(pieces) <= 64 * 1024
