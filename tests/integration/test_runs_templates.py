"""What templates, files and Airflow's configuration put into the operators' parameters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import Param, task
from conftest import AIRFLOW_SETTINGS, Airflow, Run

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_READY,
    PROJECT_WITH_OPEN_POOL,
    PROJECTS_WITH_CLOSED_POOLS,
)
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
GUARDS = [("4", "failed"), ("5", "success"), ("", "success"), (None, "success")]


@pytest.fixture(params=[False, True], ids=["to-text", "to-native-objects"])
def native(request: pytest.FixtureRequest) -> bool:
    """Whether templates are rendered to native Python objects: the test runs both ways."""
    return bool(request.param)


def exported(sandbox: Sandbox) -> Any:
    """Return the filter of the one export that was asked for."""
    (request,) = sandbox.requests("/rest/api/3/issues/archive/export", "PUT")
    return request["body"]


def test_a_jql_takes_the_runs_params(sandbox: Sandbox, run: RunIt, native: bool) -> None:
    jql = "project in (DEMO, FIN) AND updated < -2y"
    number = sandbox.count(jql, archived=False)
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project in ({{ params.projects | join(', ') }}) AND updated < -{{ params.age }}",
            poll_interval=0.1,
        ),
        params={"projects": Param(["WEB"], type="array"), "age": "9y"},
        conf={"projects": ["DEMO", "FIN"], "age": "2y"},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "success"}
    value = done.xcom("job")
    assert (value["jql"], value["matched"]) == (jql, number)
    assert sandbox.requests("/rest/api/3/issue/archive", "POST")[0]["body"] == {"jql": jql}


def test_a_jql_can_come_from_a_file_with_templates_in_it(
    sandbox: Sandbox, run: RunIt, tmp_path: Path
) -> None:
    (tmp_path / "retention.jql").write_text("project = {{ params.project }}\nAND status = Closed\n")
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(task_id="job", jql="retention.jql", poll_interval=0.1),
        params={"project": "DEMO"},
        template_searchpath=str(tmp_path),
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job")["jql"] == "project = DEMO\nAND status = Closed"
    assert done.xcom("job")["tasks"][0]["result"]["numberOfIssuesUpdated"] == 1


@pytest.mark.parametrize(
    ("most", "state"), [("4", "failed"), ("5", "success"), ("", "success"), (None, "success")]
)
def test_a_guard_can_be_a_template(sandbox: Sandbox, run: RunIt, native: bool, most: Any, state: str) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project = DEMO",
            max_issues="{{ params.most }}",  # type: ignore[arg-type]
            poll_interval=0.1,
        ),
        params={"most": Param(most, type=["string", "null"])},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": state}
    assert bool(sandbox.jobs()) == (state == "success")


@pytest.mark.parametrize(("dry", "archived"), [(True, 0), (False, 5)])
def test_a_dry_run_can_be_a_template(
    sandbox: Sandbox, run: RunIt, native: bool, dry: bool, archived: int
) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project = DEMO",
            dry_run="{{ params.dry }}",  # type: ignore[arg-type]
            poll_interval=0.1,
        ),
        params={"dry": dry},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "success"}
    assert sandbox.counters()["issues_archived"] == archived


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_guard_that_is_no_number_fails_before_anything_is_sent(
    sandbox: Sandbox, run: RunIt, value: str
) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project = DEMO",
            max_issues="{{ params.most }}",  # type: ignore[arg-type]
            retries=2,
        ),
        params={"most": value},
    )
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 1
    assert done.error.startswith("BadInput: max_issues must be a whole number")
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    "keys",
    [
        "{{ params.issues }}",
        "{{ params.issues | tojson }}",
        "{{ params.issues | join(', ') }}",
        ["{{ params.issues[0] }}", "demo-1"],
    ],
)
def test_a_list_of_keys_can_be_rendered_in_any_form(
    sandbox: Sandbox, run: RunIt, native: bool, keys: Any
) -> None:
    done = run(
        lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=keys),
        params={"issues": Param(["DEMO-4", "DEMO-1"], type="array")},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"requested": 2, "archived": 4, "errors": {}}
    (request,) = sandbox.requests("/rest/api/3/issue/archive", "PUT")
    assert request["body"] == {"issueIdsOrKeys": ["DEMO-4", "DEMO-1"]}


def test_issue_ids_can_be_numbers(sandbox: Sandbox, run: RunIt, native: bool) -> None:
    done = run(
        lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys="{{ params.ids }}"),
        params={"ids": Param([10004, 10001], type="array")},
        render_template_as_native_obj=native,
    )
    assert done.xcom("job") == {"requested": 2, "archived": 4, "errors": {}}


def test_an_exports_dates_can_be_the_runs_own(sandbox: Sandbox, run: RunIt, native: bool) -> None:
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job",
            projects="{{ params.projects }}",
            archived_after="{{ dag_run.start_date }}",
            archived_before="{{ data_interval_end + macros.timedelta(days=2) }}",
            poll_interval=0.1,
        ),
        params={"projects": Param(["DEMO", "WEB"], type="array")},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "success"}
    today = pendulum.now("UTC")
    assert exported(sandbox) == {
        "projects": ["DEMO", "WEB"],
        "archivedDateRange": {
            "dateAfter": today.to_date_string(),
            "dateBefore": today.add(days=2).to_date_string(),
        },
    }


@pytest.mark.parametrize(
    ("given", "range"),
    [
        ({"archived_after": "{{ ds }}"}, (0, 1)),
        ({"archived_after": "{{ macros.ds_add(ds, -7) }}", "archived_before": "{{ ds }}"}, (-7, 0)),
        ({"archived_before": "{{ ds }}"}, (None, 0)),
        ({"archived_after": "", "archived_before": "{{ params.nothing }}"}, None),
    ],
)
def test_a_range_with_one_end_is_completed(
    sandbox: Sandbox, run: RunIt, given: dict[str, str], range: Any
) -> None:
    done = run(
        lambda: JiraExportArchivedIssuesOperator(task_id="job", poll_interval=0.1, **given),
        params={"nothing": ""},
    )
    assert done.states() == {"job": "success"}
    if range is None:
        assert exported(sandbox) == {}
        return
    today = pendulum.now("UTC")
    first, last = (day if day is None else today.add(days=day).to_date_string() for day in range)
    assert exported(sandbox)["archivedDateRange"] == {
        "dateAfter": first or "2002-01-01",
        "dateBefore": last,
    }


def test_a_destination_can_be_a_template(sandbox: Sandbox, run: RunIt, tmp_path: Path) -> None:
    JiraCloudHook().archive_issues(["DEMO-4"])
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job",
            destination="{{ params.folder }}/{{ ds }}.csv",
            poll_interval=0.1,
        ),
        params={"folder": str(tmp_path)},
    )
    assert done.states() == {"job": "success"}
    assert len((tmp_path / f"{pendulum.now('UTC').to_date_string()}.csv").read_text().splitlines()) == 2


def test_toloka_ids_and_switches_can_be_templates(sandbox: Sandbox, run: RunIt, native: bool) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id="{{ params.project }}",
            archive_pools="{{ params.pools }}",  # type: ignore[arg-type]
            close_open_pools="{{ params.pools }}",  # type: ignore[arg-type]
            poll_interval=0.1,
        ),
        params={"project": PROJECT_WITH_OPEN_POOL, "pools": True},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job")["status"] == "SUCCESS"
    assert done.xcom("job")["project_id"] == PROJECT_WITH_OPEN_POOL


def test_a_switch_that_renders_to_false_is_off(sandbox: Sandbox, run: RunIt, native: bool) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECTS_WITH_CLOSED_POOLS[0],
            archive_pools="{{ params.pools }}",  # type: ignore[arg-type]
        ),
        params={"pools": False},
        render_template_as_native_obj=native,
    )
    assert done.states() == {"job": "failed"}
    assert done.error.startswith("PoolsNotArchived: ")
    assert sandbox.jobs() == []


def test_pools_are_mapped_over_an_upstream_list(sandbox: Sandbox, airflow: Airflow, native: bool) -> None:
    @task
    def pools() -> list[str]:
        from airflow_provider_archival.hooks.toloka import TolokaHook

        return [pool.id for pool in TolokaHook().list_pools(PROJECTS_WITH_CLOSED_POOLS[0])]

    with airflow.dag(render_template_as_native_obj=native) as dag:
        TolokaArchivePoolOperator.partial(task_id="job", deferrable=True, poll_interval=0.1).expand(
            pool_id=pools()
        )
    done = airflow.run(dag)
    assert set(done.states().values()) == {"success"}
    assert [done.xcom("job", map_index=index)["status"] for index in range(2)] == ["SUCCESS", "SUCCESS"]


def test_a_connection_id_can_be_a_template(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECT_READY,
            toloka_conn_id="toloka_{{ params.which }}",
            deferrable=deferrable,
            poll_interval=0.1,
        ),
        params={"which": "default"},
    )
    assert done.states() == {"job": "success"}


# --- Airflow's configuration ---

_DEFAULTS = """
from airflow_provider_archival.operators.jira import *
from airflow_provider_archival.operators.toloka import *
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

