"""
One DAG for each kind of job; how its operator is set, and where it stands still, comes with the run's conf.

``conf`` has ``operator`` (attributes of the operator, such as ``deferrable``) and ``trace`` (a file that gets
a line for each process that works on a task), perhaps ``first_try`` (attributes for the first try only),
``hold_after_remembering`` (the sandbox's address: the first try stands still as soon as Airflow's store has
the id of one of the sandbox's jobs), ``failing_store`` (what :class:`FailingStore` takes, for the first try),
``refuse_result`` (true: XCom does not take the first try's result), and what the templates below name.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import store_of
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator

HOLD_SECONDS = 600


class HeldStore:
    """A task's state store, which does not return once it has been given a job's id."""

    def __init__(self, store: Any, sandbox_url: str, trace: Path) -> None:
        self._store, self._sandbox_url, self._trace = store, sandbox_url, trace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def set(self, key: str, value: Any, **how: Any) -> None:
        self._store.set(key, value, **how)
        said = json.dumps(value)
        for job in jobs_at(self._sandbox_url):
            if f'"{job["id"]}"' in said:
                trace(self._trace, event="remembered", job=job["id"])
                time.sleep(HOLD_SECONDS)


class FailingStore:
    """
    The task's state store, of which one call fails.

    :param call: ``set`` or ``delete``
    :param jobs_at: the sandbox's address: it does not fail before a job was submitted there
    :param times: how often it fails in one process; None for always
    """

    def __init__(self, store: Any, call: str, jobs_at: str | None = None, times: int | None = None) -> None:
        self._store, self._call, self._sandbox_url, self._times = store, call, jobs_at, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def set(self, key: str, value: Any, **how: Any) -> None:
        self._fail("set")
        self._store.set(key, value, **how)

    def delete(self, key: str) -> None:
        self._fail("delete")
        self._store.delete(key)

    def _fail(self, call: str) -> None:
        if call != self._call or self._times == 0 or (self._sandbox_url and not jobs_at(self._sandbox_url)):
            return
        self._times = None if self._times is None else self._times - 1
        raise ConnectionError("the store is away")


def refuse_result(ti: Any) -> None:
    """Let XCom not take the task's result."""
    push = ti.xcom_push

    def push_or_refuse(key: str, value: Any) -> None:
        if key == "return_value":
            raise ConnectionError("XCom is away")
        push(key=key, value=value)

    # It is a model of Pydantic, which lets nobody set what is no field.
    object.__setattr__(ti, "xcom_push", push_or_refuse)


def jobs_at(sandbox_url: str) -> list[dict[str, Any]]:
    with urlopen(f"{sandbox_url}/_sandbox/jobs", timeout=30) as answer:
        return list(json.load(answer)["jobs"])


def trace(path: Path, **line: Any) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), "time": time.time(), **line}) + "\n")


def store_of_task(context: Any) -> Any:
    """Return the task's store; where Airflow has none, the one that the operator makes."""
    return store_of(context, durable=True)


def prepare(context: Any) -> None:
    """Set the operator as the run wants it, and tell which process works on it."""
    conf, ti = context["dag_run"].conf, context["ti"]
    first_try = conf.get("first_try", {}) if ti.try_number == 1 else {}
    for name, value in {**conf.get("operator", {}), **first_try}.items():
        setattr(context["task"], name, value)
    path = Path(conf["trace"])
    trace(path, event="started", try_number=ti.try_number, map_index=ti.map_index)
    if "hold_after_remembering" in conf and ti.try_number == 1:
        context["task_state_store"] = HeldStore(store_of_task(context), conf["hold_after_remembering"], path)
    if "failing_store" in conf and ti.try_number == 1:
        context["task_state_store"] = FailingStore(store_of_task(context), **conf["failing_store"])
    if conf.get("refuse_result") and ti.try_number == 1:
        refuse_result(ti)


def dag_of(kind: str, retries: int) -> DAG:
    return DAG(
        f"{kind}_{retries}_retries",
        schedule=None,
        start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=20,
        max_active_tasks=100,
        default_args={
            "retries": retries,
            "retry_delay": timedelta(seconds=1),
            "pre_execute": prepare,
            "poll_interval": 1,
        },
    )


for retries in (0, 2):
    with dag_of("archive", retries) as archive:
        JiraArchiveIssuesByJqlOperator(
            task_id="job", jql="{{ dag_run.conf.jql }}", jira_conn_id="{{ dag_run.conf.jira_conn_id }}"
        )
    with dag_of("export", retries) as export:
        JiraExportArchivedIssuesOperator(
            task_id="job",
            projects="{{ dag_run.conf.projects }}",
            jira_conn_id="{{ dag_run.conf.jira_conn_id }}",
        )
    with dag_of("toloka", retries) as toloka:
        TolokaArchiveProjectOperator(
            task_id="job",
            project_id="{{ dag_run.conf.project_id }}",
            toloka_conn_id="{{ dag_run.conf.toloka_conn_id }}",
        )
    for dag in (archive, export, toloka):
        globals()[dag.dag_id] = dag

with dag_of("toloka_mapped", 2) as toloka_mapped:

    @task(pre_execute=None)
    def projects(dag_run: Any = None) -> list[str]:
        return list(dag_run.conf["project_ids"])

    TolokaArchiveProjectOperator.partial(
        task_id="job",
        toloka_conn_id="{{ dag_run.conf.toloka_conn_id }}",
        poll_interval=1,
        pre_execute=prepare,
    ).expand(project_id=projects())
