"""How a file is brought home: whole or not at all, and credentials to the connection's own origin only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.exceptions import ServiceFault, ServiceRefusal
from airflow_provider_archival.files.download import download
from airflow_provider_archival.hooks.jira import JiraCloudHook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Answer, Connections, Loopback, Pauses, Received

CSV = b'key,summary\r\nA-1,"two\nlines"\r\nA-2,"a ""quoted"" one"\r\n'


def bearer_to(connections: Connections, url: str, **extra: Any) -> JiraCloudHook:
    connections.add(
        "mine", host=url, password="pw", extra={"auth_type": "bearer", **extra}, conn_type="jira_cloud"
    )
    return JiraCloudHook("mine")


def fetched(hook: JiraCloudHook, url: str) -> bytes:
    pieces: list[bytes] = []
    hook.fetch(url, pieces.append)
    return b"".join(pieces)


def csv(received: Received) -> Answer:
    return 200, {}, CSV


# --- where credentials go ---


def test_the_connections_own_origin_gets_the_credentials(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = loopback(csv)
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/file.csv?a=1") == CSV
    assert server.received[0].headers["authorization"] == "Bearer pw"
    assert server.received[0].path == "/file.csv?a=1"


def test_another_origin_gets_no_credentials(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server, other = loopback(csv), loopback(csv)
    assert fetched(bearer_to(own_connections, server.url), f"{other.url}/file.csv") == CSV
    assert "authorization" not in other.received[0].headers
    assert server.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_followed_without_credentials(
    loopback: Callable[..., Loopback], own_connections: Connections, status: int
) -> None:
    other = loopback(csv)
    server = loopback(lambda received: (status, {"Location": f"{other.url}/signed?key=1"}, b""))
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/file.csv") == CSV
    assert server.received[0].headers["authorization"] == "Bearer pw"
    assert other.received[0].path == "/signed?key=1"
    assert "authorization" not in other.received[0].headers


def test_a_redirect_back_home_gets_the_credentials_again(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = loopback(
        lambda received: csv(received) if received.path == "/real" else (302, {"Location": "/real"}, b"")
    )
    assert fetched(bearer_to(own_connections, server.url), f"{server.url}/file.csv") == CSV
    assert [received.headers.get("authorization") for received in server.received] == [
        "Bearer pw",
        "Bearer pw",
    ]


def test_redirects_in_a_circle_end(loopback: Callable[..., Loopback], own_connections: Connections) -> None:
    server = loopback(lambda received: (302, {"Location": received.path}, b""))
    with pytest.raises(ServiceFault, match="too many redirects"):
        fetched(bearer_to(own_connections, server.url), f"{server.url}/file.csv")
    assert len(server.received) == 5


@pytest.mark.parametrize(
    "url", ["http://files.example.com/x.csv", "ftp://files.example.com/x", "file:///etc/passwd"]
)
def test_nothing_but_https_is_taken_from_another_host(
    loopback: Callable[..., Loopback], own_connections: Connections, url: str
) -> None:
    server = loopback(lambda received: (302, {"Location": url}, b""))
    hook = bearer_to(own_connections, server.url)
    with pytest.raises(ServiceRefusal, match="only https:// is taken from another host"):
        fetched(hook, url)
    with pytest.raises(ServiceRefusal, match="only https:// is taken from another host"):
        fetched(hook, f"{server.url}/file.csv")


def test_an_errors_body_does_not_reach_the_file(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = loopback(lambda received: (403, {}, b'{"errorMessages": ["Not yours."]}'))
    pieces: list[bytes] = []
    with pytest.raises(ServiceRefusal, match="Not yours"):
        bearer_to(own_connections, server.url).fetch(f"{server.url}/file.csv", pieces.append)
    assert pieces == []


def test_a_file_may_be_longer_than_an_answer(
    loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path
) -> None:
    server = loopback(lambda received: (200, {}, b"a,b\n" + 5_000_000 * b"1,2\n"))
    saved = download(bearer_to(own_connections, server.url), f"{server.url}/f", str(tmp_path), "f.csv")
    assert (saved.rows, saved.bytes) == (5_000_000, 20_000_004)


# --- saving ---


def test_a_file_is_saved_under_its_name_in_a_folder_that_is_made(
    loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path
) -> None:
    server = loopback(csv)
    folder = tmp_path / "not" / "yet"
    saved = download(bearer_to(own_connections, server.url), f"{server.url}/f", str(folder), "f.csv")
    assert (folder / "f.csv").read_bytes() == CSV
    assert (saved.rows, saved.bytes) == (2, len(CSV))
    assert saved.path.endswith("/not/yet/f.csv")
    assert [path.name for path in folder.iterdir()] == ["f.csv"]


def test_a_file_is_saved_under_the_path_that_was_given(
    loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path
) -> None:
    server = loopback(csv)
    download(
        bearer_to(own_connections, server.url), f"{server.url}/f", f"file://{tmp_path}/mine.csv", "f.csv"
    )
    assert (tmp_path / "mine.csv").read_bytes() == CSV


def test_a_file_that_is_there_is_replaced(
    loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path
) -> None:
    server = loopback(csv)
    (tmp_path / "f.csv").write_bytes(b"older, and longer than the new one" * 100)
    download(bearer_to(own_connections, server.url), f"{server.url}/f", str(tmp_path), "f.csv")
    assert (tmp_path / "f.csv").read_bytes() == CSV


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"", 0),
        (b"key\n", 0),
        (b"key", 0),
        (b"key\nA-1", 1),
        (b"key\nA-1\n", 1),
        (b'key\n"A\n1"\n"B\r\n2"\n', 2),
        (b'"k\ney"\nA-1\n', 1),
        (b'key\n"a ""b\n"" c"\n', 1),
    ],
)
def test_rows_are_counted_as_a_csv_has_them(
    loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path, body: bytes, rows: int
) -> None:
    server = loopback(lambda received: (200, {}, body))
    saved = download(bearer_to(own_connections, server.url), f"{server.url}/f", str(tmp_path), "f.csv")
    assert (saved.rows, saved.bytes) == (rows, len(body))


@pytest.mark.parametrize("what", [{"truncate": True}, {"status": 503}, {"reset": "after"}], ids=str)
def test_a_download_that_is_cut_is_begun_again(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    tmp_path: Path,
    what: dict[str, Any],
) -> None:
    hook = JiraCloudHook()
    hook.archive_issues(["DEMO-1", "DEMO-4", "DEMO-5"])
    task = hook.export_archived_issues()
    archival_sandbox.job(task.id, "finish")
    archival_sandbox.fault("*.csv", times=2, **what)
    assert task.file_url
    saved = download(hook, task.file_url, str(tmp_path), "f.csv")
    assert saved.rows == 5
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 6
    assert len(archival_sandbox.requests("*.csv")) == 3


def test_a_download_that_stays_cut_leaves_what_was_there(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, tmp_path: Path
) -> None:
    hook = JiraCloudHook()
    task = hook.export_archived_issues()
    archival_sandbox.job(task.id, "finish")
    archival_sandbox.fault("*.csv", times=None, truncate=True)
    (tmp_path / "f.csv").write_text("the last good one")
    assert task.file_url
    with pytest.raises(ServiceFault, match="the connection was lost"):
        download(hook, task.file_url, str(tmp_path), "f.csv")
    assert (tmp_path / "f.csv").read_text() == "the last good one"
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]
    assert len(archival_sandbox.requests("*.csv")) == 5


def test_a_download_that_is_refused_is_not_begun_again(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, tmp_path: Path
) -> None:
    hook = JiraCloudHook()
    with pytest.raises(ServiceRefusal, match="HTTP 404"):
        download(
            hook,
            f"{archival_sandbox.base_url}/rest/api/3/issues/archive/export/file/4711.csv",
            str(tmp_path),
            "f.csv",
        )
    assert list(tmp_path.iterdir()) == []
    assert pauses.asked == []


def test_a_page_to_sign_in_is_no_file(
    loopback: Callable[..., Loopback], own_connections: Connections, pauses: Pauses, tmp_path: Path
) -> None:
    def page(received: Received) -> Answer:
        if received.path == "/sign-in":
            return 200, {"Content-Type": "text/HTML;charset=utf-8"}, b"<p>Your name, please"
        return 302, {"Location": "/sign-in"}, b""

    server = loopback(page)
    with pytest.raises(ServiceFault, match="a web page, perhaps to sign in, instead of the file"):
        download(bearer_to(own_connections, server.url), f"{server.url}/x.csv", str(tmp_path), "f.csv")
    assert list(tmp_path.iterdir()) == []
