"""Where a connection points and how it is reached: the part of a connection that both transports need."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_archival.exceptions import ConnectionNotUsable
from airflow_provider_archival.hooks.auth import Auth

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Site:
    """
    A service as one connection reaches it.

    :param base_url: scheme, host and path, without a slash at the end
    :param auth: the authentication scheme
    :param timeout: seconds that one request may take
    :param verify: whether to check the TLS certificate, or a file with the CAs to check it with
    :param proxies: proxy URLs by scheme; the environment's are used where there is none
    :param conn_id: the connection's id, for messages
    :param file_url: the scheme, host and port whose files get the credentials too
    """

    base_url: str
    auth: Auth
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    conn_id: str = ""
    file_url: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        passwords = [password_of(proxy) for proxy in self.proxies.values()]
        return (*self.auth.secrets, *passwords, *(unquote(password) for password in passwords))

    def scrub(self, text: str) -> str:
        """Replace each secret in a text."""
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, "***")
        return text


_PROXIES_ARE = 'must be a URL, or an object such as {"https": "http://proxy:3128"}'
_PROXY_KEY = re.compile(r"https?|all|no_proxy|(?:https?|all)://.+")
_COMMON_FIELDS = ("timeout", "verify", "proxies", "allow_http")
_warned: set[str] = set()


def warn_once(line: str) -> None:
    """Log a warning, once in this process: a connection is read with each request of each hook."""
    if line not in _warned:
        _warned.add(line)
        log.warning("%s", line)


class Extra:
    """
    Reads an Airflow connection's extra fields, with a clear error for each that can't be used.

    :param conn_id: the connection's id, for messages
    :param values: the extra, a dict
    :param prefixes: older prefixes that the names may have too, such as ``extra__toloka__``
    """

    def __init__(self, conn_id: str, values: Mapping[str, Any], prefixes: tuple[str, ...] = ()) -> None:
        self._conn_id, self._values, self._prefixes = conn_id, values, prefixes

    def get(self, name: str) -> Any:
        """Return a field; None when it is missing or empty."""
        for key in (name, *(prefix + name for prefix in self._prefixes)):
            if (value := self._values.get(key)) not in (None, ""):
                return value
        return None

    def warn_of_unknown(self, known: Iterable[str], unused: Iterable[str] = ()) -> None:
        """
        Say once which fields mean nothing here: a slip in a name would else do something without a word.

        :param known: the names that are read, besides those that every connection has
        :param unused: the names that mean something to others who use the same connection
        """
        known = sorted({*_COMMON_FIELDS, *known})
        plain = {
            name: next((name[len(p) :] for p in self._prefixes if name.startswith(p)), name)
            for name in self._values
        }
        unknown = [name for name, short in plain.items() if short not in {*known, *unused}]
        if unknown:
            warn_once(
                f"Connection '{self._conn_id}': nothing is made of its extra field"
                f"{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}."
                f" What is read: {', '.join(known)}."
            )

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "must be text")
        return value.strip()

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = (self.text(name, default) or default).lower()
        for choice in choices:
            if choice.lower() == value:
                return choice
        raise self.wrong(name, f"must be one of {', '.join(choices)}; it is {value!r}")

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).strip().lower() not in known:
            raise self.wrong(name, f"must be true or false; it is {value!r}")
        return known[str(value).strip().lower()]

    def verify(self) -> bool | str:
        value = self.get("verify")
        if isinstance(value, str) and value.strip().lower() not in ("true", "false", "1", "0", "yes", "no"):
            path = os.path.expanduser(value.strip())
            if not os.path.exists(path):
                raise self.wrong(
                    "verify", f"must be true, false or a file of CA certificates; no file {value!r}"
                )
            return path
        return self.flag("verify", True)

    def timeout(self) -> float:
        value = self.get("timeout")
        try:
            seconds = DEFAULT_TIMEOUT if value is None else float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0 < seconds <= 3600:
            raise self.wrong("timeout", f"must be a number of seconds from above 0 to 3600; it is {value!r}")
        return seconds

    def proxies(self) -> dict[str, str]:
        """Return the proxies by scheme or URL, and ``no_proxy``; a name that means nothing is warned of."""
        value = self.get("proxies")
        if isinstance(value, str):
            value = _object_in(value) or {"http": value, "https": value}
        if not isinstance(value, dict):
            if value is None:
                return {}
            raise self.wrong("proxies", _PROXIES_ARE)
        found = {}
        for name, proxy in value.items():
            if isinstance(proxy, list) and _proxy_key(name) == "no_proxy":
                proxy = ",".join(map(str, proxy))
            if not isinstance(proxy, (str, type(None))):
                raise self.wrong("proxies", _PROXIES_ARE)
            if proxy is not None:
                found[_proxy_key(name)] = proxy
        unknown = [name for name in value if not _PROXY_KEY.fullmatch(_proxy_key(name))]
        if unknown:
            warn_once(
                f"Connection '{self._conn_id}': nothing is made of {', '.join(map(repr, unknown))} in its"
                " extra field 'proxies'. What is read: http, https, all, no_proxy, and URLs such as"
                " https://host."
            )
        return found

    def wrong(self, name: str, what: str) -> ConnectionNotUsable:
        """Return the error for a field: its name, and what is wrong with it."""
        return wrong_field(self._conn_id, f"extra field '{name}'", what)


def _object_in(text: str) -> dict[str, Any] | None:
    """Return the object that a text is as JSON: a connection that is a URI has nothing but texts."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _proxy_key(name: str) -> str:
    """Return a name as ``requests`` has it; other clients and the environment have ``HTTPS_PROXY``, ``all://``."""
    if "://" in name.rstrip("/"):
        return name
    short = name.strip().lower().removesuffix("://")
    return "no_proxy" if short in ("no", "no_proxy") else short.removesuffix("_proxy")


