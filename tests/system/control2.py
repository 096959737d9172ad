"""
Does in an Airflow 2.11 what its webserver does for people, without the half minute that one takes to start.

Reads what to do from stdin, a JSON object a line, and answers each with one: ``done`` or ``failed``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
from airflow.api.common.trigger_dag import trigger_dag
from airflow.jobs.job import Job
from airflow.models import Connection, DagModel, DagRun, TaskInstance, Variable, XCom
from airflow.models.dagbag import DagBag
from airflow.utils import db
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState

TASK = "job"


def make_database() -> None:
    db.initdb(load_connections=False)


def alive(job_type: str) -> list[float]:
    """Return when each job of a type that reports regularly was started, in epoch seconds."""
    with create_session() as session:
        jobs = session.query(Job).filter(Job.job_type == job_type, Job.state == "running")
        return [job.start_date.timestamp() for job in jobs if job.is_alive()]


def dags() -> list[str]:
    """Return the DAGs that can be run."""
    with create_session() as session:
        return [dag_id for (dag_id,) in session.query(DagModel.dag_id).filter(DagModel.is_active)]


def add_connection(conn_id: str, values: dict[str, Any]) -> None:
    with create_session() as session:
        session.add(Connection.from_json(json.dumps(values), conn_id=conn_id))


def start(dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
    trigger_dag(dag_id, run_id=run_id, conf=conf, replace_microseconds=False)


def state(dag_id: str, run_id: str) -> str:
    with create_session() as session:
        run = session.query(DagRun).filter(DagRun.dag_id == dag_id, DagRun.run_id == run_id).one()
        return str(run.state)


def tasks(dag_id: str, run_id: str) -> list[dict[str, Any]]:
    with create_session() as session:
        found = session.query(TaskInstance).filter(
            TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == TASK
        )
        return [
            {name: getattr(one, name) for name in ("map_index", "state", "try_number", "trigger_id", "pid")}
            for one in found.order_by(TaskInstance.map_index)
        ]


def xcom(dag_id: str, run_id: str, key: str, map_index: int) -> Any:
    return XCom.get_one(dag_id=dag_id, run_id=run_id, task_id=TASK, key=key, map_index=map_index)


def variables() -> list[dict[str, Any]]:
    with create_session() as session:
        return [
            {"key": one.key, "value": one.val, "description": one.description}
            for one in session.query(Variable)
        ]


def mark_failed(dag_id: str, run_id: str) -> None:
    dag = DagBag(read_dags_from_db=True).get_dag(dag_id)
    dag.set_task_instance_state(task_id=TASK, run_id=run_id, state=TaskInstanceState.FAILED)


def clear(dag_id: str, run_id: str) -> None:
    dag = DagBag(read_dags_from_db=True).get_dag(dag_id)
    (run,) = DagRun.find(dag_id=dag_id, run_id=run_id)
    dag.clear(task_ids=[TASK], start_date=run.execution_date, end_date=run.execution_date)


def fail(dag_id: str, run_id: str) -> None:
    dag = DagBag(read_dags_from_db=True).get_dag(dag_id)
    set_dag_run_state_to_failed(dag=dag, run_id=run_id, commit=True)


ACTIONS = {
    one.__name__: one
    for one in (
        *(make_database, alive, dags, add_connection, start, state, tasks, xcom, variables),
        *(mark_failed, clear, fail),
    )
}


def main() -> None:
    # Airflow logs to stdout too.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            answer["done"] = ACTIONS[asked["do"]](**asked["with"])
        except Exception:  # noqa: BLE001 (told to whoever asked)
            answer["failed"] = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
