"""A whole Airflow, in a folder of its own: the processes that it is made of, and their life."""

from __future__ import annotations

import itertools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import Part
from runs import Run
from waiting import PATIENCE, wait_until

PROJECT = Path(__file__).parents[2]
DAGS = Path(__file__).parent / "dags"
SCHEDULER, TRIGGERER, DAG_PROCESSOR = "scheduler", "triggerer", "dag-processor"
_ARGUMENTS = {SCHEDULER: ["--skip-serve-logs"], TRIGGERER: ["--skip-serve-logs"]}
DATABASE, TAIL = "airflow.db", 3000

# Short loops, and what is dead is missed after seconds; but not so few that a busy machine looks dead.
_SETTINGS = {
    "CORE__DAGS_FOLDER": str(DAGS),
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__EXECUTOR": "LocalExecutor",
    "CORE__PARALLELISM": "8",
    "CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
}


class Cluster(ABC):
    """
    :param home: a new folder for everything that Airflow keeps
    :param names: the parts; those of the first group are up before those of the next are started
    :param settings: Airflow's settings, beyond those that every cluster has
    """

    def __init__(self, home: Path, names: Sequence[Sequence[str]], settings: Mapping[str, str]) -> None:
        self.home, self._groups, self._database = home, names, home / DATABASE
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        self._environment = {
            **ours,
            # What is tested is what lies beside the tests, whichever copy of the package is installed.
            "PYTHONPATH": str(PROJECT),
            "AIRFLOW_HOME": str(home),
            **{f"AIRFLOW__{name}": value for name, value in {**_SETTINGS, **settings}.items()},
        }
        self._parts = {name: self._part(name) for group in names for name in group}
        self._numbers = itertools.count(1)

    def _part(self, name: str) -> Part:
        arguments = [*self.command(name), name, *_ARGUMENTS.get(name, [])]
        return Part(arguments, self._environment, self.home / f"{name}.log")

    def command(self, name: str) -> list[str]:
        """Return what ``airflow`` is for this part."""
        return [sys.executable, "-m", "airflow"]

    # --- its life ---

    def start(self, *names: str) -> None:
        """Start these parts, or all, and wait until they report for duty."""
        if not self._database.exists():
            self.make_database()
        for group in self._groups:
            wanted = [name for name in group if name in (names or self._parts)]
            if not wanted:
                continue
            for name in wanted:
                if not self._parts[name].is_alive:
                    self._parts[name].start()
            self.wait_until(lambda wanted=wanted: self._are_up(wanted), f"{', '.join(wanted)} are up")

    @abstractmethod
    def make_database(self) -> None:
        """Make the database, which is a file of SQLite's."""

    def kill(self, *names: str) -> None:
        """End these parts, or all, with all that they have started, at once."""
        for name in names or tuple(self._parts):
            self._parts[name].kill()

    def stop(self) -> None:
        """End all parts, as politely as time allows."""
        for part in self._parts.values():
            part.ask_to_end()
        for part in self._parts.values():
            part.stop()

    def _are_up(self, names: Iterable[str]) -> bool:
        for name in names:
            assert self._parts[name].is_alive, f"{name} ended:\n{tail(self._parts[name].log)}"
        return self._are_healthy(names)

    @abstractmethod
    def _are_healthy(self, names: Iterable[str]) -> bool:
        """Say whether these parts, which are alive, do their work."""

    # --- what it is asked to do ---

    @abstractmethod
    def add_connection(self, conn_id: str, values: dict[str, Any]) -> None:
        """Add a connection to the database."""

    def run(self, dag_id: str, conf: dict[str, Any]) -> Run:
        """Start a DAG run."""
        run_id = f"run-{next(self._numbers)}"
        trace = self.home / f"{dag_id}.{run_id}.trace"
        return self._run(dag_id, run_id, {**conf, "trace": str(trace)}, trace)

    @abstractmethod
    def _run(self, dag_id: str, run_id: str, conf: dict[str, Any], trace: Path) -> Run:
        """Start a DAG run."""

    def wait_until(self, condition: Any, what: str, seconds: float = PATIENCE) -> Any:
        return wait_until(condition, what, seconds, story=self.story)

    def story(self) -> str:
        """Tell what the parts logged last."""
        return "\n".join(f"--- {name}\n{tail(part.log)}" for name, part in self._parts.items())

    def log_of(self, dag_id: str, run_id: str) -> str:
        """Return what the tasks of a run logged."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
        files = sorted(folder.rglob("*.log*"), key=lambda file: file.stat().st_mtime)
        return "\n".join(f"--- {file.relative_to(folder)}\n{file.read_text()}" for file in files)


def tail(file: Path) -> str:
    return file.read_text(errors="replace")[-TAIL:] if file.exists() else "(no log)"
