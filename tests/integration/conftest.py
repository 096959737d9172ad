"""What the integration tests share: an Airflow of their own, in this process, and the sandbox."""

from __future__ import annotations

import atexit
import faulthandler
import itertools
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import pendulum
import pytest
import tenacity

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

T = TypeVar("T")

PROJECT = Path(__file__).parents[2]
JOB_SECONDS = 0.3

# Airflow reads these when it is imported: no test may see, or touch, the Airflow of whoever runs the tests.
HOME = Path(tempfile.mkdtemp(prefix="archival-integration-tests-"))
DAGS, DATABASE = HOME / "dags", HOME / "airflow.db"
AIRFLOW_SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # Empty: Airflow 3 parses the whole folder for each run.
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{DATABASE}",
}
if "airflow" in sys.modules:
    raise pytest.UsageError(
        "Run tests/integration in a process of its own: its Airflow must not be imported yet"
    )
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
DAGS.mkdir()
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ.update(AIRFLOW_SETTINGS)

_OF_THE_ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC")
_STUCK_AFTER = 150
_TERMINAL = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TERMINAL] = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")  # type: ignore[union-attr]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what there is nothing to test of on Airflow 3."""
    left_out = [item for item in items if is_airflow_3() and item.get_closest_marker("airflow2_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the proxies and CA files of whoever runs the tests out, and end a run that hangs, with a trace."""
    for name in (*_OF_THE_ENVIRONMENT, *map(str.lower, _OF_THE_ENVIRONMENT), *_CA_FILES):
        monkeypatch.delenv(name, raising=False)
    faulthandler.dump_traceback_later(_STUCK_AFTER, exit=True, file=request.config.stash[_TERMINAL])
    yield
    faulthandler.cancel_dump_traceback_later()


# --- the sandbox ---


@pytest.fixture(scope="session")
def archival_sandbox_settings() -> dict[str, Any]:
    return {"job_seconds": JOB_SECONDS}


@pytest.fixture
def sandbox(archival_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, freshly seeded, whose connections Airflow knows. Its jobs take the blink of an eye."""
    for name, value in archival_sandbox.airflow_connections().items():
        monkeypatch.setenv(name, value)
    return archival_sandbox


@pytest.fixture(scope="session")
def _slow_sandbox_process(archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(job_seconds=24 * 60 * 60)
    return started


@pytest.fixture
def slow_sandbox(_slow_sandbox_process: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox whose jobs run until the test ends them."""
    _slow_sandbox_process.reset()
    for name, value in _slow_sandbox_process.airflow_connections().items():
        monkeypatch.setenv(name, value)
    return _slow_sandbox_process


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Change a connection, or make one: fields replace, ``extra`` is merged. Returns its id."""

    def change(conn_id: str, *, extra: dict[str, Any] | None = None, **fields: Any) -> str:
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        known = json.loads(os.environ.get(name, "{}"))
        merged = {**(known.get("extra") or {}), **(extra or {})}
        monkeypatch.setenv(name, json.dumps({**known, **fields, "extra": merged}))
        return conn_id

    return change


@pytest.fixture(autouse=True)
def _no_limit_outlives_its_test() -> Iterator[None]:
    """Forget what a sandbox has said of its limits, for the next test has another service at that address."""
    yield
    if "airflow_provider_archival.hooks.pace" in sys.modules:
        sys.modules["airflow_provider_archival.hooks.pace"].gate.cache_clear()


PASSING_FAULTS: list[dict[str, Any]] = [
    {"status": 503},
    {"reset": "before"},
    {"body": "html"},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"status": 500, "body": "html"},
    {"reset": "after"},
    {"body": "broken"},
    {"truncate": True},
]
"""What may go wrong with a look at a job and is over soon, for ``sandbox.fault``."""


@pytest.fixture(params=[False, True], ids=["waiting", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    """Both ways to wait: the test runs in each."""
    return bool(request.param)


@pytest.fixture
def quick_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pauses between the repeats of one request (and no others)."""
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))


# --- Airflow ---


@pytest.fixture(scope="session")
def _database() -> None:
    """Airflow's own tables, and the pool that the example DAGs want."""
    from airflow.models.pool import Pool
    from airflow.utils import db

    level = logging.getLogger().level
    db.initdb()
    # The migrations set up logging for themselves, and leave it so: no task of an Airflow sees that.
    logging.getLogger().setLevel(level)
    Pool.create_or_update_pool("jira_archival", 1, "Jira archives one thing at a time", include_deferred=True)


def is_airflow_3() -> bool:
    import airflow

    return not airflow.__version__.startswith("2.")


def rows(sql: str, *parameters: Any) -> list[sqlite3.Row]:
    """Read Airflow's database, as anybody else would see it."""
    with sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=30) as database:
        database.row_factory = sqlite3.Row
        return database.execute(sql, parameters).fetchall()


