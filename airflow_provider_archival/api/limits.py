"""What an answer says about how much more a service takes, as a value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import pendulum

from airflow_provider_archival.api.times import moment_in_header

if TYPE_CHECKING:
    from airflow_provider_archival.api.http import Response

LOW = 0.2
"""The share of a limit at which people are warned; Jira's ``X-RateLimit-NearLimit`` means the same."""

_HOUR = 3600.0
_INTERVALS = {"MIN": 60.0, "MINUTE": 60.0, "HOUR": _HOUR, "DAY": 24 * _HOUR}
_POLICY = re.compile(r'"?([^";,]+)"?((?:\s*;\s*\w+\s*=\s*[^;,]+)*)')
_PARAMETER = re.compile(r"(\w+)\s*=\s*(-?\d+(?:\.\d+)?)")


class Reach(Enum):
    """What has to pause when a limit is met."""

    REQUEST = "this request"
    ENDPOINT = "all requests of this kind"
    CONNECTION = "everything"


@dataclass(frozen=True)
class RateLimit:
    """
    What an answer tells of the limits that are kept.

    :param retry_after: seconds to wait before the next request; None when the service does not ask for that
    :param reason: the service's name for the limit, such as ``jira-quota-tenant-based``
    :param reach: what has to pause until then
    :param left: the share of the limit that is left, 0 to 1; None when it is not told
    """

    retry_after: float | None = None
    reason: str = ""
    reach: Reach = Reach.REQUEST
    left: float | None = None

    @classmethod
    def of(cls, response: Response) -> RateLimit:
        """Read an answer's headers, and the body of a 429."""
        headers, refused = response.headers, response.status == 429
        reason = headers.get("ratelimit-reason", "").strip().lower()[:100]
        interval = _interval_of(response) if refused else None
        pause = _asked_for(headers)
        if pause is None and refused:
            pause = interval if interval is not None else _until_reset(headers, "quota" in reason)
        if refused and interval is not None and not reason:
            reason = "quota"
        reach = _reach_of(reason, interval) if refused else Reach.REQUEST
        return cls(pause, reason, reach, _left_of(headers))


def _reach_of(reason: str, interval: float | None) -> Reach:
    if "quota" in reason and interval is None:
        return Reach.CONNECTION
    # A method of Toloka's has a quota of its own: looks at what runs already must go on.
    return Reach.ENDPOINT if interval is not None or "burst" in reason else Reach.REQUEST


def _asked_for(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds, or a date, which is compared with the answer's own where it has one."""
    wish = headers.get("retry-after", "").strip()
    # An edge may add its own to the service's.
    wishes = [part.strip() for part in wish[:2000].split(",")]
    if all(re.fullmatch(r"[0-9]{1,300}(\.[0-9]{1,300})?", part) for part in wishes):
        seconds = max(map(float, wishes))
        return seconds if math.isfinite(seconds) else None
    until = moment_in_header(wish)
    return None if until is None else max((until - _now(headers)).total_seconds(), 0.0)


def _until_reset(headers: Mapping[str, str], is_quota: bool) -> float | None:
    """Read when a limit begins anew; a quota does at the full hour, in UTC, where nothing says otherwise."""
    told = []
    until = moment_in_header(headers.get("x-ratelimit-reset"))
    if until is not None:
        told.append((until - _now(headers)).total_seconds())
    told += [one["t"] for one in _policies(headers) if "t" in one and one.get("r", 0) <= 0]
    if is_quota and (not told or max(told) <= 0):
        now = _now(headers)
        told = [_HOUR - (now.minute * 60 + now.second)]
    return max(*told, 0.0) if told else None


def _left_of(headers: Mapping[str, str]) -> float | None:
    if headers.get("x-ratelimit-nearlimit", "").strip().lower() == "true":
        return LOW
    shares = []
    most, left = (_number(headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
    if most and left is not None:
        shares.append(left / most)
    shares += [one["r"] / one["q"] for one in _policies(headers) if one.get("q") and "r" in one]
    return min(max(min(shares), 0.0), 1.0) if shares else None


def _policies(headers: Mapping[str, str]) -> list[dict[str, float]]:
    """
    Read ``RateLimit: "name";r=10;t=30``, of which there can be several, with ``q`` from ``RateLimit-Policy``.

    Jira's have ``Beta-`` in front.
    """
    found: dict[str, dict[str, float]] = {}
    for name in ("ratelimit-policy", "beta-ratelimit-policy", "ratelimit", "beta-ratelimit"):
        for policy, parameters in _POLICY.findall(headers.get(name, "")[:2000]):
            told = {key.lower(): float(value[:20]) for key, value in _PARAMETER.findall(parameters)}
            found.setdefault(policy.strip(), {}).update(told)
    return list(found.values())


def _interval_of(response: Response) -> float | None:
    """Read Toloka's ``payload.interval``."""
    try:
        payload = response.json().get("payload")
        return _INTERVALS.get(str(payload.get("interval")).upper()) if payload else None
    except (ValueError, AttributeError, RecursionError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _now(headers: Mapping[str, str]) -> pendulum.DateTime:
    return moment_in_header(headers.get("date")) or pendulum.now("UTC")
