"""The services' times: HTTP dates, ISO 8601 and epoch milliseconds, all read as UTC."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

import pendulum

_YEAR, _EPOCH = re.compile(r"\d{4}-?\d\d"), re.compile(r"[0-9]{11,15}")
_LONGEST_TIME = 64


def moment_of(value: Any) -> pendulum.DateTime | None:
    """
    Read a service's time: epoch milliseconds, or ISO 8601, in UTC where it names no zone.

    None for what is no time, and for one so far off that it can't be the service's.
    """
    try:
        if isinstance(value, str) and _EPOCH.fullmatch(value):
            value = int(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _believed(pendulum.from_timestamp(value / 1000))
        # Without a date, "now" and "12:30" would be times of today.
        is_time = isinstance(value, str) and len(value) <= _LONGEST_TIME and _YEAR.match(value)
        parsed = pendulum.parse(value, tz="UTC") if is_time else None
        return _believed(parsed.in_timezone("UTC")) if isinstance(parsed, pendulum.DateTime) else None
    except (ValueError, TypeError, ArithmeticError, OSError):
        return None


def _believed(moment: pendulum.DateTime) -> pendulum.DateTime | None:
    return moment if 1970 <= moment.year < 3000 else None


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
