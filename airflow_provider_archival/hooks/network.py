"""Which way a request goes, for both transports alike: the proxy and the TLS context of a connection."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_archival.exceptions import ConnectionNotUsable
from airflow_provider_archival.hooks.site import Site, wrong_field, wrong_variable

MAX_HEADERS = 1000
"""How many headers an answer may have."""
MAX_HEADER = 65536
"""How long a header may be, in bytes: what ``http.client`` takes."""
LOWEST_RATE = 1024
"""How many bytes a second of a download have to come, on the average of each ``timeout``."""

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Setting:
    """
    Something that says how the network is reached: an extra field of the connection, or a variable.

    :param conn_id: the connection
    :param field: the extra field, where it is one
    :param variable: the environment's variable, where it is one
    """

    conn_id: str
    field: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return f"extra field '{self.field}'" if self.field else f"the environment variable {self.variable}"

    def wrong(self, what: str) -> ConnectionNotUsable:
        """Return the error for it; ``what`` begins with a verb."""
        if self.field:
            return wrong_field(self.conn_id, str(self), what)
        return wrong_variable(self.conn_id, self.variable, what)


@dataclass(frozen=True)
class Proxy:
    """
    A proxy that a request goes through.

    :param url: its URL, without credentials
    :param full_url: with them
    :param setting: what names it
    """

    url: str
    full_url: str = field(repr=False)
    setting: Setting

    @property
    def headers(self) -> dict[str, str]:
        """What is said to it with each request that is not in a tunnel, and to open one."""
        return proxy_headers(self.full_url)

    def __str__(self) -> str:
        return f"the proxy {self.url} of {self.setting}"


def proxy_for(site: Site, url: str) -> Proxy | None:
    """
    Return the proxy for a URL, None for none: the connection's, or else the one that ``requests`` finds.

    The connection's ``no_proxy`` holds for both, the environment's for the environment's only.

    :raises ConnectionNotUsable: there is one that can't work
    """
    from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies

    own = dict(site.proxies)
    without = own.pop("no_proxy", None)
    if without is not None and should_bypass_proxies(url, no_proxy=without):
        return None
    found, setting = select_proxy(url, own), Setting(site.conn_id, field="proxies")
    if found is None:
        found = select_proxy(url, get_environ_proxies(url, no_proxy=without))
        setting = Setting(site.conn_id, variable=_variable_of(url, found))
    if not found or not found.strip():
        return None
    parts = _checked(found.strip(), setting)
    place = parts.netloc.rpartition("@")[2]
    return Proxy(f"{parts.scheme}://{place}", f"{parts.scheme}://{parts.netloc}", setting)


def _variable_of(url: str, value: str | None) -> str:
    """Return the variable that a proxy comes from."""
    for name in (f"{urlsplit(url).scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if os.environ.get(variable) == value:
                return variable
    return f"{urlsplit(url).scheme}_proxy"


def _checked(proxy: str, setting: Setting) -> SplitResult:
    try:
        # Without a scheme it is as http: for requests too, but for a host without a dot.
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy.lstrip('/')}")
        port = parts.port
    except ValueError:
        raise setting.wrong("is no proxy's URL, such as http://proxy.example:3128") from None
    if parts.scheme.startswith("socks"):
        raise setting.wrong(
            "names a SOCKS proxy, which is not supported; name an http:// proxy, or install one that passes"
            " on to it (such as Privoxy)"
        )
    if parts.scheme and parts.scheme not in ("http", "https"):
        raise setting.wrong(
            f"names a proxy that begins with {parts.scheme}://; it must begin with http:// or https://"
        )
    # https:/proxy and https//proxy would name a host of that name.
    is_slip = not parts.scheme or (parts.hostname in ("http", "https") and not port)
    if not parts.hostname or is_slip or port == 0 or any(c.isspace() for c in proxy):
        raise setting.wrong("is no proxy's URL, such as http://proxy.example:3128")
    return parts


def proxy_headers(proxy: str) -> dict[str, str]:
    """Return what is said to a proxy, whose URL may hold a login."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def tls_context(site: Site) -> ssl.SSLContext:
    """
    Return what certificates are checked with; reads files.

    With a ``verify`` file or folder, or else ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE``, what lies there is
    trusted and nothing more; without, what ``requests`` (that is ``certifi``) or the system trusts.

    :param site: the connection
    :raises ConnectionNotUsable: a setting leads to no certificates
    """
    path, setting = site.verify, Setting(site.conn_id, field="verify")
    if keys := os.environ.get("SSLKEYLOGFILE"):
        try:
            open(keys, "a").close()
        except OSError as error:
            what = f"names {keys!r}, which can't be written to ({error.strerror})"
            raise wrong_variable(site.conn_id, "SSLKEYLOGFILE", what) from None
    if path is True:
        for variable in _CA_VARIABLES:
            if value := os.environ.get(variable):
                path, setting = value, Setting(site.conn_id, variable=variable)
                break
    if isinstance(path, str):
        context = _context_of(path, setting)
    elif path:
        context = _default_context(*_default_stores())
    else:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context_of(path: str, setting: Setting) -> ssl.SSLContext:
    if not os.path.exists(path):
        raise setting.wrong(f"names {path!r}, where there is nothing")
    is_folder = os.path.isdir(path)
    try:
        context = ssl.create_default_context(
            cafile=None if is_folder else path, capath=path if is_folder else None
        )
        # OpenSSL finds in a folder only what has a hash for its name.
        for entry in os.scandir(path) if is_folder else ():
            # Systems keep other things there too: folders, links to what is gone.
            with contextlib.suppress(OSError):
                context.load_verify_locations(cafile=entry.path)
    except OSError as error:
        raise setting.wrong(f"names {path!r}, which can't be read as CA certificates ({error})") from None
    if not context.cert_store_stats()["x509"]:
        raise setting.wrong(f"names {path!r}, where there is no CA certificate")
    return context


def _default_stores() -> tuple[Any, ...]:
    """Return where certificates lie that need no setting, with what tells whether they have changed."""
    import requests.certs

    system = ssl.get_default_verify_paths()
    certifi: str = requests.certs.where()  # type: ignore[attr-defined]
    places = (certifi, system.cafile, system.capath)
    return tuple((place, _stamp(place)) for place in places)


def _stamp(path: str | None) -> tuple[int, int] | None:
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4)
def _default_context(certifi: tuple[str, Any], *system: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certifi[1]:
        context.load_verify_locations(cafile=certifi[0])
    return context
