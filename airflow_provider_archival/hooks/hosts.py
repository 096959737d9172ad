"""The addresses that people write into a connection: mended where the meaning is sure, else refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_archival.hooks.site import warn_once, wrong_field

Pages = Callable[[str], re.Pattern[str]]
"""Says for a host where in a path the service's own pages begin: what stands before is its address."""

# https:// and what becomes of it by hand: https:/x, https//x, https;//x, https:\\x.
_SCHEME = re.compile(r"(https?)(?:\s*[:;]+\s*/*|//+)", re.IGNORECASE)
# What nobody sees and pages have: blanks of no width, marks of direction, hyphens that need not show.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}", re.IGNORECASE)
_E_MAIL = re.compile(r"[^@:/\s]+@[^@:/\s]+")
_NEVER = re.compile(r"(?!)")
_FORMS = frozenset({"", "/rest/api/3", "/api", "/v1", "/api/v1"})
"""What may follow an address without a word about it."""

# A site of Atlassian's Cloud has no path of its own: its first part tells a page of Jira's.
_CLOUD_PAGES = re.compile(
    r"/(?:jira|wiki|browse|secure|projects|issues|rest|plugins|servicedesk|software|login|login\.jsp|people"
    r"|dashboards|gateway|_edge|your-work)(?:/.*)?$"
)
# Elsewhere /jira may well be the address; what is surely a page is not.
_JIRA_PAGES = re.compile(
    r"/(?:rest(?:/(?:api|agile|auth)(?:/.*)?)?"
    r"|(?:browse|issues|projects)(?:/[A-Z][A-Z0-9_]+(?:-[0-9]+)?(?:/.*)?)?"
    r"|secure(?:/[\w!.]+\.jspa.*)?|plugins/servlet/.*|login\.jsp"
    r"|jira/(?:software|core|servicedesk|your-work|for-you|dashboards|projects|people|settings|plans|filters)"
    r"(?:/.*)?)$"
)
_GATEWAY_PAGES = re.compile(r"/ex(?:/jira(?:/.*)?)?$|/rest(?:/.*)?$")
_GATEWAY_SITE = re.compile(r"/ex/jira/[A-Za-z0-9-]+")
_TOLOKA_PAGES = re.compile(r"/(?:api(?:/v[0-9]+(?:/.*)?)?|v1|requester(?:/.*)?)$")


def jira_url(conn_id: str, connection: Any, *, allow_http: bool) -> str:
    """Return the URL of the Jira site that a connection's host, schema and port make together."""
    url = _host_url(conn_id, connection, allow_http=allow_http, pages=_jira_pages)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.endswith(".atlassian.net") and parts.path:
        raise wrong_field(
            conn_id, "host", f"has a path that no Jira site has; write https://{host} and nothing behind it"
        )
    is_gateway = host == "api.atlassian.com" and _GATEWAY_SITE.fullmatch(parts.path)
    if host == "atlassian.net" or (f".{host}".endswith(".atlassian.com") and not is_gateway):
        hint = " (or set the extra field 'cloud_id' for the gateway)" if host == "api.atlassian.com" else ""
        raise wrong_field(
            conn_id,
            "host",
            f"is {host}, which is no Jira site; write the site's own, such as"
            f" https://your-domain.atlassian.net{hint}",
        )
    return url


def gateway_url(conn_id: str, url: str, *, allow_http: bool) -> str:
    """Return the URL of Atlassian's gateway, without what it has for each site."""
    name = "extra field 'gateway_url'"
    found = checked_url(conn_id, name, url, allow_http=allow_http, pages=lambda host: _GATEWAY_PAGES)
    if f".{urlsplit(found).hostname}".endswith(".atlassian.net"):
        raise wrong_field(
            conn_id, name, "is a site's address; leave it empty for https://api.atlassian.com, the gateway"
        )
    return found


def file_url(conn_id: str, url: str, *, allow_http: bool) -> str:
    """Return scheme, host and port of the place whose files get the credentials."""
    whole = checked_url(
        conn_id, "extra field 'file_host'", url, allow_http=allow_http, pages=lambda host: re.compile("/.*")
    )
    parts = urlsplit(whole)
    return f"{parts.scheme}://{parts.netloc}"


def toloka_url(conn_id: str, connection: Any, url: str | None, *, allow_http: bool) -> str | None:
    """Return the URL of Toloka that the host names, or else the extra field ``url``; None for neither."""
    if (connection.host or "").strip():
        found = _host_url(conn_id, connection, allow_http=allow_http, pages=_toloka_pages)
        name = "host"
    elif url:
        name = "extra field 'url'"
        found = checked_url(conn_id, name, url, allow_http=allow_http, pages=_toloka_pages)
    else:
        return None
    host = urlsplit(found).hostname
    if host in ("toloka.ai", "www.toloka.ai", "docs.toloka.ai"):
        raise wrong_field(conn_id, name, f"is {host}, which has no API; write https://toloka.dev")
    if host in ("toloka.dev", "sandbox.toloka.dev") and urlsplit(found).path:
        raise wrong_field(
            conn_id, name, f"has a path that is not the API's; write https://{host} and nothing behind it"
        )
    return found


