"""Makes what a service says fit to be kept: text that encodes, numbers that fit, nothing too long."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

MOST_TEXT = 16_384
"""The longest text that is taken from an answer, in characters; a longer one ends with an ellipsis."""
MOST_KEPT = 8_192
"""The largest JSON of any shape that is kept, in characters as Airflow writes it."""
MOST_SAID = 500
"""The longest sentence that is repeated in an error or a log, in characters."""
MOST_NAME = 255
"""The longest name of anything, in characters: an id, a key, the key of an object."""
MOST_COUNTED = 2**53
"""The largest number that is believed as a count: sums of many still fit into 64 bits."""

_DEEPEST, _TOO_DEEP = 100, "the JSON is nested too deeply"
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1
_MOST_DIGITS = 4_000
_BETWEEN = 2
_NOTE = 40
_MOST_ITEMS = 1_000
_SHARES, _SHORT = 8, 100
# PostgreSQL takes no NUL, and half of a surrogate pair is in no encoding.
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_UNFIT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_LATIN = re.compile(r"charset=\"?(iso-8859-1|iso-8859-15|latin-?1|windows-1252|cp1252)\b", re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,16}")


def read_json(body: bytes, content_type: str = "") -> Any:
    """
    Return JSON that is safe in a log, an XCom, a database: the one place where answers become values.

    Halves of surrogate pairs and NULs are U+FFFD, NaN and what is infinite are None, whole numbers beyond 64
    bits are text, long texts are cut.

    :param content_type: tells the encoding of what is not Unicode
    :raises ValueError: it is no JSON, or nested too deeply
    """
    text, is_fit = _decoded(body, content_type)
    try:
        # In a list, so that a value alone is cleaned as well.
        whole = [_value(text)]
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    # Without one of these in the text there is none in any string.
    _clean(whole, not is_fit or _UNFIT_ESCAPE.search(text) is not None)
    return whole[0]


def clean_text(text: str, most: int = MOST_TEXT) -> str:
    """Return a text that encodes, cut with an ellipsis where it is longer than ``most``."""
    if len(text) > most:
        text = text[: most - 1] + "…"
    if _UNFIT.search(text):
        # Some write both halves of a pair one by one: here they become one character.
        text = (
            text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        )
    return text


def is_fit(text: str) -> bool:
    """Say whether a text encodes, and a database takes it."""
    return _UNFIT.search(text) is None


def shorten(text: str, most: int = MOST_SAID) -> str:
    """Return a text in one line of at most ``most`` characters; what is cut off costs nothing."""
    text = text.strip()
    short = " ".join(clean_text(text[: 4 * most]).split())
    if len(short) > most or len(text) > 4 * most:
        short = short[: most - 1] + "…"
    return short


def words_of(body: bytes, content_type: str = "") -> str:
    """Return the begin of a body that is no JSON, in one line."""
    head = body[:MOST_TEXT]
    return shorten(_decoded(head, content_type)[0] or head.decode("utf-8", "replace"))


def json_words(value: Any) -> str:
    """Return any JSON as one short line: a text as it is."""
    return shorten(value if isinstance(value, str) else json.dumps(bounded(value, 4 * MOST_SAID)))


def bounded(value: Any, most: int = MOST_KEPT) -> Any:
    """
    Return any JSON, cut where it is larger than ``most`` characters, each cut with a note.

    What is small is kept beside what is large: each part of a list or an object gets its share.
    """
    if _size(value, most) <= most:
        return value
    if isinstance(value, str):
        return _cut_text(value, most)
    if isinstance(value, dict):
        return _cut_object(value, most)
    return _cut_list(value, most) if isinstance(value, list) else value


def word_of(value: Any) -> str:
    """Return a status in capitals, or raise ``ValueError`` for what is no word."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a status is a word, not {json_words(value)}")
    return shorten(value, 64).upper()


def count_of(value: Any) -> int:
    """Return a whole number from 0 to :data:`MOST_COUNTED`, or raise ``ValueError`` for what is none."""
    is_whole = value.is_integer() if isinstance(value, float) else _COUNT.fullmatch(str(value))
    found = int(value) if is_whole and not isinstance(value, bool) else value
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_COUNTED:
        raise ValueError(f"{json_words(value)} is no count that can be believed")
    return found


def name_of(value: Any) -> str:
    """Return the name of something, at most :data:`MOST_NAME` characters; empty for none."""
    return "" if value is None else shorten(value if isinstance(value, str) else json_words(value), MOST_NAME)


