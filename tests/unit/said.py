"""How the services say that they refuse something."""

from __future__ import annotations

from typing import Any

EDGES_PAGE = (
    "<!DOCTYPE html><html><head><title>Page not found</title></head><body><h1>Not Found</h1></body></html>"
)
GATEWAYS_JSON = {"message": "no Route matched with those values"}


def refusal(service: str, message: str = "Because.", code: str = "BECAUSE") -> dict[str, Any]:
    """Return an error's body in the shape that ``jira`` or ``toloka`` uses: others are not believed."""
    if service == "jira":
        return {"errorMessages": [message], "errors": {}}
    return {"request_id": "r-1", "code": code, "message": message, "payload": {}}
