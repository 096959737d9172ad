"""Takes up a run that version 1 has kept; see :mod:`airflow_provider_archival.plans.older`."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.engine.state import Doubt, Run, Unreadable, check
from airflow_provider_archival.plans import older
from airflow_provider_archival.plans.older import BEGAN, CHUNKS, is_older

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_archival.operators.base import PlanOperator
    from airflow_provider_archival.plans.base import Plan

_MOST_SHOWN = 200

__all__ = ["began", "chunks_in", "forget_chunks", "is_older", "read"]


def read(
    operator: PlanOperator, plan: Plan[Any, Any, Any], kept: Mapping[str, Any], fresh: Run[Any, Any]
) -> Run[Any, Any]:
    """
    Return what version 1 has kept.

    :param operator: was it asked for the same?
    :param fresh: what the run is asked for now
    :raises Unreadable: it is damaged
    """
    try:
        values = older.values_of(kept)
        state = older.state_of(plan, values)
        if CHUNKS in values:
            return _with_chunks(plan, values["asked"], replace(fresh, state=state))
        urls = values["notes"].get("file_urls", {})
        jobs = {
            name: tuple(_with_file(older.job_of(one), urls) for one in older.listed(values[name]))
            for name in ("done", "pending")
        }
        is_same = _is_same(operator, plan, values["asked"])
        run = Run(
            asked=fresh.asked if is_same else "",
            wanted=fresh.wanted if is_same else shorten(str(values["asked"]), _MOST_SHOWN),
            started=float(values["started"]),
            end_time=float(values["end_time"]),
            writer=fresh.writer,
            state=state,
            done=jobs["done"],
            pending=jobs["pending"],
            doubt=None if values["doubt"] is None else Doubt(float(values["doubt"])),
            tried_before=values.get("tried_before"),
            blocker=values["blocker"],
            is_suspect=(values["doubt"], values.get("tried_before")) != (None, None),
            blocked=values["blocked"],
            last_blocker=values.get("last_blocker"),
            paused_for=values.get("paused_for"),
        )
        check(plan, run)
        return run
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def _with_chunks(plan: Plan[Any, Any, Any], asked: str, run: Run[Any, Any]) -> Run[Any, Any]:
    check(plan, run)
    return run if asked == plan.asked()["issues"] else replace(run, asked="", wanted="other issues")


def _is_same(operator: PlanOperator, plan: Plan[Any, Any, Any], asked: Mapping[str, Any]) -> bool:
    """Say whether parameters, which version 1 kept as they were given, are those of now."""
    if not asked:
        raise Unreadable("nothing was asked for")
    earlier = copy.copy(operator)
    for name, value in asked.items():
        setattr(earlier, name, value)
    try:
        return earlier.conn_id == operator.conn_id and earlier.plan().asked() == plan.asked()
    except Exception:  # noqa: BLE001 (what can't be read is something else)
        return False


def _with_file(job: Any, urls: Mapping[str, str]) -> Any:
    if isinstance(job, JiraTask) and job.id in urls and not job.file_url:
        return replace(job, file_url=urls[job.id])
    return job


def began(carried: Any) -> float | None:
    """Return when a run began that was left before anything had come of it; None where that is not so."""
    at = carried.get(BEGAN) if isinstance(carried, dict) else None
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at):
        return None
    return float(at)


def chunks_in(store: Any) -> dict[str, Any] | None:
    """Return what version 1 has kept of a long list of issues; None where it has not."""
    known = store.get(CHUNKS)
    if known is None:
        return None
    if not isinstance(known, dict):
        # There is something, but it can't be read.
        return {CHUNKS: True}
    numbers = _with_errors(known)
    if numbers is None:
        return {CHUNKS: True}
    return {**known, CHUNKS: True, "errors": {str(number): store.get(_key(number)) for number in numbers}}


def forget_chunks(store: Any) -> None:
    """Delete that."""
    known = store.get(CHUNKS)
    if known is not None:
        for number in _with_errors(known) or ():
            store.delete(_key(number))
        store.delete(CHUNKS)


def _with_errors(known: Any) -> list[int] | None:
    """Return the numbers of the chunks that have errors; None where that is damaged."""
    numbers = known.get("with_errors") if isinstance(known, dict) else None
    is_good = isinstance(numbers, list) and all(type(number) is int for number in numbers)
    return numbers if is_good else None


def _key(number: int) -> str:
    return f"{CHUNKS}_{number}"
