"""What the operators that start Toloka operations have in common."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import OperationBatch, latest_of, target_of, time_before
from airflow_provider_archival.api.http import Conflict, checked_id
from airflow_provider_archival.api.toloka import TolokaOperation
from airflow_provider_archival.exceptions import (
    BadInput,
    ServiceFault,
    ServiceRefusal,
    TolokaOperationFailed,
)
from airflow_provider_archival.operators.base import RemoteJobOperator, found_in_time
from airflow_provider_archival.operators.parsing import id_text_of
from airflow_provider_archival.operators.progress import Found, Progress
from airflow_provider_archival.triggers.toloka import TolokaBatchTrigger, TolokaOperationTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.hooks.toloka import TolokaHook

DEFAULT_CONN_ID = "toloka_default"
CLOCK_DIFFERENCE = 300.0
"""How far Toloka's clock and ours may be apart, in seconds, when an operation is looked for by time."""
UNFINISHED = ("PENDING", "RUNNING")
# How often one operation of many is asked for, when answers get lost.
_ATTEMPTS = 3

TolokaJob = TolokaOperation | OperationBatch


class TolokaJobOperator(RemoteJobOperator[TolokaJob]):
    """Start Toloka operations: one, or as many as a project has pools, which are awaited together."""

    job_id_key = "operation_id"
    finds_jobs = True
    toloka_conn_id: str
    hook: TolokaHook

    def make_hook(self) -> TolokaHook:
        from airflow_provider_archival.hooks.toloka import TolokaHook

        return TolokaHook(self.toloka_conn_id)

    def look(self, job: TolokaJob) -> TolokaJob:
        if isinstance(job, OperationBatch):
            return self.hook.get_batch(job, attempts=1)
        return self.hook.call(toloka.get_operation(job.id), attempts=1)

    def look_firmly(self, job: TolokaJob) -> TolokaJob:
        if isinstance(job, OperationBatch):
            return self.hook.get_batch(job)
        return self.hook.get_operation(job.id)

    def job_from(self, values: dict[str, Any]) -> TolokaJob:
        kind = OperationBatch if "expected" in values else TolokaOperation
        return kind.from_dict(values)

    def job_of(self, job_id: str) -> TolokaJob:
        return TolokaOperation(job_id, "unknown", "not seen yet")

    def publish(self, context: Context, job: TolokaJob) -> None:
        # A batch has no id of Toloka's: those of its operations are in the result.
        if isinstance(job, TolokaOperation):
            super().publish(context, job)

    def trigger_for(
        self, job: TolokaJob, progress: Progress[TolokaJob], *, is_ours: bool = True
    ) -> TolokaOperationTrigger | TolokaBatchTrigger:
        how: dict[str, Any] = {
            "toloka_conn_id": self.toloka_conn_id,
            "poll_interval": self.poll_interval,
            "end_time": self.deadline_of(progress).at,
            "carried": progress.pack(),
        }
        if isinstance(job, OperationBatch):
            return TolokaBatchTrigger(batch=job.to_dict(), **how)
        return TolokaOperationTrigger(operation_id=job.id, **how)

    def failure(self, job: TolokaJob) -> Exception:
        if isinstance(job, OperationBatch):
            message = (
                f"{job.counts['FAIL']} of {job.expected} Toloka operations ({job.type} in project"
                f" {job.project_id}) ended FAIL. Toloka says: {job.said}. A retry submits new ones for these"
                " only."
            )
        else:
            message = (
                f"Toloka operation {job.id} ({job.type} of {dict(job.parameters)}) ended {job.status}. Toloka"
                f" says: {job.said}. A retry submits a new one."
            )
        return TolokaOperationFailed(message, job.to_dict())

    def latest(self, type: str, members: set[str], since: float) -> Mapping[str, TolokaOperation]:
        """
        Return the latest operation on each of these pools, trainings or projects.

        That is: of those that were submitted since then, and of those that are not over, however old.
        """
        begin = time_before(since, CLOCK_DIFFERENCE)
        wanted: list[dict[str, str]] = [{"status": one} for one in UNFINISHED]
        found = [self.hook.list_operations(type=type, **one) for one in (*wanted, {"submitted_gte": begin})]
        return latest_of(itertools.chain(*found), type, members)

    def find(self, type: str, id: str, since: float) -> Found[TolokaJob] | None:
        """Look for an operation that was submitted since then, and not in vain."""
        operation = self.latest(type, {id}, since).get(id)
        return Found(operation) if operation is not None and not is_in_vain(operation) else None

    def started(
        self, type: str, id: str, send: Callable[[], TolokaOperation | None]
    ) -> TolokaOperation | None:
        """Start an operation; where the answer is lost, look whether it was started before asking again."""
        begun = time.time()
        for attempt in itertools.count(1):
            try:
                return send() if attempt == 1 else self.sent(type, id, send)
            except ServiceFault as fault:
                if fault.error.surely_undone or attempt == _ATTEMPTS:
                    raise
                self.log.warning("Nobody knows whether that was done; looking again: %s", fault)
            found = found_in_time(lambda: self.find(type, id, begun), deadline=self.hook.deadline)
            if found is not None:
                self.log.info("The answer was lost, but the operation on %s %s is there", target_of(type), id)
                assert isinstance(found.job, TolokaOperation)
                return found.job
        raise AssertionError("unreachable")

    def sent(self, type: str, id: str, send: Callable[[], TolokaOperation | None]) -> TolokaOperation | None:
        """Ask for an operation once; where Toloka refuses it because one is running, that is ours as well."""
        try:
            return send()
        except ServiceRefusal as refusal:
            if not isinstance(refusal.error, Conflict):
                raise
            running = self.latest(type, {id}, time.time()).get(id)
            if running is None or running.is_final:
                raise
            self.log.info("%s on %s %s is running already", type, target_of(type), id)
            return running

    def is_ending(self, job: TolokaJob) -> bool:
        # What is listed no more does not end: look again what is left to do.
        return isinstance(job, OperationBatch) and job.has_vanished


def is_in_vain(operation: TolokaOperation) -> bool:
    """Say whether an operation came to nothing."""
    return operation.is_final and not operation.succeeded


def id_of(value: Any, parameter: str) -> str:
    """Return a parameter that is an id, or raise ``BadInput``."""
    try:
        return checked_id(id_text_of(value, parameter), parameter)
    except ValueError as error:
        raise BadInput(str(error)) from None