def _decoded(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return a body as text, and whether it surely holds no half of a surrogate pair."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding), True
    except UnicodeDecodeError:
        if _LATIN.search(content_type):
            return body.decode("cp1252", "replace"), True
    try:
        return body.decode(encoding, "surrogatepass"), False
    except UnicodeDecodeError:
        # A text that was cut inside a character costs that character, not the answer.
        return body.decode(encoding, "replace"), True


_DECODER = json.JSONDecoder()
_DECODER_OF_LONG_NUMBERS = json.JSONDecoder(
    parse_int=lambda digits: int(digits) if len(digits) < _MOST_DIGITS else clean_text(digits, MOST_NAME),
)


def _value(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python itself refuses to read a number of more than 4,300 digits.
        return _DECODER_OF_LONG_NUMBERS.decode(text)


def _clean(whole: list[Any], may_be_unfit: bool) -> None:
    """Clean what is inside of lists and objects, in place, level by level."""
    level: list[Any] = [whole]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                _clean_names(one, may_be_unfit)
            for name, part in one.items() if type(one) is dict else enumerate(one):
                kind = type(part)
                if kind is str:
                    if len(part) > MOST_TEXT or (may_be_unfit and _UNFIT.search(part)):
                        one[name] = clean_text(part)
                elif kind is dict or kind is list:
                    if part:
                        below.append(part)
                elif kind is int:
                    if not _LEAST_INTEGER <= part <= _MOST_INTEGER:
                        one[name] = clean_text(str(part), MOST_NAME)
                elif kind is float and not math.isfinite(part):
                    one[name] = None
        if not below:
            return
        level = below
    raise ValueError(_TOO_DEEP)


def _clean_names(of: dict[str, Any], may_be_unfit: bool) -> None:
    if len(max(of, key=len)) <= MOST_NAME and not (may_be_unfit and any(map(_UNFIT.search, of))):
        return
    parts = [(clean_text(name, MOST_NAME), part) for name, part in of.items()]
    of.clear()
    of.update(parts)


def _cut_text(text: str, most: int) -> str:
    # A character takes up to twelve where Airflow writes it.
    for longest in (1, 2, 6):
        short = clean_text(text, max(most // longest - _NOTE, 1))
        if len(json.dumps(short)) <= most:
            return short
    return clean_text(text, max(most // 12 - _NOTE, 1))


def _cut_object(values: dict[str, Any], most: int) -> dict[str, Any]:
    first = dict(islice(values.items(), _MOST_ITEMS))
    frames = [_size(name, most) + 2 * _BETWEEN for name in first]
    kept = dict(zip(first, _cut_parts(list(first.values()), frames, most), strict=False))
    more = len(values) - len(kept)
    return {**kept, "…": f"{more} more"} if more else kept


def _cut_list(values: list[Any], most: int) -> list[Any]:
    first = values[:_MOST_ITEMS]
    kept = list(_cut_parts(first, [_BETWEEN] * len(first), most))
    more = len(values) - len(kept)
    return [*kept, f"… and {more} more"] if more else kept


def _cut_parts(parts: list[Any], frames: list[int], most: int) -> Iterator[Any]:
    """Yield the first parts, each cut so that there is room for those right after it, with their frames."""
    left = most - _NOTE
    for number, part in enumerate(parts):
        share, after = left // _SHARES, slice(number + 1, number + _SHARES)
        others = (
            min(_size(one, share) + frame, share)
            for one, frame in zip(parts[after], frames[after], strict=True)
        )
        left -= frames[number]
        # What is short is kept whole, or not at all.
        cut = bounded(part, max(left - sum(others), min(left, _SHORT)))
        left -= _size(cut, most)
        if left < 0:
            return
        yield cut


def _size(value: Any, most: int) -> int:
    """Return how long a value is as JSON text, or something above ``most`` where it is longer than that."""
    size, left = 0, [value]
    while left and size <= most:
        one = left.pop()
        if isinstance(one, str):
            size += len(json.dumps(one)) if len(one) <= most else most + 1
        elif isinstance(one, (dict, list)):
            # Between the parts of an object there is twice as much.
            between = len(one) * (2 if isinstance(one, dict) else 1) - (1 if one else 0)
            size += 2 + _BETWEEN * between
            if size <= most:
                left.extend([*one, *one.values()] if isinstance(one, dict) else one)
        else:
            size += len(json.dumps(one))
    return size
