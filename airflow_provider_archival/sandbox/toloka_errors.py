"""Errors in Toloka's format."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import JSONResponse


class Refusal(Exception):
    """A request that Toloka refuses, with its status, its code and what it says."""

    def __init__(self, status: int, code: str, message: str, payload: Any = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.payload = status, code, message, payload


def invalid(field: str, message: str) -> Refusal:
    """Return the refusal of a bad parameter."""
    payload = {field: {"code": "INVALID_VALUE", "message": message, "params": []}}
    return Refusal(400, "VALIDATION_ERROR", "Validation failed", payload)


def error(
    status: int, code: str, message: str, payload: Any = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    body = {"request_id": str(uuid.uuid4()), "code": code, "message": message, "payload": payload or {}}
    return JSONResponse(body, status, headers)
