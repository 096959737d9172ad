"""The body of an answer, unpacked piece by piece: whole only if its own end has come."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

ACCEPTED = "gzip, deflate"
"""What is asked for, and read."""

_PIECE = 64 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15
_ALIASES = {"x-gzip": "gzip", "gzip": "gzip", "deflate": "deflate"}
_OTHERS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})


class Broken(ValueError):
    """A packed body that ended too early, or is none."""


class NotAsked(ValueError):
    """A body that is packed in a way that was not asked for."""


def tells_its_length(headers: Mapping[str, str]) -> bool:
    """Say whether the end of a body shows even where it is not packed."""
    lengths = {part.strip() for part in headers.get("content-length", "").split(",")}
    is_told = len(lengths) == 1 and all(one.isascii() and one.isdigit() for one in lengths)
    return is_told or _transfer_of(headers) == "chunked"


def _transfer_of(headers: Mapping[str, str]) -> str:
    return headers.get("transfer-encoding", "").strip().lower()


class Unpacker:
    """
    Takes a body as it comes over the wire.

    :param headers: the answer's; the names are in lower case
    :raises NotAsked: it is packed in a way that can't be read
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
        # A name that is no coding, such as utf-8, stands there by mistake: the body is as it is.
        known = [name for name in names if name in _ALIASES or name in _OTHERS]
        if len(known) > 1 or _OTHERS.intersection(known):
            raise NotAsked(f"the answer is packed as {', '.join(known)}, which was not asked for")
        # Whatever else it is, one of the clients takes the marks between its parts for the body.
        if (transfer := _transfer_of(headers)) not in ("", "identity", "chunked"):
            raise NotAsked(f"the answer is sent as {transfer[:100]}, which was not asked for")
        self.coding = _ALIASES[known[0]] if known else None
        self._stream: zlib._Decompress | None = None
        self._begin = b""
        self._ended = 0
        # Nothing at all may be packed in any way, where something tells that this is all.
        self._may_be_empty = tells_its_length(headers)

    def take(self, raw: bytes) -> Iterator[bytes]:
        """Take some bytes and give what they unpack to, in pieces of a bounded size."""
        if self.coding is None:
            yield raw
            return
        while raw:
            if self._stream is None:
                raw = self._start(raw)
                if self._stream is None:
                    return
            yield from self._unpacked(self._stream, raw)
            if not self._stream.eof:
                return
            raw, self._stream = self._stream.unused_data, None
            self._ended += 1

    def finish(self) -> None:
        """
        Hear that no more bytes come.

        :raises Broken: more should have come
        """
        is_nothing = self._stream is None and not self._begin and not self._ended
        if (
            self.coding
            and not (is_nothing and self._may_be_empty)
            and (self._stream or self._begin or is_nothing)
        ):
            raise Broken(f"the {self.coding} stream ended before its end")

    def _start(self, raw: bytes) -> bytes:
        """Begin a stream, once enough of it has come to know its kind; returns what it begins with."""
        if self._ended:
            # Some pad the end with zeros.
            raw = raw if self._begin else raw.lstrip(b"\0")
            if raw and self.coding != "gzip":
                raise Broken(f"something follows the end of the {self.coding} stream")
        begin = self._begin + raw
        if len(begin) < 2:
            self._begin = begin
            return b""
        self._begin = b""
        wbits = _GZIP
        if self.coding == "deflate":
            is_zlib = begin[0] & 15 == 8 and (begin[0] << 8 | begin[1]) % 31 == 0
            wbits = _ZLIB if is_zlib else _BARE
        self._stream = zlib.decompressobj(wbits)
        return begin

    def _unpacked(self, stream: zlib._Decompress, raw: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = stream.decompress(raw, _PIECE)
                raw = stream.unconsumed_tail
                if piece:
                    yield piece
                if stream.eof or (not raw and len(piece) < _PIECE):
                    return
        except zlib.error as error:
            raise Broken(f"the {self.coding} stream is broken ({error})") from None
