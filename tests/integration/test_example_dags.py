"""The example DAGs: they parse without a warning, run to success, and are fit to be copied."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import AIRFLOW_SETTINGS, JOB_SECONDS, PROJECT, Airflow

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.operators.base import JobOperator

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

FOLDER = PROJECT / "example_dags"
FILES = sorted(FOLDER.glob("*.py"))
IDS = [path.stem for path in FILES]
Example = Callable[[str], Any]


def load(path: Path) -> Any:
    """Parse a DAG file as Airflow does."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

    return DagBag(dag_folder=str(path))


@pytest.fixture
def example(_database: None) -> Callable[[str], Any]:
    """Return an example DAG, from the file of its name; parsed anew, since a run changes its DAG."""
    return lambda name: load(FOLDER / f"{name}.py").dags[name]


def is_archived(project_id: str) -> bool:
    return TolokaHook().get_project(project_id).is_archived


# --- as files ---


def test_the_examples_are_those_that_the_documentation_names() -> None:
    assert IDS == [
        "archival_quickstart",
        "jira_archive_mapped",
        "jira_restore",
        "jira_retention",
        "jira_submit_and_sense",
        "toloka_decommission",
    ]


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_parses_without_an_error_or_a_warning_of_ours(path: Path) -> None:
    bag = load(path)
    assert bag.import_errors == {}
    assert list(bag.dags) == [path.stem]
    told = [line for lines in bag.captured_warnings.values() for line in lines]
    assert [line for line in told if "example_dags" in line or "airflow_provider_archival" in line] == []


# Airflow warns about itself: so it comes first, and then each warning is an error.
_STRICT = """
import importlib, pkgutil, runpy, sys, warnings
from airflow.providers.common.compat import sdk
from airflow.providers.common.compat import connection
import airflow.models.dag, airflow.triggers.base, airflow.operators
for name in ("BaseOperator", "BaseSensorOperator", "BaseHook", "DAG", "Param", "dag", "task", "conf", "Stats",
             "ObjectStoragePath", "mask_secret", "PokeReturnValue", "AirflowFailException", "timezone"):
    getattr(sdk, name)
import aiohttp, requests
warnings.simplefilter("error")
import airflow_provider_archival as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for path in sys.argv[1:]:
    runpy.run_path(path)
print("ALL PARSED")
"""


def test_importing_everything_warns_of_nothing_even_where_each_warning_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STRICT, *map(str, FILES)],
        env=AIRFLOW_SETTINGS,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "ALL PARSED" in done.stdout, done.stderr


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_names_no_site(path: Path) -> None:
    text = path.read_text()
    assert "atlassian.net" not in text
    assert "toloka.dev" not in text
    assert "http" not in text


@pytest.mark.parametrize("name", IDS)
def test_a_dag_says_what_it_is_for_and_what_it_needs(example: Example, name: str) -> None:
    dag = example(name)
    text = dag.doc_md
    assert text.lstrip().startswith("### ")
    for task in dag.tasks:
        for kind in ("jira", "toloka"):
            if hasattr(task, f"{kind}_conn_id"):
                assert f"`{getattr(task, f'{kind}_conn_id')}`" in text


@pytest.mark.parametrize("name", IDS)
def test_a_dags_tasks_are_retried_with_growing_pauses(example: Example, name: str) -> None:
    for task in example(name).tasks:
        assert task.retries >= 3
        assert task.retry_exponential_backoff
        assert task.max_retry_delay > task.retry_delay


@pytest.mark.parametrize("name", IDS)
def test_what_starts_a_jira_task_goes_through_the_one_slot_pool(example: Example, name: str) -> None:
    dag = example(name)
    for task in dag.tasks:
        if hasattr(task, "jira_conn_id") and isinstance(task, JobOperator):
            assert task.pool == "jira_archival"
            assert "airflow pools set jira_archival 1" in dag.doc_md


# --- as runs ---


