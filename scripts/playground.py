"""A throw-away Airflow with the example DAGs, and a sandbox for them to work on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_archival.sandbox.client import Sandbox

PROJECT = Path(__file__).parent.parent
POOL = "jira_archival"


class Playground:
    """
    An Airflow whose home is a temporary folder, with SQLite and the sandbox's connections in its environment.

    :param home: the folder
    :param sandbox: the running sandbox
    """

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        self.home, self.sandbox = home, sandbox
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        self.environment = {
            **ours,
            **sandbox.airflow_connections(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "example_dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        }

    def airflow(self, *arguments: str) -> None:
        """Run an ``airflow`` command; when it fails, show what it printed and stop."""
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (self.home / f"{'-'.join(arguments[:2])}.log").write_text(done.stdout)
        if done.returncode:
            raise SystemExit(f"{done.stdout[-6000:]}\nairflow {' '.join(arguments)}: exit {done.returncode}")

    def prepare(self) -> None:
        """Make the database, the pool, and the DAGs known."""
        self.airflow("db", "migrate")
        self.airflow("pools", "set", POOL, "1", "Jira archives one thing at a time", "--include-deferred")
        self.airflow("dags", "reserialize")


@contextmanager
def playground(*, issues: int, job_seconds: float) -> Iterator[Playground]:
    """Start a sandbox, with a folder for an Airflow; both are gone at the end."""
    home = Path(tempfile.mkdtemp(prefix="archival-"))
    try:
        with Sandbox(issues=issues, job_seconds=job_seconds) as sandbox:
            yield Playground(home, sandbox)
    finally:
        shutil.rmtree(home, ignore_errors=True)
