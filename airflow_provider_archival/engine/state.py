"""How far a run has come, and the one codec that writes and reads it, with a version."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import types
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import Job
from airflow_provider_archival.plans.base import Plan, Since

S = TypeVar("S")
J = TypeVar("J", bound=Job)

VERSION = 2
MOST_BYTES = 14 * 1024
"""How large what is kept may be, as text; with what Airflow adds to it that is under 16 KiB."""
_MOST_SHOWN = 200
_FEW = 8
_MOST_SUSPECTS = 20
_MOST_DIGITS = 18


class Unreadable(Exception):
    """What was kept is of another version, damaged, or not a plan's."""


@dataclass(frozen=True)
class Doubt:
    """
    A job may have been started whose answer is not known.

    :param at: since when, in epoch seconds of our own clock
    :param served: since when, in epoch seconds of the service's clock; None where that was not known
    """

    at: float
    served: float | None = None


@dataclass(frozen=True)
class Run(Generic[S, J]):
    """
    How far a run has come: what is needed to go on after a deferral, or in another try.

    :param asked: a digest of what was asked for: a try that is asked for something else does not go on
    :param wanted: the begin of that, in words, for the log
    :param started: when the try began, in epoch seconds
    :param end_time: when to give up waiting, in epoch seconds
    :param writer: the number of the try that goes on with it: an earlier one that is still alive must not
    :param state: the plan's; None before the plan has begun
    :param done: the jobs that have ended well, in order
    :param pending: the jobs that were started and have not been seen to end, in order
    :param taken_up: the ids of jobs that an earlier try has started: they may end cancelled since that was
    :param suspects: the ids of jobs that were ours and could not be found: one that runs after all is ours
    :param doubt: a job may have been started in this run
    :param tried_before: when an earlier try may have begun of which nothing is remembered, in epoch seconds
        of Airflow's clock; None where there is none
    :param blocker: the id of another job that has to end first; empty where the service does not tell it
    :param is_suspect: whether the blocker may be ours
    :param blocked: how often another job was met
    :param last_blocker: the id of the job that was in the way last
    :param paused_for: why the run pauses, in words; None where it does not
    """

    asked: str
    wanted: str
    started: float
    end_time: float
    writer: int = 1
    state: S | None = None
    done: tuple[J, ...] = ()
    pending: tuple[J, ...] = ()
    taken_up: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    doubt: Doubt | None = None
    tried_before: float | None = None
    blocker: str | None = None
    is_suspect: bool = False
    blocked: int = 0
    last_blocker: str | None = None
    paused_for: str | None = None

    @property
    def jobs(self) -> tuple[J, ...]:
        return self.done + self.pending

    @property
    def is_unsure(self) -> bool:
        """Whether the next job may have been started already."""
        return self.doubt is not None or self.tried_before is not None

    def since(self, now: float) -> Since:
        """Say since when that is, at ``now`` (epoch seconds)."""
        if self.doubt is not None:
            return Since(self.doubt.served, max(now - self.doubt.at, 0.0))
        begun = self.started if self.tried_before is None else min(self.tried_before, self.started)
        return Since(None, max(now - begun, 0.0))

    def suspecting(self, job_id: str) -> Run[S, J]:
        """Return it with one more job that was ours."""
        return replace(self, suspects=(*self.suspects, job_id)[-_MOST_SUSPECTS:])


def asked_of(plan: Plan[Any, Any, Any], conn_id: str, base_url: str) -> tuple[str, str]:
    """Return a digest of what a run is asked for, the same in each process, and its begin in words."""
    asked = {"plan": plan.name, "conn_id": conn_id, "base_url": base_url, **plan.asked()}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    shown = ", ".join(f"{name}={value!r}" for name, value in plan.asked().items() if value)
    shown = f"{shown}, {conn_id}" if shown else conn_id
    shown = shown if len(shown) <= _MOST_SHOWN else shown[: _MOST_SHOWN - 1] + "…"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), shown


# --- writing ---


def write(plan: Plan[S, Any, J], run: Run[S, J]) -> dict[str, Any]:
    """
    Return a run as plain data, small: for the store, for a trigger and for a deferral alike.

    Where it would be too large, it says less of what is done, which can be asked for again, and then what the
    plan can do without. The ids of the jobs that run stand beside it, for whoever looks into the store.
    """
    for smaller in _smaller(plan, run):
        packed = _packed(smaller)
        if len(packed) <= MOST_BYTES:
            break
    return {
        "version": VERSION,
        "plan": plan.name,
        "try": run.writer,
        "started": run.started,
        "pending": [job.id[:_MOST_SHOWN] for job in run.pending],
        "packed": packed,
    }


def _smaller(plan: Plan[S, Any, J], run: Run[S, J]) -> Iterator[dict[str, Any]]:
    """Yield what to keep, less and less of it."""
    values = {
        field.name: _plain(getattr(run, field.name))
        for field in fields(run)
        if field.name not in ("done", "pending", "state")
    }
    values["pending"] = [
        {"kind": plan.kind_of(job).name, **plan.kind_of(job).kept(job)} for job in run.pending
    ]
    whole = [{"kind": plan.kind_of(job).name, **job.to_dict()} for job in run.done]
    state = run.state
    yield {**values, "done": whole, "state": _plain(state)}
    bare = _bare(plan, run.done)
    while True:
        yield {**values, "done": bare, "state": _plain(state)}
        smaller = None if state is None else plan.smaller(state)
        if smaller is None:
            return
        state = smaller


