"""Where a connection points and how it is reached: the part of a connection that both transports need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_archival.exceptions import ConnectionNotUsable
from airflow_provider_archival.hooks.auth import Auth

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
    """

    base_url: str
    auth: Auth
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self.auth.secrets, *(urlsplit(proxy).password or "" for proxy in self.proxies.values()))

    def scrub(self, text: str) -> str:
        """Replace each secret in a text."""
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, "***")
        return text

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for a URL: the connection's, or else the environment's."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        for name in (f"{parts.scheme}://{host}", parts.scheme, f"all://{host}", "all"):
            if name in self.proxies:
                return self.proxies[name]
        found = {} if proxy_bypass(host) else getproxies()
        return found.get(parts.scheme) or found.get("all")


class Extra:
    """
    Reads an Airflow connection's extra fields, with a clear error for each that can't be used.

    :param conn_id: the connection's id, for messages
    :param values: the extra, a dict
    :param prefix: an older prefix that the names may have too, such as ``extra__toloka__``
    """

    def __init__(self, conn_id: str, values: Mapping[str, Any], prefix: str = "") -> None:
        self._conn_id, self._values, self._prefix = conn_id, values, prefix

    def get(self, name: str) -> Any:
        """Return a field; None when it is missing or empty."""
        for key in (name, self._prefix + name):
            if (value := self._values.get(key)) not in (None, ""):
                return value
        return None

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
            if not os.path.exists(value.strip()):
                raise self.wrong(
                    "verify", f"must be true, false or a file of CA certificates; no file {value!r}"
                )
            return value.strip()
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
        value = self.get("proxies")
        if value is None:
            return {}
        if isinstance(value, str):
            value = {"http": value, "https": value}
        if not isinstance(value, dict) or not all(isinstance(proxy, str) for proxy in value.values()):
            raise self.wrong("proxies", 'must be a URL, or an object such as {"https": "http://proxy:3128"}')
        return {str(name): proxy for name, proxy in value.items()}

    def wrong(self, name: str, what: str) -> ConnectionNotUsable:
        """Return the error for a field: its name, and what is wrong with it."""
        return wrong_field(self._conn_id, f"extra field '{name}'", what)


def wrong_field(conn_id: str, name: str, what: str) -> ConnectionNotUsable:
    """Return the error for a part of a connection."""
    return ConnectionNotUsable(
        f"Connection '{conn_id}': {name} {what}."
        " Edit the connection (Admin > Connections), then clear this task."
    )


def token_of(conn_id: str, name: str, value: Any) -> str:
    """Return a secret that can stand in a header, or raise the error that names its field."""
    text = str(value or "").strip()
    if not text:
        raise wrong_field(conn_id, name, "is missing")
    if not (text.isascii() and text.isprintable()):
        raise wrong_field(conn_id, name, "has a line break, or a character that no token has")
    return text


def host_url(conn_id: str, connection: Any, *, allow_http: bool) -> str:
    """Return the URL that host, schema and port of a connection make together."""
    host = (connection.host or "").strip()
    if not host:
        raise wrong_field(
            conn_id, "host", "is missing; it is the service's address, such as https://example.com"
        )
    if "://" not in host and connection.schema in ("http", "https"):
        host = f"{connection.schema}://{host}"
    url = checked_url(conn_id, "host", host, allow_http=allow_http)
    parts = urlsplit(url)
    if connection.port and not parts.port:
        url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    return url


def checked_url(conn_id: str, name: str, url: str, *, allow_http: bool) -> str:
    """
    Return a URL with a scheme (``https`` where it has none) and without a slash at the end.

    :raises ConnectionNotUsable: for other schemes, a URL with credentials or a query, and plain ``http`` to
        anywhere but this machine, unless ``allow_http``
    """
    text = url.strip()
    text = (text if "://" in text else f"https://{text}").rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong_field(conn_id, name, "is not a URL") from None
    if parts.username or parts.password:
        raise wrong_field(
            conn_id, name, "must not hold credentials; login and password have their own fields"
        )
    if not host or any(c.isspace() for c in text) or parts.query or parts.fragment:
        raise wrong_field(conn_id, name, "is not a host or URL such as https://example.com")
    if parts.scheme not in ("https", "http"):
        raise wrong_field(conn_id, name, f"must begin with https://; it begins with {parts.scheme}://")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise wrong_field(
            conn_id,
            name,
            'is plain http://, which shows the credentials; use https:// (or set {"allow_http": true})',
        )
    return text


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def is_loopback_url(url: str) -> bool:
    """Say whether a URL leads to this machine."""
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