def checked_url(
    conn_id: str,
    name: str,
    url: str,
    *,
    allow_http: bool,
    pages: Pages = lambda host: _NEVER,
    port: int | None = None,
) -> str:
    """
    Return a URL with a scheme (``https`` where it has none), without a page and a slash at the end.

    :param conn_id: the connection, for messages
    :param name: the field, for messages
    :param url: what stands in it
    :param allow_http: take plain ``http`` to any place, not only to this machine
    :param pages: where the service's own pages begin
    :param port: the port, where the URL names none
    :raises ConnectionNotUsable: for other schemes, a URL with credentials or a query, and plain ``http`` to
        anywhere but this machine, unless ``allow_http``
    """
    scheme, rest = _scheme_and_rest(url)
    parts = _split(conn_id, name, scheme, rest)
    host = _known_form_of((parts.hostname or "").rstrip("."))
    path = re.sub("/+", "/", parts.path).rstrip("/")
    page = pages(host).search(path)
    if not host or any(c.isspace() for c in rest) or (not page and (parts.query or parts.fragment)):
        raise wrong_field(conn_id, name, "is not a host or URL such as https://example.com")
    if parts.scheme not in ("https", "http"):
        raise wrong_field(conn_id, name, f"must begin with https://; it begins with {parts.scheme}://")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise wrong_field(
            conn_id,
            name,
            'is plain http://, which shows the credentials; use https:// (or set {"allow_http": true})',
        )
    end = page.start() if page else len(path)
    netloc = f"[{host}]" if ":" in host else host
    found_port = parts.port or port
    if found_port and not 0 < found_port < 65536:
        raise wrong_field(conn_id, "port", f"is {found_port}, which is no port; leave it empty for https")
    if found_port and found_port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{found_port}"
    mended = f"{parts.scheme}://{netloc}{path[:end]}"
    if not _is_a_form_of(url, host, path[end:]):
        warn_once(
            f"Connection '{conn_id}': {name} {re.split('[?#]', url.strip())[0]!r} is taken for {mended}."
            " Correct it (Admin > Connections)."
        )
    return mended


_DEFAULT_PORTS = {"https": 443, "http": 80}


def _host_url(conn_id: str, connection: Any, *, allow_http: bool, pages: Pages) -> str:
    host = (connection.host or "").strip()
    if not host:
        raise wrong_field(
            conn_id, "host", "is missing; it is the service's address, such as https://example.com"
        )
    if not _scheme_and_rest(host)[0] and connection.schema in ("http", "https"):
        host = f"{connection.schema}://{host}"
    return checked_url(conn_id, "host", host, allow_http=allow_http, pages=pages, port=connection.port)


def _scheme_and_rest(url: str) -> tuple[str, str]:
    """Take off each scheme that stands before an address; the last is the one that was meant."""
    rest, scheme = _INVISIBLE.sub("", url).strip().strip("\"'<>").strip().replace("\\", "/"), ""
    while found := _SCHEME.match(rest):
        scheme, rest = found[1].lower(), rest[found.end() :]
    if not scheme and "://" in rest:
        scheme, _, rest = rest.partition("://")
    return scheme.lower(), rest.lstrip("/")


def _split(conn_id: str, name: str, scheme: str, rest: str) -> SplitResult:
    if not scheme and _E_MAIL.fullmatch(rest):
        raise wrong_field(
            conn_id,
            name,
            "is an e-mail address, which belongs into the login; write an address such as"
            " https://your-domain.atlassian.net",
        )
    try:
        parts = urlsplit(f"{scheme or 'https'}://{rest}")
        if parts.port == 0:
            raise ValueError("no port")
    except ValueError:
        raise wrong_field(conn_id, name, "is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise wrong_field(
            conn_id, name, "must not hold credentials; login and password have their own fields"
        )
    return parts


def _known_form_of(host: str) -> str:
    """Return a host's name in ASCII, as ``requests`` has it; empty for one that can't be a name."""
    if ":" in host:
        return host
    plain = host
    if not host.isascii():
        import idna

        try:
            plain = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            return ""
    return plain if all(map(_LABEL.fullmatch, plain.split("."))) else ""


def _is_a_form_of(url: str, host: str, page: str) -> bool:
    """Say whether a URL is written in a way that needs no word."""
    plain = re.match(r"(?:https?://)?(\[[^\]]*\]|[^/:?#]*)(?=[/:?#]|$)", url.strip(), re.IGNORECASE)
    return bool(plain) and plain[1].strip("[]").lower() == host and page in _FORMS  # type: ignore[index]


def _jira_pages(host: str) -> re.Pattern[str]:
    return _CLOUD_PAGES if host.endswith(".atlassian.net") else _JIRA_PAGES


def _toloka_pages(host: str) -> re.Pattern[str]:
    return _TOLOKA_PAGES


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_url(url: str) -> bool:
    """Say whether something can be taken apart as a URL, and names a host where its scheme needs one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname or parts.scheme not in ("https", "http")) and parts.port != 0
    except ValueError:
        return False


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
