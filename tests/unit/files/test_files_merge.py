"""How CSVs become one: columns by name and occurrence, and neither a value nor a row is lost."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_archival.exceptions import DestinationNotUsable, FilesDiffer
from airflow_provider_archival.files.merge import Merged, merge
from airflow_provider_archival.hooks.jira import JiraCloudHook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Answer, Connections, Loopback, Received


class Files:
    """Serves CSVs and merges them."""

    def __init__(self, loopback: Callable[..., Loopback], connections: Connections, folder: Path) -> None:
        self._bodies: list[bytes] = []
        self._server = loopback(self._answer)
        connections.add("mine", host=self._server.url, password="pw", extra={"auth_type": "bearer"})
        self.target = folder / "all.csv"

    def _answer(self, received: Received) -> Answer:
        return 200, {}, self._bodies[int(received.path.strip("/").partition("?")[0])]

    def merge(self, *bodies: str | bytes, query: str = "") -> Merged:
        self._bodies = [body.encode() if isinstance(body, str) else body for body in bodies]
        urls = [f"{self._server.url}/{number}{query}" for number in range(len(bodies))]
        return merge(JiraCloudHook("mine"), urls, str(self.target), "x.csv")

    def rows(self) -> list[list[str]]:
        with self.target.open(newline="", encoding="utf-8") as text:
            return list(csv.reader(text))


@pytest.fixture
def files(loopback: Callable[..., Loopback], own_connections: Connections, tmp_path: Path) -> Files:
    return Files(loopback, own_connections, tmp_path)


@pytest.mark.parametrize(
    ("bodies", "merged", "rows_and_dropped"),
    [
        (
            ("key,Labels,Labels\nA-1,a,b\n", "Labels,key,Labels,Labels\nc,A-2,d,e\n"),
            ["key,Labels,Labels,Labels", "A-1,a,b,", "A-2,c,d,e"],
            (2, 0),
        ),
        (
            ("key,Labels,Watchers,Labels\nA-1,a,w,b\n", "key,Watchers,Watchers\nA-2,x,y\n"),
            ["key,Labels,Labels,Watchers,Watchers", "A-1,a,b,w,", "A-2,,,x,y"],
            (2, 0),
        ),
        (("key,a\nA-1,x\n", "key,b\nA-2,y\n"), ["key,a,b", "A-1,x,", "A-2,,y"], (2, 0)),
        (("key,a\nA-1,x\n", "a,key\ny,A-1\nz,A-2\n"), ["key,a", "A-1,x", "A-2,z"], (2, 1)),
        (("a,key\nx,A-1\n", "key,a\nA-1,y\n", "key\nA-3\n"), ["a,key", "x,A-1", ",A-3"], (2, 1)),
        # Blank rows, short ones, and those that name no issue.
        (
            ("\n\nkey,a,b\n\nA-1,x\nA-2\n,,\n  , ,\n", "key,a,b\n\n"),
            ["key,a,b", "A-1,x,", "A-2,,"],
            (2, 0),
        ),
        (("key,a\n,x\n,x\n ,y\n", "a,key\nx\n"), ["key,a", ",x", ",x", " ,y", ",x"], (4, 0)),
        # Longer rows than the header.
        (
            ("key,a\nA-1,x,more,\nA-2,y\n", "key,a\nA-3,z,m,,n,\n"),
            ["key,a,,,", "A-1,x,more,,", "A-2,y,,,", "A-3,z,m,,n"],
            (3, 0),
        ),
        (("key,,a\nA-1,u,x,more\n", "key,a\nA-2,y\n"), ["key,a,,", "A-1,x,u,more", "A-2,y,,"], (2, 0)),
        # The key, however it is named.
        (
            ("Issue key,a\nA-1,x\n", "Work item key,a\nA-1,y\nA-2,z\n"),
            ["Issue key,a", "A-1,x", "A-2,z"],
            (2, 1),
        ),
        (("ISSUE  KEY,a\n A-1 ,x\n", "issue-key,a\nA-1,y\n"), ["ISSUE  KEY,a", " A-1 ,x"], (1, 1)),
        (
            ("Key,Issue key\nk,A-1\n", "Key,Work item key\nl,A-1\nm,A-2\n"),
            ["Key,Issue key", "k,A-1", "m,A-2"],
            (2, 1),
        ),
        (
            ("Key,a\nA-1,x\n", "Key,Issue key,a\nother,A-1,y\nmore,A-2,z\n"),
            ["Key,Key,a", "A-1,,x", "A-2,more,z"],
            (2, 1),
        ),
        (("a,b\nA-1,x\n", "a,c\nA-1,y\n"), ["a,b,c", "A-1,x,", "A-1,,y"], (2, None)),
        # Nothing to merge.
        (("", "key,a\nA-1,x\n", "\n\n"), ["key,a", "A-1,x"], (1, 0)),
        (("", ""), [], (0, None)),
        (("key,a\n", "key,b\n"), ["key,a,b"], (0, 0)),
        # Other delimiters.
        (("key;a\nA-1;x,y\n", "key,a\nA-2,z\n"), ["key,a", 'A-1,"x,y"', "A-2,z"], (2, 0)),
        (("key,a;b;c\nA-1,x\n", "\nkey;a\nA-1;x,y\nA-2;z\n"), ["key,a;b;c,a", "A-1,x,", "A-2,,z"], (2, 1)),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_files_become_one(
    files: Files, bodies: tuple[str, ...], merged: list[str], rows_and_dropped: tuple[int, int | None]
) -> None:
    found = files.merge(*bodies)
    assert files.target.read_text().splitlines() == merged
    assert (found.rows, found.dropped) == rows_and_dropped
    assert found.bytes == files.target.stat().st_size


@pytest.mark.parametrize(
    "body",
    [
        "key,a\nA-2,caf\u00e9 \U0001f600\n".encode(),
        "\ufeffkey,a\nA-2,caf\u00e9 \U0001f600\n".encode(),
        "key,a\nA-2,caf\u00e9 \U0001f600\n".encode("utf-16"),
        "key,a\rA-2,caf\u00e9 \U0001f600\r".encode("utf-16"),
        "key,a\rA-2,caf\u00e9 \U0001f600".encode(),
        b"key,a\nA-2,caf\xe9 \xed\xa0\xbd\xed\xb8\x80\n",
        b'\xef\xbb\xbf"key",a\r\n\r\nA-2,caf\xe9 \xf0\x9f\x98\x80\r\n',
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_first", [True, False])
def test_files_in_any_encoding_become_one_in_utf_8(files: Files, body: bytes, is_first: bool) -> None:
    other = b"key,a\nA-1,x\n"
    files.merge(*((body, other) if is_first else (other, body)))
    assert files.target.read_bytes()[:5] == b"key,a"
    assert sorted(files.rows()[1:]) == [["A-1", "x"], ["A-2", "caf\u00e9 \U0001f600"]]


def test_nul_and_other_odd_bytes_lose_no_row(files: Files) -> None:
    files.merge(b"key,a\nA-1,x\x00y\nA-2,\xff\xfe\nA-3,z\n", b"key,a\nA-4,\xed\xa0\xbd\n")
    assert files.rows()[1:] == [["A-1", "x\x00y"], ["A-2", "\u00ff\u00fe"], ["A-3", "z"], ["A-4", "\ufffd"]]


_NAMES = st.sampled_from(["Labels", "Watchers", "Sprint", "Summary", "", " Labels "])
_FILES = st.lists(
    st.lists(_NAMES, max_size=6).flatmap(
        lambda names: st.tuples(
            st.permutations(["Issue key", *names]),
            st.lists(st.lists(st.sampled_from(["", "x", "y", "z"]), max_size=9), max_size=5),
        )
    ),
    min_size=1,
    max_size=4,
)


@given(
    made=_FILES, encodings=st.lists(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), min_size=4, max_size=4)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_is_lost_whatever_the_headers(files: Files, made: list[Any], encodings: list[str]) -> None:
    bodies, wanted = [], Counter[tuple[str, str]]()
    for number, ((header, rows), encoding) in enumerate(zip(made, encodings, strict=False)):
        key = header.index("Issue key")
        lines = [",".join(header)]
        for at, row in enumerate(rows):
            cells = [*row, *[""] * (key + 1 - len(row))]
            cells[key] = f"A-{number}{at}"
            lines.append(",".join(cells))
            names = [*header, *[""] * len(cells)]
            wanted.update((name.strip(), cell) for name, cell in zip(names, cells, strict=False) if cell)
        bodies.append("\n".join(lines).encode(encoding))
    files.merge(*bodies)
    header, *rows = files.rows()
    assert (
        Counter((name, cell) for row in rows for name, cell in zip(header, row, strict=True) if cell)
        == wanted
    )
    # Columns of one name stand together.
    assert len([1 for at, name in enumerate(header) if header[at - 1 : at] != [name]]) == len(set(header))


def test_files_without_a_common_column_are_refused_and_nothing_is_saved(files: Files) -> None:
    with pytest.raises(FilesDiffer, match="no column that another one has") as caught:
        files.merge("key,a\nA-1,x\n", "error\nno export\n", query="?signature=0123456789")
    assert "0123456789" not in str(caught.value)
    assert not files.target.exists()


def test_a_folder_in_the_place_of_the_file_is_refused(files: Files) -> None:
    files.target.mkdir()
    with pytest.raises(DestinationNotUsable, match="a folder is at"):
        files.merge("key\nA-1\n", "key\nA-2\n")
    assert list(files.target.iterdir()) == []
