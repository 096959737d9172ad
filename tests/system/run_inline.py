"""
Run DAG runs with ``dag.test()`` of Airflow 2.11, each in a process of its own.

Reads what to run from stdin, a JSON object a line, and answers with the id of the process that runs it. The
processes are forked from this one, which has imported Airflow and read the DAGs: that takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from airflow import settings
from airflow.models.dagbag import DagBag

import airflow_provider_archival.hooks.jira
import airflow_provider_archival.hooks.toloka  # noqa: F401 (the runs import both)


def main() -> None:
    # Airflow logs to stdout too.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    dags = DagBag(include_examples=False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run_and_exit(dags, asked)
        print(pid, file=answers, flush=True)


def run_and_exit(dags: DagBag, asked: dict[str, Any]) -> None:
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log, stream.fileno())
        os.environ.update(asked["environment"])
        # The database is another one now.
        settings.configure_vars()
        settings.configure_orm()
        run(dags, asked)
    except BaseException:  # noqa: BLE001 (told, and the process ends)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def run(dags: DagBag, asked: dict[str, Any]) -> None:
    run = dags.get_dag(asked["dag_id"]).test(run_conf=asked["conf"])
    task = run.get_task_instance("job")
    told = {"state": run.state, "tries": task.try_number, "value": task.xcom_pull("job")}
    result = Path(asked["result"])
    result.with_suffix(".new").write_text(json.dumps(told))
    result.with_suffix(".new").rename(result)


if __name__ == "__main__":
    main()