def test_the_quickstart_archives_exports_and_archives_a_toloka_project(
    sandbox: Sandbox, airflow: Airflow, example: Example, tmp_path: Path
) -> None:
    done = airflow.run(example("archival_quickstart"), {"destination": str(tmp_path)})
    assert set(done.states().values()) == {"success"}
    assert done.xcom("count") == done.xcom("archive")["matched"] == 5
    assert done.xcom("archive")["tasks"][0]["result"]["numberOfIssuesUpdated"] == 5
    (file,) = done.xcom("export")["files"]
    assert file["rows"] == 5
    assert [str(path) for path in tmp_path.iterdir()] == [file["path"]]
    assert done.xcom("archive_toloka_project")["status"] == "SUCCESS"
    assert sandbox.count("project = DEMO", archived=False) == 0
    assert is_archived("10001")
    assert sandbox.counters()["jobs_submitted"] == {"archive": 1, "export": 1, "PROJECT.ARCHIVE": 1}


def test_the_quickstart_leaves_the_file_at_jira_where_no_destination_is_given(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("archival_quickstart"))
    assert set(done.states().values()) == {"success"}
    assert done.xcom("export")["files"][0]["path"] is None


def test_retention_archives_what_is_old_and_done_and_exports_that(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("jira_retention"))
    assert set(done.states().values()) == {"success"}
    # Subtasks are not counted, and go with their parent.
    assert done.xcom("archive")["matched"] == 2
    assert done.xcom("archive")["tasks"][0]["result"]["numberOfIssuesUpdated"] == 4
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in (1, 2, 3, 4, 5)] == [True] * 4 + [False]
    (request,) = sandbox.requests("/rest/api/3/issues/archive/export", "PUT")
    assert request["body"]["projects"] == ["DEMO"]
    assert set(request["body"]["archivedDateRange"]) == {"dateAfter", "dateBefore"}
    assert sandbox.counters()["jobs_submitted"] == {"archive": 1, "export": 1}


def test_restore_brings_back_what_a_retention_run_archived_and_nothing_else(
    sandbox: Sandbox, airflow: Airflow, example: Example, tmp_path: Path
) -> None:
    JiraCloudHook().archive_issues(["DEMO-5"])
    sandbox.advance(60)
    done = airflow.run(example("jira_retention"), {"destination": str(tmp_path)})
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in range(1, 6)] == [True] * 5

    undone = airflow.run(example("jira_restore"), {"run_id": done.run_id})
    assert set(undone.states().values()) == {"success"}
    assert undone.xcom("restore") == {"requested": 2, "unarchived": 4, "errors": {}}
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in range(1, 6)] == [False] * 4 + [True]


@pytest.mark.parametrize("form", ["jira", "odd", "utf-16"])
def test_restore_reads_the_csv_in_each_form(
    archival_sandbox_factory: Any,
    monkeypatch: pytest.MonkeyPatch,
    airflow: Airflow,
    example: Example,
    tmp_path: Path,
    form: str,
) -> None:
    sandbox = archival_sandbox_factory(job_seconds=JOB_SECONDS, csv=form)
    for name, value in sandbox.airflow_connections().items():
        monkeypatch.setenv(name, value)
    done = airflow.run(example("jira_retention"), {"destination": str(tmp_path)})
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in range(1, 5)] == [True] * 4
    undone = airflow.run(example("jira_restore"), {"run_id": done.run_id})
    assert undone.states() == {"archived_by_the_run": "success", "restore": "success"}
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in range(1, 5)] == [False] * 4


def test_restore_says_so_where_nobody_knows_which_issues_the_run_archived(
    sandbox: Sandbox, airflow: Airflow, example: Example, tmp_path: Path
) -> None:
    # The answer is lost, and the work done before anybody looks.
    path = "/rest/api/3/issue/archive"
    sandbox.fault(path, method="POST", status=504, when="after", delay=4 * JOB_SECONDS)
    done = airflow.run(example("jira_retention"), {"destination": str(tmp_path)})
    assert (done.xcom("archive")["matched"], done.xcom("archive")["tasks"]) == (2, [])
    undone = airflow.run(example("jira_restore"), {"run_id": done.run_id})
    assert (undone.state, undone.tries("archived_by_the_run")) == ("failed", 1)
    assert "whose id it never learned" in undone.log


