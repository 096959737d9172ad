"""Reads the text of CSVs as people have them: in any encoding, with any line ends, broken in places."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LONGEST_FIELD = 2**31 - 1
# In characters. One text of Jira's has no more than 32,767 of them.
_LONGEST_ROW = 16 * 1024 * 1024
_PIECE = 256 * 1024
_MARK = 8
_NOT_ASCII = bytes(range(0x80, 0x100))
_DELIMITERS = ",;\t|^"
# As headers name the issues' key, the surest first, in small letters and without what is between words.
_KEY_COLUMNS = ("issuekey", "workitemkey", "key")
# How much of a file tells its delimiter, in characters and in rows.
_MOST_LOOKED_AT, _ROWS_LOOKED_AT = 256 * 1024, 20
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# UTF-16 without a mark, by its first two letters.
_UNMARKED = ((re.compile(rb"[^\0]\0[^\0]\0"), "utf-16-le"), (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16-be"))
# CESU-8 has a character above U+FFFF as two surrogates of three bytes each.
_CESU = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


class Utf8:
    """
    Turns the bytes of a text into good UTF-8 without a mark, piece by piece.

    UTF-16 and UTF-32 are told by their mark. Whatever is not UTF-8 in a text without one is taken for CESU-8,
    or else for Latin-1 (as Windows has it): no byte is lost, and none stops the rest from being read.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, piece: bytes, *, final: bool = False) -> bytes:
        """Return as much as can be told by now; all of it after the ``final`` piece."""
        data, self._rest = self._rest + piece, b""
        if not self._begun:
            if len(data) < _MARK and not final:
                self._rest = data
                return b""
            data = self._begin(data)
        if self._decoder is not None:
            return self._decoder.decode(data, final).encode()
        # Up to an ASCII character: so none is cut in two, whichever encoding it is in.
        end = len(data) if final else len(data.rstrip(_NOT_ASCII))
        self._rest = data[end:]
        return _cleaned(data[:end])

    def _begin(self, data: bytes) -> bytes:
        self._begun = True
        marked = [(name, len(mark)) for mark, name in _ENCODINGS if data.startswith(mark)]
        unmarked = [(name, 0) for pattern, name in _UNMARKED if pattern.match(data)]
        for name, mark in (marked + unmarked)[:1]:
            self._decoder = codecs.getincrementaldecoder(name)("replace")
            return data[mark:]
        while data.startswith(codecs.BOM_UTF8):
            data = data[len(codecs.BOM_UTF8) :]
        return data


class _CleanFile(io.RawIOBase):
    """A file's text as :class:`Utf8` has it."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file, self._utf8 = file, Utf8()
        self._ready, self._is_over = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and not self._is_over:
            piece = self._file.read(_PIECE)
            self._is_over = not piece
            self._ready = self._utf8.take(piece, final=self._is_over)
        taken = self._ready[: len(view)]
        view[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)


@contextmanager
def reading(path: Any) -> Iterator[Iterator[list[str]]]:
    """
    Read the rows of a CSV; its delimiter is the one with which header and rows make sense.

    :param path: a path of this machine or of an object storage
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open("rb") as file, path.open("rb") as same:
        delimiter = _delimiter_of(_text_of(same).read(_MOST_LOOKED_AT))
        yield _rows(_text_of(file), delimiter)


