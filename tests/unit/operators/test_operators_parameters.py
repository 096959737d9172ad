"""Parameters are checked before anything is sent, and what they depend on is not lost."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Deferrals, Pauses

OPERATORS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "export": {"operator": JiraExportArchivedIssuesOperator},
    "project": {"operator": TolokaArchiveProjectOperator, "project_id": "10001"},
    "pool": {"operator": TolokaArchivePoolOperator, "pool_id": "20001"},
}
ENDLESS = {"maxsize": sys.maxsize, "1e300": 1e300, "timedelta": timedelta.max, "infinite": float("inf")}


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("parameter", ["timeout", "poll_interval"])
@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("name", OPERATORS)
def test_seconds_that_no_calendar_has_are_refused_before_anything_is_sent(
    name: str, value: Any, parameter: str, deferrable: bool, archival_sandbox: Sandbox
) -> None:
    given = dict(OPERATORS[name])
    make = given.pop("operator")
    with pytest.raises(ValueError, match=f"{parameter} must be ") as caught:
        make(task_id="task", deferrable=deferrable, **{parameter: value}, **given)
    assert len(str(caught.value)) < 500
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize("value", [10 * 365 * 86400, timedelta(days=3650), 86400.5])
def test_ten_years_are_not_too_long(
    value: Any,
    deferrable: bool,
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    deferrals: Deferrals,
    context: Any,
) -> None:
    task = JiraArchiveIssuesByJqlOperator(
        task_id="task", jql="key = DEMO-4", timeout=value, deferrable=deferrable, poll_interval=5
    )
    assert deferrals.run(task, context)["left"] == 0


@pytest.mark.parametrize("value", [timedelta.max, 8e13], ids=["timedelta", "8e13"])
@pytest.mark.parametrize("sensor", [JiraTaskSensor, TolokaOperationSensor])
def test_a_sensors_timeout_may_be_as_long_as_airflow_takes(
    sensor: type[Any],
    value: Any,
    deferrable: bool,
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    deferrals: Deferrals,
    context: Any,
) -> None:
    from airflow_provider_archival.hooks.jira import JiraCloudHook
    from airflow_provider_archival.hooks.toloka import TolokaHook

    if sensor is JiraTaskSensor:
        job = {"jira_task_id": JiraCloudHook().archive_issues_by_jql("key = DEMO-4")}
    else:
        operation = TolokaHook().archive_project("10001")
        assert operation
        job = {"operation_id": operation.id}
    task = sensor(task_id="task", timeout=value, deferrable=deferrable, poke_interval=5, **job)
    deferrals.run(task, context)
    assert archival_sandbox.jobs()[0]["status"] == "DONE"


# --- dry_run: a parameter, a template field, and a method of every operator ---


@pytest.fixture
def dag() -> Iterator[Any]:
    with DAG("archive", start_date=datetime(2024, 1, 1), schedule=None) as found:
        yield found


class Upstream(BaseOperator):
    """Returns what it was given."""

    def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context: Any) -> Any:
        return self.value


def by_jql(**more: Any) -> JiraArchiveIssuesByJqlOperator:
    return JiraArchiveIssuesByJqlOperator(task_id="archive", jql="project = DEMO", **more)


class TestDryRun:
    def test_that_comes_from_upstream_keeps_its_dependency(self, dag: Any) -> None:
        by_jql(dry_run=Upstream(task_id="decide").output)
        assert dag.get_task("archive").upstream_task_ids == {"decide"}

    def test_that_a_mapped_task_has_from_upstream_keeps_its_dependency(self, dag: Any) -> None:
        JiraArchiveIssuesByJqlOperator.partial(
            task_id="archive", dry_run=Upstream(task_id="decide").output
        ).expand(jql=["project = DEMO", "project = WEB"])
        assert dag.get_task("archive").upstream_task_ids == {"decide"}

    def test_that_is_mapped_over_keeps_its_dependency(self, dag: Any) -> None:
        JiraArchiveIssuesByJqlOperator.partial(task_id="archive", jql="project = DEMO").expand(
            dry_run=Upstream(task_id="decide").output
        )
        assert dag.get_task("archive").upstream_task_ids == {"decide"}

    def test_is_a_template_field_under_its_parameters_name(self) -> None:
        assert "dry_run" in JiraArchiveIssuesByJqlOperator.template_fields

    @pytest.mark.parametrize(
        ("given", "is_dry"),
        [
            ("{{ params.dry }}", True),
            ("{{ not params.dry }}", False),
            (True, True),
            (False, False),
            ("true", True),
            ("False", False),
            (None, False),
            ("", False),
        ],
    )
    def test_does_as_it_is_rendered(
        self,
        given: Any,
        is_dry: bool,
        dag: Any,
        archival_sandbox: Sandbox,
        connections: Connections,
        pauses: Pauses,
        context: Any,
    ) -> None:
        task = by_jql(dry_run=given, deferrable=False)
        rendered = {**context, "params": {"dry": True}}
        task.render_template_fields(rendered)
        task.execute(rendered)
        assert len(archival_sandbox.jobs()) == (0 if is_dry else 1)

    @pytest.mark.parametrize("value", [True, False, "true", "false"])
    def test_does_as_an_xcom_says(
        self,
        value: Any,
        dag: Any,
        archival_sandbox: Sandbox,
        connections: Connections,
        pauses: Pauses,
        context: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        output = Upstream(task_id="decide").output
        monkeypatch.setattr(type(output), "resolve", lambda *given, **more: value)
        task = by_jql(dry_run=output, deferrable=False)
        task.render_template_fields(context)
        task.execute(context)
        assert len(archival_sandbox.jobs()) == (0 if value in (True, "true") else 1)

    @pytest.mark.parametrize("given", [True, False, None, "{{ params.dry }}", "true", ""])
    def test_can_be_called_once_it_is_rendered_as_airflows_command_does(
        self, given: Any, dag: Any, context: Any, archival_sandbox: Sandbox, logged: list[str]
    ) -> None:
        task = by_jql(dry_run=given)
        task.render_template_fields({**context, "params": {"dry": True}})
        task.dry_run()
        assert archival_sandbox.requests() == []
        assert any("Dry run" in line for line in logged)

    def test_can_be_called_once_an_xcom_has_come(
        self, dag: Any, context: Any, archival_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = Upstream(task_id="decide").output
        monkeypatch.setattr(type(output), "resolve", lambda *given, **more: False)
        task = by_jql(dry_run=output)
        task.render_template_fields(context)
        task.dry_run()
        assert archival_sandbox.requests() == []


@pytest.mark.parametrize("given", [True, False, None, "{{ params.dry }}"])
def test_what_airflow_shows_of_dry_run_is_what_was_given(given: Any) -> None:
    from airflow.serialization.helpers import serialize_template_field

    task = JiraArchiveIssuesByJqlOperator(task_id="archive", jql="project = A", dry_run=given)
    assert str(serialize_template_field(task.dry_run, "dry_run")) == str(given)
