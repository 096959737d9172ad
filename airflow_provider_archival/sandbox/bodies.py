"""The bodies that a fault can name: broken ones, and those of whoever answers in a service's place."""

from __future__ import annotations

import json
from http.client import responses
from typing import Any

NAMED = ("broken", "html", "empty", "huge", "edge", "login", "gateway", "xml")
HUGE_BYTES = 32 * 1024 * 1024
_JSON, _HTML, _XML = "application/json", "text/html; charset=utf-8", "application/xml"
_OOPS = (
    "<!doctype html><html><head><title>Oops</title></head><body><h1>Something went wrong</h1></body></html>"
)
# Pages of this kind carry their looks with them.
_STYLE = "".join(
    f".edge-{name} {{ margin: 0 auto; padding: 16px; color: #172b4d; font-family: sans-serif; }}\n"
    for name in ("header", "logo", "main", "title", "text", "actions", "button", "status", "footer", "links")
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}{style}{style}</style>
</head>
<body>
<div class="edge-main">
<h1 class="edge-title">{title}</h1>
{content}
</div>
<div class="edge-footer">This page was served by the edge of the sandbox.</div>
</body>
</html>
"""
_SIGN_IN = """<form class="edge-actions" method="post" action="/login">
<label>Email <input name="username" type="email"></label>
<label>Password <input name="password" type="password"></label>
<button class="edge-button" type="submit">Continue</button>
</form>"""
_ACCESS_DENIED = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message>\
<RequestId>5ANDB0X000000001</RequestId><HostId>c2FuZGJveA==</HostId></Error>"""


def rendered(body: Any, status: int) -> tuple[str, bytes]:
    """Return a body's content type and its bytes; ``status`` is the one that it is sent with."""
    match body:
        case "broken":
            return _JSON, b'{"self": "http://127.0.0.1/", "status": "RUNN'
        case "html":
            return _HTML, _OOPS.encode()
        case "empty":
            return _JSON, b""
        case "huge":
            return _JSON, b'{"padding": "' + b"x" * HUGE_BYTES + b'"}'
        case "edge":
            sorry = f'<p class="edge-text">{status}: we could not process this request.</p>'
            return _page(f"{status} {responses.get(status, 'Unknown')}", sorry)
        case "login":
            return login_page()
        case "gateway":
            return _JSON, json.dumps({"code": status, "message": responses.get(status, "Unknown")}).encode()
        case "xml":
            return _XML, _ACCESS_DENIED.encode()
        case str():
            # Half of a surrogate pair goes out as the bytes that it would be, which are no UTF-8.
            return "text/plain; charset=utf-8", body.encode("utf-8", "surrogatepass")
    return _JSON, json.dumps(body).encode()


def login_page() -> tuple[str, bytes]:
    """Return the page that asks a person to sign in."""
    return _page("Log in to continue", _SIGN_IN)


def _page(title: str, content: str) -> tuple[str, bytes]:
    return _HTML, _PAGE.format(title=title, style=_STYLE, content=content).encode()
