"""What a job of a service is, said once: how it is named, looked at, read back, cancelled, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.api.flow import Flow, ask
from airflow_provider_archival.api.http import BadRequest, checked_id
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.polling import Job
from airflow_provider_archival.api.toloka import TolokaOperation, all_of

J = TypeVar("J", bound=Job)

# The pools or trainings of more take a look of their own: one look sends no more than 20 requests.
_MOST_AT_FIRST = 2000


@dataclass(frozen=True)
class JobKind(Generic[J]):
    """
    A kind of job.

    :param name: how state and plans call it; it is written down, so it stays
    :param type: the class of such jobs
    :param service: whose jobs these are, in words; ``word``: how that calls one
    :param id_key: the XCom key of a job's id, and the parameter of trigger and sensor
    :param conn_key: the parameter that names the Airflow connection
    :param hook: the path of the hook that carries requests for it, imported when it is needed
    :param trigger: the path of the trigger that watches one; it is written down, so it stays
    :param id_of: reads a job's id as a person gives it; ``ValueError`` where it is none
    :param read: reads a job back from a dict
    :param unseen: a job of which nothing but the id is known
    :param looker: returns what looks at a job, and can be called again and again: it may learn from a look
    :param watched: what a trigger is given under ``id_key``
    :param has_id: whether the service calls such a job by its id
    :param kept: what of a job has to be known in another process, as a dict; ``looker`` finds out the rest
    :param updated: a job as it was seen now, with what only an earlier answer told
    :param ended_well: a job of which nothing is known but that it ended well; None: such a job is kept whole
    :param is_bare: whether a job is such a one
    :param cancel: asks the service to stop a job, and says whether it took that; None where none can be
    :param cancelled: the statuses of a job that ended because it was cancelled
    """

    name: str
    type: type[J]
    service: str
    word: str
    id_key: str
    conn_key: str
    hook: str
    trigger: str
    id_of: Callable[[Any], str]
    read: Callable[[Mapping[str, Any]], J]
    unseen: Callable[[str], J]
    looker: Callable[[J], Callable[[], Flow[J]]]
    kept: Callable[[J], Mapping[str, Any]]
    watched: Callable[[J], Any] = lambda job: job.id
    has_id: bool = True
    updated: Callable[[J, J], J] = lambda old, new: new
    ended_well: Callable[[str], J] | None = None
    is_bare: Callable[[J], bool] = lambda job: False
    cancel: Callable[[J], Flow[bool]] | None = None
    cancelled: frozenset[str] = frozenset()

    def name_of(self, job_id: str) -> str:
        """Return a job's name for the log, such as ``Jira task 10010``."""
        return f"{self.service} {self.word} {job_id}"


def cancelled_task(task: JiraTask) -> Flow[bool]:
    """Ask Jira to cancel a task; False when it had ended already."""
    try:
        yield from ask(jira.cancel_task(task.id))
    except BadRequest as error:
        if error.status == 400:
            return False
        raise
    return True


def _task_looker(task: JiraTask) -> Callable[[], Flow[JiraTask]]:
    return lambda: ask(jira.get_task(task.id))


def _with_file(old: JiraTask, new: JiraTask) -> JiraTask:
    # The answer to an export's submit may be the only one that tells where its file will lie.
    return new if new.file_url or not old.file_url else replace(new, file_url=old.file_url)


def _small_task(task: JiraTask) -> Mapping[str, Any]:
    whole = task.to_dict()
    return {name: whole[name] for name in ("task_id", "status", "submitted", "file_url")}


def _small_operation(operation: TolokaOperation) -> Mapping[str, Any]:
    whole = operation.to_dict()
    return {name: whole[name] for name in ("operation_id", "type", "status", "submitted")}


def _small_batch(batch: OperationBatch) -> Mapping[str, Any]:
    # The next look tells which have failed.
    return {**batch.to_dict(), "failed": []}


def _operation_looker(operation: TolokaOperation) -> Callable[[], Flow[TolokaOperation]]:
    return lambda: ask(toloka.get_operation(operation.id))


def batch_looker(batch: OperationBatch) -> Callable[[], Flow[OperationBatch]]:
    """
    Return what looks at many operations, 500 a request.

    The pools or trainings of the project are listed once; where they are many, the first look lists no more.
    """
    members: set[str] | None = None

    def look() -> Flow[OperationBatch]:
        nonlocal members
        if members is None:
            members = {one.id for one in (yield from all_of(batch.members()))}
            if len(members) > _MOST_AT_FIRST:
                return batch
        return batch.seen((yield from all_of(batch.operations())), members)

    return look


_JIRAS_HOOK = "airflow_provider_archival.hooks.jira.JiraCloudHook"
_TOLOKAS_HOOK = "airflow_provider_archival.hooks.toloka.TolokaHook"

JIRA_TASK: JobKind[JiraTask] = JobKind(
    name="jira_task",
    type=JiraTask,
    service="Jira",
    word="task",
    id_key="jira_task_id",
    conn_key="jira_conn_id",
    hook=_JIRAS_HOOK,
    trigger="airflow_provider_archival.triggers.jira.JiraTaskTrigger",
    id_of=jira.task_id_of,
    read=JiraTask.from_dict,
    unseen=lambda id: JiraTask(id, "not seen yet"),
    looker=_task_looker,
    kept=_small_task,
    updated=_with_file,
    ended_well=lambda id: JiraTask(id, "COMPLETE"),
    is_bare=lambda task: task == JiraTask(task.id, "COMPLETE"),
    cancel=cancelled_task,
    cancelled=frozenset({"CANCELLED"}),
)

TOLOKA_OPERATION: JobKind[TolokaOperation] = JobKind(
    name="toloka_operation",
    type=TolokaOperation,
    service="Toloka",
    word="operation",
    id_key="operation_id",
    conn_key="toloka_conn_id",
    hook=_TOLOKAS_HOOK,
    trigger="airflow_provider_archival.triggers.toloka.TolokaOperationTrigger",
    id_of=lambda text: checked_id(text, "operation_id"),
    read=TolokaOperation.from_dict,
    unseen=lambda id: TolokaOperation(id, "unknown", "not seen yet"),
    looker=_operation_looker,
    kept=_small_operation,
)

TOLOKA_BATCH: JobKind[OperationBatch] = JobKind(
    name="toloka_batch",
    type=OperationBatch,
    service="Toloka",
    word="operation",
    id_key="batch",
    conn_key="toloka_conn_id",
    hook=_TOLOKAS_HOOK,
    trigger="airflow_provider_archival.triggers.toloka.TolokaBatchTrigger",
    id_of=str,
    read=OperationBatch.from_dict,
    unseen=lambda id: OperationBatch("unknown", id, "", 0),
    looker=batch_looker,
    kept=_small_batch,
    watched=_small_batch,
    has_id=False,
)
