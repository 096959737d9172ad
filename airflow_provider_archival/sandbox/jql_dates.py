"""Points in time as JQL writes them: dates, periods before or after now, and date functions; all in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DATE = re.compile(r"([0-9]{4})([-/])([0-9]{1,2})\2([0-9]{1,2})(?: ([0-9]{1,2}):([0-9]{2}))?")
_PERIOD = re.compile(r"([+-]?)([0-9]{1,6}[ywdhm](?: +[0-9]{1,6}[ywdhm])*)")
_STEP = re.compile(r"([+-]?[0-9]{1,6})([yMwdhm]?)")
_FUNCTION = re.compile(r"(startof|endof)(day|week|month|year)")
_SECONDS = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60}
_UNITS = {"day": "d", "week": "w", "month": "M", "year": "y"}


def point_in_time(text: str, now: float) -> int | None:
    """Return the epoch second of ``2024-01-31``, ``2024/01/31 12:30``, ``-2y`` or ``-4w 2d``, or None."""
    if date := _DATE.fullmatch(text):
        year, _, month, day, hour, minute = date.groups(default="0")
        try:
            moment = datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=UTC)
        except ValueError:
            return None
        return int(moment.timestamp())
    if period := _PERIOD.fullmatch(text):
        seconds = sum(int(part[:-1]) * _SECONDS[part[-1]] for part in period[2].split())
        return int(now) + (-seconds if period[1] == "-" else seconds)
    return None


def date_function(name: str, arguments: tuple[str, ...], now: float) -> int | None:
    """Return the epoch second of ``now()``, ``startOfDay("-1d")`` and their kin, or None."""
    if name == "now":
        return None if arguments else int(now)
    function = _FUNCTION.fullmatch(name)
    step = _STEP.fullmatch(arguments[0] if arguments else "0")
    if function is None or step is None or len(arguments) > 1:
        return None
    unit = _UNITS[function[2]]
    try:
        moment = _moved(_start(datetime.fromtimestamp(int(now), UTC), unit), int(step[1]), step[2] or unit)
        if function[1] == "endof":
            moment = _moved(moment, 1, unit) - timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return int(moment.timestamp())


def _start(moment: datetime, unit: str) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0)
    if unit == "w":
        return day - timedelta(days=day.isoweekday() % 7)
    if unit == "M":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "y" else day


def _moved(moment: datetime, amount: int, unit: str) -> datetime:
    if unit not in ("M", "y"):
        return moment + timedelta(seconds=amount * _SECONDS[unit])
    months = moment.year * 12 + moment.month - 1 + amount * (12 if unit == "y" else 1)
    first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
    return min(first + timedelta(days=moment.day - 1), _last_day(first))


def _last_day(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