def dump() -> str:
    """Return everything that is in Airflow's database, as text."""
    tables = [row["name"] for row in rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return "\n".join(
        f"{table}: {[bytes(v).decode('utf-8', 'replace') if isinstance(v, bytes) else v for v in row]}"
        for table in tables
        for row in rows(f'SELECT * FROM "{table}"')
    )


@dataclass(frozen=True)
class Run:
    """A DAG run that is over, as Airflow's database has it."""

    dag_id: str
    run_id: str
    state: str
    log: str
    """Every log line, with tracebacks, before any masking."""

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return a task's XCom; None if it has none."""
        found = rows(
            "SELECT CAST(value AS TEXT) AS value FROM xcom"
            " WHERE dag_id = ? AND run_id = ? AND task_id = ? AND key = ? AND map_index = ?",
            *(self.dag_id, self.run_id, task_id, key, map_index),
        )
        return json.loads(found[0]["value"]) if found else None

    @property
    def error(self) -> str:
        """The provider's exception that the log ends with, as ``Name: message``."""
        found = re.findall(r"^airflow_provider_archival\.exceptions\.(\w+: .*)$", self.log, re.MULTILINE)
        return found[-1] if found else ""

    def states(self) -> dict[str, str]:
        """Return the state of each task; a mapped one's name has its index: ``archive[0]``."""
        return {name: row["state"] for name, row in self._tasks().items()}

    def tries(self, task_id: str) -> int:
        return int(self._tasks()[task_id]["try_number"])

    def _tasks(self) -> dict[str, sqlite3.Row]:
        found = rows(
            "SELECT task_id, map_index, state, try_number FROM task_instance WHERE dag_id = ? AND run_id = ?",
            *(self.dag_id, self.run_id),
        )
        return {
            row["task_id"] + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""): row for row in found
        }


class Airflow:
    """An Airflow that runs DAGs in this process, each task and each trigger for real."""

    _numbers = itertools.count(1)

    def __init__(self, name: str, logged: list[str]) -> None:
        self._name, self._logged = re.sub(r"[^A-Za-z0-9_.-]+", "_", name), logged
        self.dag_id = ""
        """The id of the DAG that was made last."""

    def dag(self, **arguments: Any) -> Any:
        """Return a new DAG; its tasks are not retried unless the test says so."""
        from airflow.providers.common.compat.sdk import DAG

        default_args = {"retries": 0, "retry_delay": timedelta(0), **arguments.pop("default_args", {})}
        self.dag_id = f"{self._name}_{next(self._numbers)}"
        return DAG(
            self.dag_id,
            **{"schedule": None, "start_date": pendulum.datetime(2024, 1, 1, tz="UTC"), **arguments},
            default_args=default_args,
        )

    def run(self, dag: Any, conf: dict[str, Any] | None = None) -> Run:
        """Run a DAG to its end."""
        if is_airflow_3():
            _make_known(dag)
        begin = len(self._logged)
        dag_run = dag.test(run_conf=conf)
        return Run(dag.dag_id, dag_run.run_id, str(dag_run.state.value), "\n".join(self._logged[begin:]))


