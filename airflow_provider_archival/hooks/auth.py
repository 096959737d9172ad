"""Authentication, written once for both transports: a scheme yields requests and is sent the answers."""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote_plus, urlencode

from airflow_provider_archival.api.http import (
    ApiError,
    BadRequest,
    Forbidden,
    NotAuthenticated,
    Request,
    Response,
    UnreadableAnswer,
)
from airflow_provider_archival.api.voices import token_givers

_RENEW_BEFORE = 60.0
_DEFAULT_LIFETIME = 3600.0


@dataclass(frozen=True)
class Wire:
    """A request as it goes over the wire."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def with_header(self, name: str, value: str) -> Wire:
        return replace(self, headers={**self.headers, name: value})


class Auth(Protocol):
    """An authentication scheme with its credentials."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        ...

    def flow(self, wire: Wire) -> Flow:
        """Send ``wire`` with credentials."""
        ...


@dataclass(frozen=True)
class HeaderAuth:
    """Sends the same ``Authorization`` header with each request."""

    value: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def basic(cls, login: str, password: str) -> HeaderAuth:
        encoded = base64.b64encode(f"{login}:{password}".encode()).decode()
        return cls(f"Basic {encoded}", (password, encoded))

    @classmethod
    def token(cls, scheme: str, token: str) -> HeaderAuth:
        return cls(f"{scheme} {token}", (token,))

    def flow(self, wire: Wire) -> Flow:
        return (yield wire.with_header("Authorization", self.value))


@dataclass
class ClientCredentials:
    """
    OAuth 2.0 client credentials: a token is fetched, kept until shortly before it expires, and renewed.

    A flow yields the scheme itself where a fresh token has to be there first: the transport then sends
    :meth:`token_request` and gives the answer to :meth:`accept`, once for all who wait for it.

    :param token_url: where tokens come from
    :param client_id: the service account's client id
    :param client_secret: its secret
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    _token: str | None = field(default=None, repr=False, compare=False)
    _stale_from: float = field(default=0.0, repr=False, compare=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        known = (self.client_secret, quote_plus(self.client_secret))
        return (*known, self._token) if self._token else known

    @property
    def is_stale(self) -> bool:
        """Whether a fresh token is needed before the next request."""
        return self._token is None or time.time() >= self._stale_from

    def flow(self, wire: Wire) -> Flow:
        if self.is_stale:
            yield self
        token = self._token
        response = yield wire.with_header("Authorization", f"Bearer {token}")
        if response.status != 401:
            return response
        if self._token == token:
            self._stale_from = 0.0
            yield self
        return (yield wire.with_header("Authorization", f"Bearer {self._token}"))

    def token_request(self) -> Wire:
        """Return the request for a fresh token."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return Wire("POST", self.token_url, headers, urlencode(form).encode())

    def accept(self, response: Response) -> None:
        """Take the fresh token out of an answer."""
        self._token, lifetime = _TOKEN_REQUEST.read(response)
        self._stale_from = time.time() + lifetime - min(_RENEW_BEFORE, lifetime / 10)


@contextmanager
def renewing() -> Iterator[None]:
    """Put a fault of a token request in the terms of the request that needs the token."""
    try:
        yield
    except ApiError as error:
        # The request that needs the token was not sent, whatever became of this one.
        error.surely_undone = True
        if isinstance(error, UnreadableAnswer) and error.status == 200:
            error.messages = ("the answer has no token that can be read",)
        if isinstance(error, (BadRequest, NotAuthenticated, Forbidden)):
            raise NotAuthenticated(error.request_line, error.messages, error.status) from None
        raise


Step = Wire | ClientCredentials
"""What a flow wants next: a request to be sent, or a fresh token."""

Flow = Generator[Step, Response, Response]
"""Yields its steps, is sent the answers (nothing for a fresh token), returns the last one."""


def _token_of(response: Response) -> tuple[str, float]:
    said = response.json()
    token = said["access_token"]
    if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
        raise ValueError("no access_token")
    return token, float(said.get("expires_in") or _DEFAULT_LIFETIME)


_TOKEN_REQUEST = Request("POST", "(token URL)", _token_of, voice=token_givers)
