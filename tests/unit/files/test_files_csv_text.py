"""How the text of a CSV is read, whichever encoding, line ends and faults it has."""

from __future__ import annotations

import codecs
import csv
import io
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.files import csv_text
from airflow_provider_archival.files.csv_text import RowCounter, Utf8, filled, reading

if TYPE_CHECKING:
    from pathlib import Path

TEXT = 'key,summary\nA-1,"caf\u00e9 \U0001f600"\n'


def read(data: bytes, size: int) -> str:
    utf8 = Utf8()
    pieces = [utf8.take(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*pieces, utf8.take(b"", final=True)]).decode()


def cesu(text: str) -> bytes:
    """Encode a text as CESU-8."""
    units = text.encode("utf-16-be")
    return b"".join(
        chr(int.from_bytes(units[at : at + 2], "big")).encode("utf-8", "surrogatepass")
        for at in range(0, len(units), 2)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a", "a"),
        (TEXT.encode(), TEXT),
        (codecs.BOM_UTF8 + TEXT.encode(), TEXT),
        (TEXT.encode("utf-16"), TEXT),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), TEXT),
        (TEXT.encode("utf-16-le"), TEXT),
        (TEXT.encode("utf-16-be"), TEXT),
        (TEXT.encode("utf-32"), TEXT),
        (cesu(TEXT), TEXT),
        (b"caf\xe9,\x80 5,\x81\n", "caf\u00e9,\u20ac 5,\x81\n"),
        ("caf\u00e9, ".encode() + b"caf\xe9", "caf\u00e9, caf\u00e9"),
        (b"half: \xed\xa0\xbd, the other: \xed\xb8\x80", "half: \ufffd, the other: \ufffd"),
        (b"cut: \xf0\x9f\x98", "cut: \u00f0\u0178\u02dc"),
        (b"a\x00b", "a\x00b"),
        ("\u4e2d\u6587".encode() * 5, "\u4e2d\u6587" * 5),
        (
            b"a\n" + codecs.BOM_UTF16_LE + "\ud83d".encode("utf-16-le", "surrogatepass"),
            "a\n\u00ff\u00fe=\u00d8",
        ),
        (codecs.BOM_UTF16_LE + "a\ud83db".encode("utf-16-le", "surrogatepass"), "a\ufffdb"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_text_is_read_in_every_encoding(data: bytes, text: str, size: int) -> None:
    assert read(data, size) == text


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_bytes_raise_and_how_they_are_cut_makes_no_difference(data: bytes, size: int) -> None:
    assert read(data, size) == read(data, 1000)


@given(st.text(st.characters(codec="utf-8"), max_size=100), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_good_text_comes_out_as_it_was(text: str, encoding: str) -> None:
    # A text that begins with a mark, or with letters that look like UTF-16, is another.
    text = f"key\n{text}"
    assert read(text.encode(encoding), 7) == text


# --- rows ---

_BODIES = [
    (b"", 0),
    (b"key\n", 0),
    (b"key", 0),
    (b"key\nA-1", 1),
    (b"key\rA-1\rA-2\r", 2),
    (b"key\r\nA-1\r\nA-2", 2),
    (b"key\n\nA-1\n\n\n", 1),
    (b"\n\nkey\r\n\r\nA-1\r\n", 1),
    (b'key\n"A\n1"\n"B\r\n2"\n', 2),
    (b'key\r"A\r1"\r', 1),
    (b'"k\ney"\nA-1\n', 1),
    (b'key\n"a ""b\n"" c"\n', 1),
    (b'key,size\nA-1,5" disk\nA-2,6" disk\n', 2),
    (b'key\n""\nA-1\n', 2),
    (b'key\n"\n"\nA-1\n', 2),
    ("key\nA-1\nA-2\n".encode("utf-16"), 2),
    ('key\r"A\r1"\rA-2'.encode("utf-16"), 2),
    ("key\nA-\u0a0a\nA-\u2022\n".encode("utf-16"), 2),
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("body", "rows"), _BODIES, ids=lambda value: repr(value)[:40])
def test_rows_are_counted_in_every_encoding_with_any_line_ends(body: bytes, rows: int, size: int) -> None:
    counter = RowCounter()
    for at in range(0, len(body), size):
        counter.take(body[at : at + size])
    assert (counter.rows, counter.bytes) == (rows, len(body))


_CELLS = st.text(st.sampled_from('ab" ,;\n\r\u00e9\U0001f600'), max_size=6)


@given(
    rows=st.lists(st.lists(_CELLS, min_size=2, max_size=3), max_size=8),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    size=st.integers(1, 50),
)
def test_what_a_writer_writes_is_counted_and_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], ends: str, encoding: str, size: int
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=ends, quoting=csv.QUOTE_ALL).writerows([["key,", "summary"], *rows])
    data = text.getvalue().encode(encoding)
    counter = RowCounter()
    for at in range(0, len(data), size):
        counter.take(data[at : at + size])
    assert counter.rows == len(rows)
    path = tmp_path_factory.mktemp("text") / "x.csv"
    path.write_bytes(data)
    with reading(path) as found:
        assert list(found) == [["key,", "summary"], *rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
def test_the_delimiter_is_the_one_of_the_header(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "x.csv").write_text(f'key{delimiter}summary\nA-1{delimiter}"a, b; c"\n')
    with reading(tmp_path / "x.csv") as rows:
        assert list(rows) == [["key", "summary"], ["A-1", "a, b; c"]]


@pytest.mark.parametrize(
    ("text", "header", "row"),
    [
        ("Issue key,Field (a; b; c)\nA-1,x\n", ["Issue key", "Field (a; b; c)"], ["A-1", "x"]),
        ("Issue key;Field (a, b, c)\nA-1;x\n", ["Issue key", "Field (a, b, c)"], ["A-1", "x"]),
        ('"Issue key","a|b|c|d"\nA-1,x\n', ["Issue key", "a|b|c|d"], ["A-1", "x"]),
        ('"a;b;c";Issue key\nx;A-1\n', ["a;b;c", "Issue key"], ["x", "A-1"]),
        # No name that is known, so the rows tell.
        ("Vorgang,Feld (a; b; c)\nA-1,x\n", ["Vorgang", "Feld (a; b; c)"], ["A-1", "x"]),
        ('Vorgang;Feld\nA-1;"x, y, z"\n', ["Vorgang", "Feld"], ["A-1", "x, y, z"]),
        # The header is not in the first line, or not in one line.
        ("\n\r\n;;\nIssue key;a\nA-1;x, y\n", ["Issue key", "a"], ["A-1", "x, y"]),
        ('"a, b,\nc";Issue key\nx;A-1\n', ["a, b,\nc", "Issue key"], ["x", "A-1"]),
        ("Issue key\nA-1; x\n", ["Issue key"], ["A-1; x"]),
        ("\ufeff\ufeff\ufeffa,Issue key\nx,A-1\n", ["a", "Issue key"], ["x", "A-1"]),
        ('\ufeff\ufeff"a,";Issue key\nx;A-1\n', ["a,", "Issue key"], ["x", "A-1"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_delimiter_is_told_whatever_is_in_the_names(
    tmp_path: Path, text: str, header: list[str], row: list[str]
) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode())
    with reading(tmp_path / "x.csv") as rows:
        assert list(filled(rows)) == [header, row]


@pytest.mark.parametrize(
    ("text", "below"),
    [
        # A quote that is never closed, or by that of another row.
        ('A-1,"open\nA-2,x\nA-3,y\n', [["A-1", "open"], ["A-2", "x"], ["A-3", "y"]]),
        ('A-1,"open\r\nA-2,x\r\nA-3,"too, z', [["A-1", "open"], ["A-2", "x"], ["A-3", "too, z"]]),
        ('A-1,"open\n"A-2","x\ny"\nA-3,z\n', [["A-1", "open"], ["A-2", "x\ny"], ["A-3", "z"]]),
        ('A-1,"\nA-2,x\n', [["A-1", ""], ["A-2", "x"]]),
        # As before: a quote within a cell, and something after the one that closes it.
        ('A-1,5" disk\nA-2,"6"" disk"\n', [["A-1", '5" disk'], ["A-2", '6" disk']]),
        ('A-1,"Foo" fails\nA-2,x\n', [["A-1", "Foo fails"], ["A-2", "x"]]),
        ('A-1,"two\nlines" more\nA-2,x\n', [["A-1", "two\nlines more"], ["A-2", "x"]]),
        ('A-1,"two\n\n""lines"""\nA-2,x\n', [["A-1", 'two\n\n"lines"'], ["A-2", "x"]]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_quote_that_is_not_closed_costs_no_row(tmp_path: Path, text: str, below: list[list[str]]) -> None:
    (tmp_path / "x.csv").write_bytes(f"key,summary\n{text}".encode())
    with reading(tmp_path / "x.csv") as rows:
        assert list(rows) == [["key", "summary"], *below]


def test_a_quote_that_is_not_closed_does_not_bring_the_rest_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_text, "_LONGEST_ROW", 1_000)
    lines = "".join(f"A-{number},x\n" for number in range(1_000))
    (tmp_path / "x.csv").write_text(f'key,summary\nB-1,"open\n{lines}')
    with reading(tmp_path / "x.csv") as rows:
        assert list(islice(rows, 3)) == [["key", "summary"], ["B-1", "open"], ["A-0", "x"]]
        assert len(list(rows)) == 999


def test_a_cell_may_be_longer_than_a_piece(tmp_path: Path) -> None:
    long = "\u4e2d" * 400_000
    (tmp_path / "x.csv").write_text(f"key\n{long}\n", encoding="utf-8")
    with reading(tmp_path / "x.csv") as rows:
        assert list(rows) == [["key"], [long]]