def _make_known(dag: Any) -> None:
    """Do what the DAG processor does for a file: Airflow 3 runs only DAGs that are in its database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    DagBundlesManager().sync_bundles_to_db()
    with create_session() as session:
        SerializedDAG.bulk_write_to_db("dags-folder", None, [dag], session=session)
        session.commit()
        SerializedDagModel.write_dag(
            LazyDeserializedDAG.from_dag(dag), bundle_name="dags-folder", session=session
        )


@pytest.fixture
def airflow(_database: None, request: pytest.FixtureRequest, logged: list[str]) -> Airflow:
    return Airflow(request.node.name, logged)


@pytest.fixture
def run(airflow: Airflow) -> Callable[..., Run]:
    """Run one task, which the given function makes (as ``job``): ``run(lambda: Operator(task_id="job"))``."""

    def run_it(make: Callable[[], object], *, conf: dict[str, Any] | None = None, **arguments: Any) -> Run:
        with airflow.dag(**arguments) as dag:
            make()
        return airflow.run(dag, conf)

    return run_it


# --- what happens beside a run ---


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], T]], Future[T]]]:
    """Do something in a thread while the test goes on: ``seen = meanwhile(look)``, then ``seen.result()``."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit


@pytest.fixture
def end_jobs(
    slow_sandbox: Sandbox, meanwhile: Callable[[Callable[[], list[Any]]], Future[list[Any]]]
) -> Iterator[Callable[..., Future[list[Any]]]]:
    """
    End the slow sandbox's jobs, one action for each, as they come: ``end_jobs("fail", "finish")``.

    What ``look`` returns for a job's id while that job runs is in the result.
    """
    arranged: list[Future[list[Any]]] = []

    def arrange(
        *actions: str, look: Callable[[str], Any] = lambda id: None, **more: Any
    ) -> Future[list[Any]]:
        def watch() -> list[Any]:
            seen: dict[str, Any] = {}
            for action in actions:
                id, *_ = until(lambda: [job["id"] for job in slow_sandbox.jobs() if job["id"] not in seen])
                seen[id] = None
                try:
                    seen[id] = look(id)
                finally:
                    slow_sandbox.job(id, action, **more)
            return list(seen.values())

        arranged.append(meanwhile(watch))
        return arranged[-1]

    yield arrange
    for watched in arranged:
        watched.result()


def until(what: Callable[[], T], seconds: float = 60) -> T:
    """Call a function until what it returns is true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)
    return found


# --- logs ---


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """
    Every log line as the code wrote it, before any masking, with its traceback, from any logger.

    Airflow 3 logs through structlog, which passes by ``caplog``, so both are listened to at their source.
    """
    lines: list[str] = []
    formatter = logging.Formatter()
    make_record = logging.getLogRecordFactory()

    def listen(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        trace = f"\n{formatter.formatException(record.exc_info)}" if record.exc_info else ""
        lines.append(record.getMessage() + trace)
        return record

    logging.setLogRecordFactory(listen)
    with ExitStack() as stack:
        stack.callback(logging.setLogRecordFactory, make_record)
        if "structlog" in sys.modules:
            processors = sys.modules["structlog"].get_config()["processors"]

            def listen_too(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
                info = event.get("exc_info")
                exc_info = sys.exc_info() if info is True else info
                if isinstance(exc_info, BaseException):
                    exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
                trace = f"\n{formatter.formatException(exc_info)}" if isinstance(exc_info, tuple) else ""
                lines.append(f"{event}{trace}")
                return event

            # Loggers keep the list of processors that they were made with.
            processors.insert(0, listen_too)
            stack.callback(processors.remove, listen_too)
        yield lines
