"""Answers in JSON that hold whatever they are given."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


class AnyJson(JSONResponse):
    """JSON in ASCII: half of a surrogate pair, which no encoding has, stays the escape that it came as."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()