@pytest.mark.parametrize(("destination", "message"), [("", "saved no CSV"), (None, "no finished run")])
def test_restore_says_what_is_missing(
    sandbox: Sandbox, airflow: Airflow, example: Example, destination: str | None, message: str
) -> None:
    run_id = "none" if destination is None else airflow.run(example("jira_retention")).run_id
    done = airflow.run(example("jira_restore"), {"run_id": run_id})
    assert (done.state, done.tries("archived_by_the_run")) == ("failed", 1)
    assert message in done.log


def test_retention_archives_nothing_when_more_matches_than_the_guard_allows(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("jira_retention"), {"projects": ["DEMO", "WEB"], "age": "26w", "guard": 10})
    assert done.states() == {"archive": "failed", "export": "upstream_failed"}
    assert done.tries("archive") == 1
    assert done.error.startswith("TooManyIssues: ")
    assert sandbox.counters()["issues_archived"] == 0


@pytest.mark.parametrize("batch_size", [500, 1])
def test_the_mapped_example_archives_what_it_can_and_says_what_it_could_not(
    sandbox: Sandbox, airflow: Airflow, example: Example, batch_size: int
) -> None:
    done = airflow.run(example("jira_archive_mapped"), {"batch_size": batch_size})
    assert set(done.states().values()) == {"success"}
    summary = done.xcom("summarise")
    assert (summary["requested"], summary["archived"]) == (3, 3)
    assert sum(summary["failed"].values()) == 2
    assert sandbox.issue("DEMO-1")["archived"]


def test_the_mapped_example_has_nothing_to_do_for_no_issues(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("jira_archive_mapped"), {"issues": []})
    assert done.state == "success"
    assert sandbox.requests() == []


def test_submit_and_sense_waits_in_another_task(sandbox: Sandbox, airflow: Airflow, example: Example) -> None:
    done = airflow.run(example("jira_submit_and_sense"))
    assert set(done.states().values()) == {"success"}
    assert done.xcom("wait")["status"] == "COMPLETE"
    assert done.xcom("wait")["task_id"] == done.xcom("submit", "jira_task_id")
    assert sandbox.count("project = DEMO", archived=False) == 0
    assert sandbox.counters()["jobs_submitted"] == {"archive": 1}


def test_submit_and_sense_skips_the_wait_when_nothing_matches(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("jira_submit_and_sense"), {"jql": "project = DEMO AND updated < -20y"})
    assert done.states() == {"submit": "success", "something_was_submitted": "success", "wait": "skipped"}
    assert done.state == "success"


def test_decommission_archives_pools_then_projects_and_can_run_again(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("toloka_decommission"))
    assert set(done.states().values()) == {"success"}
    assert is_archived("10011")
    assert is_archived("10012")
    expected = {"POOL.ARCHIVE": 4, "PROJECT.ARCHIVE": 2}
    assert sandbox.counters()["jobs_submitted"] == expected

    again = airflow.run(example("toloka_decommission"))
    assert again.state == "success"
    assert [again.xcom("archive_projects", map_index=index)["status"] for index in range(2)] == [
        "ARCHIVED"
    ] * 2
    assert sandbox.counters()["jobs_submitted"] == expected


def test_decommission_leaves_a_project_with_open_pools_alone_and_archives_the_others(
    sandbox: Sandbox, airflow: Airflow, example: Example
) -> None:
    done = airflow.run(example("toloka_decommission"), {"project_ids": ["10003", "10001"]})
    states = done.states()
    assert (states["archive_projects[0]"], states["archive_projects[1]"]) == ("failed", "success")
    assert done.error.startswith("PoolsNotArchived: ")
    assert is_archived("10001")
    assert not is_archived("10003")
