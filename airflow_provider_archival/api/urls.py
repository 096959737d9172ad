"""What of a URL may be shown: its query is often a signature that opens what lies there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

HIDDEN = "***"
"""What stands in a URL for what was left out of it."""

# As long as schemes are: a search through a long text without any takes no longer for it.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,14}:(?:\\?/){2}"
# In a text it ends before a blank or a quote. JSON may write its slashes as "\/".
_URL = re.compile(rf"({_SCHEME})([^\s/?#\"'<>\\]*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?")
# The rest of a query that a blank cut off, and that of an address without a scheme, or written in escapes.
_MORE = re.compile(
    r"([?&]|%3f|%26|\\u003f|\\u0026)([\w.~-]{1,64})(=|%3d|\\u003d)([^\s\"'<>]+)", re.IGNORECASE
)
_IS_URL = re.compile(rf"(?:{_SCHEME}|/)\S*")
_DEEPEST = 50
_SHORTEST_SECRET = 8


def without_query(url: str) -> str:
    """Return a URL that can be shown: :data:`HIDDEN` for a query and a login, and no fragment."""
    rest = re.split(r"[?#]", url, maxsplit=1)[0]
    query = f"?{HIDDEN}" if "?" in url.partition("#")[0] else ""
    return re.sub(rf"^({_SCHEME})[^/\\]*@", rf"\1{HIDDEN}@", rest) + query


def is_whole(url: str) -> bool:
    """Say whether nothing was left out of a URL, so that it leads somewhere."""
    return HIDDEN not in url


def without_queries(value: Any, depth: int = 0) -> Any:
    """Return any JSON, such as a text, with each URL in it as :func:`without_query` has it."""
    if isinstance(value, str):
        return _in_text(without_query(value) if _IS_URL.fullmatch(value) else value)
    if not isinstance(value, (dict, list)):
        return value
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, list):
        return [without_queries(item, depth + 1) for item in value]
    return {without_queries(name): without_queries(item, depth + 1) for name, item in value.items()}


def secrets_in(urls: Iterable[str]) -> list[str]:
    """Return what must not be shown of URLs in whichever text: queries, the values in them, passwords."""
    found = set()
    for url in urls:
        rest, _, fragment = url.partition("#")
        _, _, query = rest.partition("?")
        values = [value for pair in parse_qsl(query) for value in (pair[1], unquote(pair[1]))]
        raw = [part.partition("=")[2] for part in query.split("&")]
        found |= {query, unquote(query), fragment, *_password_of(rest), *values, *raw}
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these and without any URL's query."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return str(without_queries(text))


def _in_text(text: str) -> str:
    if ":" in text:
        text = _URL.sub(_shown, text)
    return _MORE.sub(rf"\1\2\3{HIDDEN}", text)


def _shown(found: re.Match[str]) -> str:
    scheme, login, place, tail = found.groups()
    query = f"?{HIDDEN}" if tail and tail.startswith("?") else ""
    return f"{scheme}{f'{HIDDEN}@' if login else ''}{place}{query}"


def _password_of(url: str) -> list[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return []
    return [password, unquote(password)] if password else []