def _bare(plan: Plan[Any, Any, J], done: tuple[J, ...]) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the jobs that ended well: their ids only, where the kind can be made of those."""
    kinds = {plan.kind_of(job).name: plan.kind_of(job) for job in done}
    if len(kinds) == 1 and next(iter(kinds.values())).ended_well is not None:
        return {"kind": next(iter(kinds)), "ids": _plain(tuple(job.id for job in done))}
    return [{"kind": plan.kind_of(job).name, **plan.kind_of(job).kept(job)} for job in done]


def _packed(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return _steps(value) if _are_numbers(value) else [_plain(one) for one in value]
    return value


def _are_numbers(values: tuple[Any, ...]) -> bool:
    """Say whether these are many ids, or other whole numbers: their differences are small."""
    if len(values) < _FEW:
        return False
    if all(type(one) is int for one in values):
        return True
    return all(
        isinstance(one, str) and one.isdecimal() and len(one) <= _MOST_DIGITS and str(int(one)) == one
        for one in values
    )


def _steps(values: tuple[Any, ...]) -> dict[str, list[int]]:
    numbers = list(map(int, values))
    steps = [number - before for before, number in zip([0, *numbers], numbers, strict=False)]
    return {"steps": steps}


# --- reading ---


def read(plan: Plan[S, Any, J], kept: Any) -> Run[S, J]:
    """
    Return what :func:`write` wrote.

    :raises Unreadable: it is anything else
    """
    try:
        if kept["version"] != VERSION or kept["plan"] != plan.name:
            raise Unreadable(f"it is version {kept['version']} of {kept['plan']}")
        text = zlib.decompress(base64.b64decode(kept["packed"], validate=True))
        return _run(plan, json.loads(text))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def check(plan: Plan[S, Any, J], run: Run[S, J]) -> None:
    """
    Check a run that was read in another way, as :func:`read` checks its own.

    :raises Unreadable: something in it is of a wrong type
    """
    _run(plan, next(_smaller(plan, run)))


def _run(plan: Plan[S, Any, J], values: dict[str, Any]) -> Run[S, J]:
    state = values["state"]
    jobs = {"done": _jobs(plan, values["done"]), "pending": _listed(plan, values["pending"])}
    run: Run[S, J] = _typed(Run, {**values, **jobs, "state": None}, jobs=tuple(jobs))
    return replace(run, state=None if state is None else _typed(plan.state, state))


def checked(plan: Plan[S, Any, J], run: Run[S, J]) -> Run[S, J]:
    """
    Return a run that is asked for the same, when its state can be the plan's.

    :raises Unreadable: it can't
    """
    try:
        if run.state is not None:
            plan.check(run.state)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    return run


def _jobs(plan: Plan[Any, Any, J], values: Any) -> tuple[J, ...]:
    kinds = {kind.name: kind for kind in plan.kinds}
    if isinstance(values, dict):
        if set(values) != {"kind", "ids"} or (ended_well := kinds[values["kind"]].ended_well) is None:
            raise Unreadable(f"jobs have {sorted(values)}")
        return tuple(map(ended_well, _typed(tuple[str, ...], values["ids"])))
    return _listed(plan, values)


def _listed(plan: Plan[Any, Any, J], values: Any) -> tuple[J, ...]:
    if not isinstance(values, list):
        raise Unreadable(f"{str(values)[:_MOST_SHOWN]!r} is no list of jobs")
    kinds = {kind.name: kind for kind in plan.kinds}
    return tuple(_job(kinds[one["kind"]], one) for one in values)


def _job(kind: JobKind[J], values: Mapping[str, Any]) -> J:
    job = kind.read({name: value for name, value in values.items() if name != "kind"})
    for name, hint in get_type_hints(type(job)).items():
        if not _fits(hint, getattr(job, name)):
            raise Unreadable(f"a {kind.word}'s {name} is {str(getattr(job, name))[:_MOST_SHOWN]!r}")
    return job


def _fits(hint: Any, value: Any) -> bool:
    """Say whether a value is of a type, as far as jobs have such."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        return any(_fits(one, value) for one in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(args[0], one) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(args[1], one) for one in value.values())
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return hint in (Any, ClassVar) or origin is ClassVar or type(value) is hint


def _typed(wanted: Any, value: Any, jobs: tuple[str, ...] = ()) -> Any:
    """Return plain data as what a type hint names, or raise :class:`Unreadable`."""
    if is_dataclass(wanted):
        hints, names = get_type_hints(wanted), {field.name for field in fields(wanted)}
        if not isinstance(value, dict) or set(value) != names:
            odd = sorted(set(value) ^ names) if isinstance(value, dict) else value
            raise Unreadable(f"{getattr(wanted, '__name__', wanted)} has {odd}")
        known = {name: value[name] if name in jobs else _typed(hints[name], value[name]) for name in names}
        return wanted(**known)  # type: ignore[operator]
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        return _tuple(args, value)
    if origin in (types.UnionType, Union):
        return None if value is None else _typed(next(one for one in args if one is not type(None)), value)
    if isinstance(wanted, TypeVar):
        return value
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise Unreadable(f"{str(value)[:_MOST_SHOWN]!r} is no {wanted.__name__}")
    return value


def _tuple(args: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if isinstance(value, dict) and args[0] in (str, int):
        if set(value) != {"steps"}:
            raise Unreadable(f"numbers have {sorted(value)}")
        number, found = 0, []
        for step in value["steps"]:
            number += _typed(int, step)
            found.append(args[0](number))
        return tuple(found)
    if not isinstance(value, list):
        raise Unreadable(f"{str(value)[:_MOST_SHOWN]!r} is no list")
    if args[-1] is not Ellipsis:
        return tuple(_typed(kind, one) for kind, one in zip(args, value, strict=True))
    return tuple(_typed(args[0], one) for one in value)
