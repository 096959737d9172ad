"""A whole Airflow 2.11: scheduler, which reads the DAGs, and triggerer; driven by a process inside it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from cluster import DATABASE, SCHEDULER, TAIL, TRIGGERER, Cluster
from cryptography.fernet import Fernet
from runs import ENDS, Run
from waiting import NotYet

_CONTROL = Path(__file__).parent / "control2.py"
_JOBS = {SCHEDULER: "SchedulerJob", TRIGGERER: "TriggererJob"}
# Tasks are forked from the scheduler: what it has imported, none of them imports again. That takes seconds.
_PRELOADED = """
import airflow_provider_archival.hooks.jira, airflow_provider_archival.hooks.toloka
import airflow_provider_archival.operators.jira, airflow_provider_archival.operators.toloka
from airflow.__main__ import main
main()
"""
_SETTINGS = {
    "ARCHIVAL__STATE_STORE": "variables",
    "CORE__DAG_FILE_PROCESSOR_TIMEOUT": "300",
    "SCHEDULER__DAG_DIR_LIST_INTERVAL": "3600",
    "SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "3600",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "60",
    "SCHEDULER__USE_JOB_SCHEDULE": "False",
}


class Cluster2(Cluster):
    """
    :param home: a new folder for everything that Airflow keeps
    """

    def __init__(self, home: Path) -> None:
        # Every process waits for its turn to write: SQLite has one writer at a time.
        database = f"sqlite:///{home}/{DATABASE}?timeout=60"
        super().__init__(
            home,
            [[SCHEDULER, TRIGGERER]],
            {
                **_SETTINGS,
                "CORE__FERNET_KEY": Fernet.generate_key().decode(),
                "DATABASE__SQL_ALCHEMY_CONN": database,
            },
        )
        # Airflow's own tests set this to have several processes on SQLite.
        self._environment["_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"] = "1"
        self._parts = {name: self._part(name) for name in self._parts}
        self._started: dict[str, float] = {}
        self._control: subprocess.Popen[str] | None = None

    def start(self, *names: str) -> None:
        began = time.time()
        self._started.update(dict.fromkeys(names or self._parts, began))
        super().start(*names)
        self.wait_until(lambda: self.ask("dags"), "the DAGs are known")

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-c", _PRELOADED] if name == SCHEDULER else super().command(name)

    def stop(self) -> None:
        super().stop()
        if self._control is not None:
            self._control.communicate()

    def make_database(self) -> None:
        self.ask("make_database")
        # Readers don't wait for a writer then.
        with closing(sqlite3.connect(self._database)) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def _are_healthy(self, names: Iterable[str]) -> bool:
        return all(
            any(began > self._started[name] for began in self.ask("alive", job_type=_JOBS[name]))
            for name in names
        )

    # --- what it is asked to do ---

    def ask(self, what: str, **how: Any) -> Any:
        """Have something done inside, and return what came of it."""
        if self._control is None:
            self._control = self._start_control()
        assert self._control.stdin is not None
        assert self._control.stdout is not None
        self._control.stdin.write(json.dumps({"do": what, "with": how}) + "\n")
        self._control.stdin.flush()
        line = self._control.stdout.readline()
        assert line, f"{what}: nobody answers\n{self._control_log.read_text()[-TAIL:]}"
        answer = json.loads(line)
        if "database is locked" in answer.get("failed", ""):
            raise NotYet(answer["failed"])
        assert "failed" not in answer, answer["failed"]
        return answer["done"]

    def _start_control(self) -> subprocess.Popen[str]:
        with self._control_log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(_CONTROL)],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def _control_log(self) -> Path:
        return self.home / "control.log"

    def add_connection(self, conn_id: str, values: dict[str, Any]) -> None:
        self.ask("add_connection", conn_id=conn_id, values=values)

    def _run(self, dag_id: str, run_id: str, conf: dict[str, Any], trace: Path) -> ControlledRun:
        self.ask("start", dag_id=dag_id, run_id=run_id, conf=conf)
        return ControlledRun(self, dag_id, run_id, trace)


class ControlledRun(Run):
    """A DAG run of a :class:`Cluster2`."""

    def __init__(self, cluster: Cluster2, dag_id: str, run_id: str, trace: Path) -> None:
        super().__init__(dag_id, run_id, trace)
        self._cluster = cluster

    def _ask(self, what: str, **how: Any) -> Any:
        return self._cluster.ask(what, dag_id=self.dag_id, run_id=self.run_id, **how)

    def state(self) -> str:
        return str(self._ask("state"))

    def tries(self) -> int:
        (task,) = self.tasks()
        return int(task["try_number"])

    def value(self) -> Any:
        return self.xcom("return_value")

    def tasks(self) -> list[dict[str, Any]]:
        """Return the instances of the task."""
        return list(self._ask("tasks"))

    def xcom(self, key: str, map_index: int = -1) -> Any:
        """Return an XCom of the task; None when there is none."""
        return self._ask("xcom", key=key, map_index=map_index)

    def remembered(self) -> dict[str, Any]:
        """Return what the task keeps for its next try."""
        return {
            one["key"]: json.loads(one["value"])
            for one in self._cluster.ask("variables")
            if f"DAG {self.dag_id}, run {self.run_id}," in one["description"]
        }

    def mark_failed(self) -> None:
        """Mark the task as failed."""
        self._ask("mark_failed")

    def clear(self) -> None:
        self._ask("clear")

    def give_up(self) -> None:
        def is_over() -> bool:
            if self.state() in ENDS:
                return True
            self._ask("fail")
            return False

        self.wait_until(is_over, "it is over")

    def log(self) -> str:
        return self._cluster.log_of(self.dag_id, self.run_id)

    def story(self) -> str:
        tasks = json.dumps(self.tasks(), indent=1)
        return f"{tasks}\n{self.log()[-8 * TAIL :]}\n{self._cluster.story()}"
