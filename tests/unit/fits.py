"""What may go to Airflow's supervisor, and into any of its databases."""

from __future__ import annotations

import json
from typing import Any


def check_fits(value: Any) -> None:
    """Check that a value is JSON that encodes, with no NUL and no number that 64 bits can't hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text
    below = [value]
    while below:
        one = below.pop()
        below += [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []
        assert not isinstance(one, int) or -(2**63) <= one < 2**63