made = [
    JiraArchiveIssuesByJqlOperator(task_id="a", jql="x"),
    JiraExportArchivedIssuesOperator(task_id="b"),
    TolokaArchiveProjectOperator(task_id="c", project_id="1"),
    TolokaArchivePoolOperator(task_id="d", pool_id="1"),
    JiraTaskSensor(task_id="e", jira_task_id="1"),
    TolokaOperationSensor(task_id="f", operation_id="1"),
]
print("DEFERRABLE", {one.deferrable for one in made})
"""


def test_whether_to_defer_follows_airflows_default() -> None:
    """Airflow's own operators read it, too, when they are imported: hence a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _DEFAULTS],
        env={**AIRFLOW_SETTINGS, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "DEFERRABLE {True}" in done.stdout, done.stderr


def test_nothing_is_deferred_unless_asked_for() -> None:
    assert not JiraArchiveIssuesByJqlOperator(task_id="job", jql="project = DEMO").deferrable
    assert not TolokaArchiveProjectOperator(task_id="job", project_id="1").deferrable
    assert not JiraTaskSensor(task_id="job", jira_task_id="1").deferrable


def test_default_args_set_what_each_operator_knows(sandbox: Sandbox, airflow: Airflow) -> None:
    with airflow.dag(default_args={"deferrable": True, "poll_interval": 0.1, "poke_interval": 0.1}) as dag:
        archive = JiraArchiveIssuesOperator(task_id="by_key", issue_ids_or_keys=["DEMO-4"])
        by_jql = JiraArchiveIssuesByJqlOperator(task_id="by_jql", jql="project = DEMO")
        wait = JiraTaskSensor(
            task_id="wait", jira_task_id="{{ ti.xcom_pull(task_ids='by_jql', key='jira_task_id') }}"
        )
        project = TolokaArchiveProjectOperator(task_id="project", project_id=PROJECT_READY)
        again = TolokaOperationSensor(
            task_id="again", operation_id="{{ ti.xcom_pull(task_ids='project', key='operation_id') }}"
        )
        archive >> by_jql >> wait >> project >> again
    done = airflow.run(dag)
    assert set(done.states().values()) == {"success"}
    assert done.xcom("wait")["status"] == "COMPLETE"
    assert done.xcom("again")["status"] == "SUCCESS"
