"""Archiving a Toloka pool: the smallest plan there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from airflow_provider_archival.api.flow import Flow, nothing
from airflow_provider_archival.api.jobs import TOLOKA_OPERATION, JobKind
from airflow_provider_archival.api.toloka import POOL_ARCHIVE, TolokaOperation
from airflow_provider_archival.plans.base import (
    Event,
    Finish,
    Found,
    Json,
    Lost,
    Plan,
    Sent,
    Since,
    Started,
    Step,
    Submit,
    search,
)
from airflow_provider_archival.plans.toloka_operations import find, sent


@dataclass(frozen=True)
class PoolState:
    """Whether the pool's operation was started (or none is needed), and since when one may have been."""

    begin: float
    is_started: bool = False


@dataclass(frozen=True)
class ArchivePool(Plan[PoolState, str, TolokaOperation]):
    """
    Archive a pool.

    :param pool_id: the pool
    :param now: the time now, in epoch seconds
    """

    pool_id: str
    now: float

    name: ClassVar[str] = "toloka_pool"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (TOLOKA_OPERATION,)
    state: ClassVar[type[PoolState]] = PoolState
    lists_jobs: ClassVar[bool] = True

    def asked(self) -> Mapping[str, Json]:
        return {"pool_id": self.pool_id}

    def begin(self, since: Since) -> Flow[PoolState]:
        return nothing(PoolState(since.at(None, self.now)))

    def next(self, state: PoolState) -> Flow[tuple[PoolState, Step[str]]]:
        return nothing((state, Finish() if state.is_started else Submit(self.pool_id)))

    def send(self, what: str) -> Flow[Sent[TolokaOperation]]:
        return Sent((yield from sent(POOL_ARCHIVE, what)))

    def find(
        self, state: PoolState, what: str, since: Since, attempt: int
    ) -> Flow[Found[TolokaOperation] | None]:
        begin = state.begin if since.served is None else min(since.served, state.begin)
        return search(lambda: find(POOL_ARCHIVE, what, begin), attempt, appears_late=since)

    def after(self, state: PoolState, event: Event[str]) -> PoolState:
        if isinstance(event, Started):
            return replace(state, is_started=True)
        if isinstance(event, Lost):
            return replace(state, is_started=bool(event.kept))
        return state

    def result(self, state: PoolState, jobs: tuple[TolokaOperation, ...]) -> Flow[dict[str, Any]]:
        operation = jobs[-1] if jobs else None
        return nothing(
            {
                "pool_id": self.pool_id,
                "operation_id": operation.id if operation else None,
                "status": operation.status if operation else "ARCHIVED",
            }
        )