def extra_is_usable(conn_id: str, extra: str | None) -> None:
    """
    Check that a connection's extra is a JSON object; Airflow takes anything else for an empty one.

    :raises ConnectionNotUsable: it is something else
    """
    if not (extra or "").strip():
        return
    try:
        values = json.loads(extra or "")
    except ValueError:
        raise wrong_field(
            conn_id, "Extra", 'is no JSON; it must be an object with double quotes, such as {"timeout": 30}'
        ) from None
    if values is not None and not isinstance(values, dict):
        kind = {list: "a list", str: "a text", bool: "true or false"}.get(type(values), "a number")
        raise wrong_field(conn_id, "Extra", f'must be a JSON object, such as {{"timeout": 30}}; it is {kind}')


def wrong_variable(conn_id: str, name: str, what: str) -> ConnectionNotUsable:
    """Return the error for a variable of the environment that a connection is reached with."""
    return ConnectionNotUsable(
        f"Connection '{conn_id}': the environment variable {name} {what}."
        " Nothing was sent. Correct it for the workers and the triggerer, then clear this task."
    )


def wrong_field(conn_id: str, name: str, what: str) -> ConnectionNotUsable:
    """Return the error for a part of a connection."""
    return ConnectionNotUsable(
        f"Connection '{conn_id}': {name} {what}."
        " Nothing was sent. Edit the connection (Admin > Connections), then clear this task."
    )


def token_of(conn_id: str, name: str, value: Any) -> str:
    """Return a secret that can stand in a header, or raise the error that names its field."""
    text = str(value or "").strip()
    if not text:
        raise wrong_field(conn_id, name, "is missing")
    if not (text.isascii() and text.isprintable()):
        raise wrong_field(conn_id, name, "has a line break, or a character that no token has")
    return text


def password_of(url: str) -> str:
    """Return the password in a URL as it stands there, also in one without a scheme; empty for none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").password or ""
    except ValueError:
        return ""
