"""The services' times: HTTP dates, ISO 8601 and epoch milliseconds, all read as UTC."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pendulum


def moment_of(value: Any) -> pendulum.DateTime | None:
    """Read a service's time: epoch milliseconds, or ISO 8601, in UTC where it names no zone."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return pendulum.from_timestamp(value / 1000)
        parsed = pendulum.parse(value, tz="UTC") if isinstance(value, str) else None
        return parsed.in_timezone("UTC") if isinstance(parsed, pendulum.DateTime) else None
    except (ValueError, TypeError, ArithmeticError, OSError):
        return None


def time_of(value: Any) -> str | None:
    """Return a service's time as ISO 8601, UTC; one that can't be read is not worth losing an answer for."""
    moment = moment_of(value)
    return None if moment is None else moment.isoformat()


def moment_in_header(text: str | None) -> pendulum.DateTime | None:
    """Read an HTTP date or an ISO time, in UTC."""
    if not text:
        return None
    try:
        return pendulum.instance(parsedate_to_datetime(text)).in_timezone("UTC")
    except (ValueError, TypeError, OverflowError):
        return moment_of(text)
