"""Airflow 2.11 without a scheduler: each DAG run is a process of its own, where ``dag.test()`` runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from cluster import DAGS, DATABASE, PROJECT, tail
from processes import end_session
from runs import Run
from waiting import PATIENCE, wait_until

_RUNNER = Path(__file__).parent / "run_inline.py"


class InlineAirflow:
    """
    :param home: a new folder for everything that Airflow keeps
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._connections: dict[str, str] = {}
        self._runs: list[InlineRun] = []
        self._runner: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Make the database that each run gets a copy of: SQLite has one writer at a time."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=self.environment(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        self._runner = subprocess.Popen(
            [sys.executable, str(_RUNNER)],
            env=self.environment(self.home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def stop(self) -> None:
        for run in self._runs:
            run.give_up()
        if self._runner is not None:
            self._runner.communicate()

    def environment(self, home: Path) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {
            **ours,
            **self._connections,
            "PYTHONPATH": str(PROJECT),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/{DATABASE}",
        }

    def add_connection(self, conn_id: str, values: dict[str, Any]) -> None:
        self._connections[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(values)

    def run(self, dag_id: str, conf: dict[str, Any]) -> InlineRun:
        """Start a DAG run."""
        home = self.home / f"run-{len(self._runs) + 1}"
        home.mkdir()
        shutil.copy(self.home / DATABASE, home)
        run = InlineRun(self, dag_id, home, conf)
        self._runs.append(run)
        run.start()
        return run

    def fork(self, asked: dict[str, Any]) -> psutil.Process:
        """Start a process that runs what is asked for."""
        assert self._runner is not None
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(json.dumps(asked) + "\n")
        self._runner.stdin.flush()
        return psutil.Process(int(self._runner.stdout.readline()))

    def wait_until(self, condition: Any, what: str, seconds: float = PATIENCE) -> Any:
        return wait_until(condition, what, seconds)


class InlineRun(Run):
    """A DAG run, and the process that runs it."""

    def __init__(self, airflow: InlineAirflow, dag_id: str, home: Path, conf: dict[str, Any]) -> None:
        super().__init__(dag_id, home.name, home / "trace")
        self._airflow, self._result, self._log = airflow, home / "result.json", home / "run.log"
        self._asked = {
            "dag_id": dag_id,
            "conf": {**conf, "trace": str(self._trace)},
            "environment": airflow.environment(home),
            "log": str(self._log),
            "result": str(self._result),
        }
        self._process: psutil.Process | None = None

    def start(self) -> None:
        self._process = self._airflow.fork(self._asked)

    def state(self) -> str | None:
        if self._process is not None and self._process.is_running():
            return None
        assert self._result.exists(), f"{self} ended too early:\n{self.story()}"
        return str(self._told()["state"])

    def tries(self) -> int:
        return int(self._told()["tries"])

    def value(self) -> Any:
        return self._told()["value"]

    def clear(self) -> None:
        self._result.unlink()
        self.start()

    def give_up(self) -> None:
        if self._process is not None and self._process.is_running():
            end_session(self._process.pid)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def story(self) -> str:
        return tail(self._log)

    def _told(self) -> dict[str, Any]:
        return dict(json.loads(self._result.read_text()))