def filled(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Yield the rows that have a value."""
    return (row for row in rows if any(map(str.strip, row)))


def key_column(header: Sequence[str]) -> int | None:
    """Return where a header has the issues' key; None where nothing looks like it."""
    names = ["".join(letter for letter in name.lower() if letter.isalnum()) for name in header]
    return next((names.index(name) for name in _KEY_COLUMNS if name in names), None)


class _Lines:
    """The lines of a text, of which those of the last row can be had again."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._back: list[str] = []
        self._size = 0
        self.used: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size > _LONGEST_ROW:
            raise csv.Error("a quote that is never closed")
        line = self._back.pop() if self._back else next(self._text)
        self.used.append(line)
        self._size += len(line)
        return line

    def begin(self) -> None:
        """Begin a row."""
        self._size = 0
        self.used.clear()

    def first(self) -> str:
        """Return the first line of the last row; the others come again."""
        first, *others = self.used
        self._back += reversed(others)
        return first


def _rows(text: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the rows; where a quote is not closed its row ends with its line, so the next ones are rows."""
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = _is_open(lines.used, str(error), delimiter)
            own = [lines.first().rstrip("\r\n")] if is_open else list(lines.used)
            row = next(csv.reader(own, delimiter=delimiter), [])
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        yield row


def _is_open(lines: Sequence[str], complaint: str, delimiter: str) -> bool:
    """Say whether a row's quote is closed by nothing, or only by that which opens a cell of another row."""
    if "expected after" not in complaint:
        return True
    before = lines[-1].partition('"')[0]
    return len(lines) > 1 and (not before or before.endswith(delimiter))


def _delimiter_of(begin: str) -> str:
    """
    Return what is between the cells of a CSV, from its begin.

    Names have such characters in them: so it is not the one that there are most of, but the one that leaves
    a name that is known, else rows as wide as their header, else most names.
    """

    def sense(delimiter: str) -> tuple[bool, int, int]:
        rows = filled(csv.reader(io.StringIO(begin, newline=""), delimiter=delimiter))
        header, *others = [*islice(rows, _ROWS_LOOKED_AT)] or [[]]
        is_wide = len(header) > 1
        alike = sum(len(row) == len(header) for row in others) if is_wide else 0
        return key_column(header) is not None, alike, len(header)

    return max(_DELIMITERS, key=sense)


def _text_of(file: io.BufferedIOBase) -> io.TextIOWrapper:
    buffered = io.BufferedReader(_CleanFile(file), _PIECE)
    # newline="": the line ends stay as they are, for the CSV's reader to tell rows from breaks in a cell.
    return io.TextIOWrapper(buffered, encoding="utf-8", newline="")


class RowCounter:
    """Counts the rows of a CSV that comes in pieces; a line break between quotes ends none."""

    def __init__(self) -> None:
        self.bytes = 0
        self._utf8 = Utf8()
        self._lines = 0
        self._in_line = self._quoted = False
        self._last = b"\n"

    def take(self, piece: bytes) -> None:
        self.bytes += len(piece)
        self._count(self._utf8.take(piece))

    @property
    def rows(self) -> int:
        """The rows without the header; empty lines are none. To be asked for once, at the end."""
        self._count(self._utf8.take(b"", final=True))
        return max(self._lines - 1, 0)

    def _count(self, text: bytes) -> None:
        lines = b"x".join(self._unquoted(text)).replace(b"\r", b"\n").split(b"\n")
        full = sum(map(bool, lines))
        self._lines += full - (self._in_line and bool(lines[0]))
        self._in_line = bool(lines[-1]) or (self._in_line and len(lines) == 1)

    def _unquoted(self, text: bytes) -> Iterator[bytes]:
        """Yield what is not between quotes; a quote within a cell that has none around it is a character."""
        for number, part in enumerate(text.split(b'"')):
            if number:
                self._quoted = not self._quoted and (self._last in b',;\t|^\r\n"')
                self._last = b'"'
            if part:
                self._last = part[-1:]
            yield b"" if self._quoted else part


def _cleaned(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "archival.as_meant").encode()
    return data


def _as_meant(error: UnicodeError) -> tuple[str, int]:
    """Read what is not UTF-8; the handler of ``archival.as_meant``."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    data, at = error.object, error.start
    if found := _CESU.match(data, at):
        pair = found[0].decode("utf-8", "surrogatepass")
        return pair.encode("utf-16", "surrogatepass").decode("utf-16"), found.end()
    if found := _SURROGATE.match(data, at):
        return "\N{REPLACEMENT CHARACTER}", found.end()
    byte = data[at : at + 1]
    try:
        return byte.decode("cp1252"), at + 1
    except UnicodeDecodeError:
        return byte.decode("latin-1"), at + 1


codecs.register_error("archival.as_meant", _as_meant)
