"""Airflow 2.11 without a scheduler: each DAG run is a process of its own, where ``dag.test()`` runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster import DAGS, tail
from processes import Part
from runs import Run
from waiting import PATIENCE, wait_until

_RUNNER = Path(__file__).parent / "run_inline.py"
_DATABASE = "airflow.db"


class InlineAirflow:
    """
    :param home: a new folder for everything that Airflow keeps
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._connections: dict[str, str] = {}
        self._runs: list[InlineRun] = []

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

    def stop(self) -> None:
        for run in self._runs:
            run.give_up()

    def environment(self, home: Path) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {
            **ours,
            **self._connections,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/{_DATABASE}",
        }

    def add_connection(self, conn_id: str, values: dict[str, Any]) -> None:
        self._connections[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(values)

    def run(self, dag_id: str, conf: dict[str, Any]) -> InlineRun:
        """Start a DAG run."""
        home = self.home / f"run-{len(self._runs) + 1}"
        home.mkdir()
        for name in (_DATABASE, "airflow.cfg"):
            shutil.copy(self.home / name, home)
        run = InlineRun(dag_id, home, conf, self.environment(home))
        self._runs.append(run)
        run.start()
        return run

    def wait_until(self, condition: Any, what: str, seconds: float = PATIENCE) -> Any:
        return wait_until(condition, what, seconds)


class InlineRun(Run):
    """A DAG run, and the process that runs it."""

    def __init__(self, dag_id: str, home: Path, conf: dict[str, Any], environment: dict[str, str]) -> None:
        super().__init__(dag_id, home.name, home / "trace")
        self._result, self._log = home / "result.json", home / "run.log"
        asked = home / "asked.json"
        asked.write_text(json.dumps({"dag_id": dag_id, "conf": {**conf, "trace": str(self._trace)}}))
        arguments = [sys.executable, str(_RUNNER), str(asked), str(self._result)]
        self._process = Part(arguments, environment, self._log)

    def start(self) -> None:
        self._process.start()

    def state(self) -> str | None:
        if self._process.is_alive:
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
        self._process.kill()

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def story(self) -> str:
        return tail(self._log)

    def _told(self) -> dict[str, Any]:
        return dict(json.loads(self._result.read_text()))
