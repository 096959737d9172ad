"""A connection's secrets show up nowhere that a DAG run writes: no log, nothing in Airflow's database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from conftest import Airflow, Run, dump, rows, until

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.credentials import JIRA_CLOUD_ID
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
MARK = "marked5ecret"
API_KEY = f"sandboxsandbox{MARK[:9]}.{MARK}.{MARK}"
"""A token that is sent as an API key."""
BASE64_OF_IT = ("bWFya2VkNWVjcmV0", "1hcmtlZDVlY3JldA", "tYXJrZWQ1ZWNyZX")
"""What it looks like inside of Basic auth, whichever its place."""


class Marked(NamedTuple):
    """A connection whose secret has the mark in it."""

    conn_id: str
    secret: str

    @property
    def is_tolokas(self) -> bool:
        return self.conn_id.endswith("toloka")


@pytest.fixture(scope="session")
def _open_sandbox_process(archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(job_seconds=24 * 60 * 60, auth="any")
    return started


KINDS = ["basic", "bearer", "client_credentials", "proxy", "OAuth", "ApiKey", "legacy"]


@pytest.fixture(params=KINDS)
def marked(request: pytest.FixtureRequest, open_sandbox: Sandbox, connection: Callable[..., str]) -> Marked:
    """A connection of each kind, whose secret is marked."""
    host, gateway = open_sandbox.base_url, {"cloud_id": JIRA_CLOUD_ID, "gateway_url": open_sandbox.base_url}
    token_url = f"{host}/oauth/token"
    fields: dict[str, Any] = {
        "basic": {"host": host, "login": "me@example.com", "password": MARK},
        "bearer": {"host": host, "password": MARK, "extra": {"auth_type": "bearer", **gateway}},
        "client_credentials": {
            "host": host,
            "login": "me",
            "password": MARK,
            "extra": {"auth_type": "client_credentials", "token_url": token_url, **gateway},
        },
        "proxy": {
            "host": host,
            "login": "me@example.com",
            "password": MARK,
            "extra": {"proxies": {"https": f"http://me:{MARK}@127.0.0.1:1"}},
        },
        "OAuth": {"host": host, "password": MARK},
        "ApiKey": {"host": host, "password": API_KEY},
        "legacy": {"extra": {"extra__toloka__token": MARK, "extra__toloka__url": host}},
    }[request.param]
    conn_type = "toloka" if request.param in ("OAuth", "ApiKey", "legacy") else "jira_cloud"
    secret = API_KEY if request.param == "ApiKey" else MARK
    return Marked(connection(f"marked_{conn_type}", conn_type=conn_type, **fields), secret)


@pytest.fixture
def open_sandbox(_open_sandbox_process: Sandbox) -> Sandbox:
    """A sandbox that takes any credentials, whose jobs run until the test ends them."""
    _open_sandbox_process.reset()
    return _open_sandbox_process


def assert_hidden(*texts: str) -> None:
    for text in texts:
        for form in (MARK, *BASE64_OF_IT):
            at = text.find(form)
            assert at < 0, f"a secret shows: …{text[max(0, at - 300) : at + 100]}…"


def tasks(conn_id: str, destination: Path, *, deferrable: bool) -> None:
    """Make one task after the other, of each class that takes the connection."""
    how = {"deferrable": deferrable, "poll_interval": 0.1, "timeout": 60}
    watch = {"deferrable": deferrable, "poke_interval": 0.1, "timeout": 60}
    if conn_id.endswith("toloka"):
        pulled = "{{ ti.xcom_pull(task_ids='job', key='operation_id') }}"
        job = TolokaArchiveProjectOperator(
            task_id="job", project_id=PROJECT_READY, toloka_conn_id=conn_id, **how
        )
        job >> TolokaOperationSensor(task_id="sensor", operation_id=pulled, toloka_conn_id=conn_id, **watch)
        return
    pulled = "{{ ti.xcom_pull(task_ids='job', key='jira_task_id') }}"
    job = JiraArchiveIssuesByJqlOperator(task_id="job", jql="project = DEMO", jira_conn_id=conn_id, **how)
    sensor = JiraTaskSensor(task_id="sensor", jira_task_id=pulled, jira_conn_id=conn_id, **watch)
    by_key = JiraArchiveIssuesOperator(task_id="by_key", issue_ids_or_keys="DEMO-4", jira_conn_id=conn_id)
    export = JiraExportArchivedIssuesOperator(
        task_id="export", destination=str(destination), jira_conn_id=conn_id, **how
    )
    job >> sensor >> by_key >> export


def end_each(sandbox: Sandbox, number: int) -> Callable[[], list[str]]:
    """Return what ends so many jobs, and looks into Airflow's database while each runs."""

    def watch() -> list[str]:
        seen: dict[str, str] = {}
        while len(seen) < number:
            (id,) = until(lambda: [job["id"] for job in sandbox.jobs() if job["id"] not in seen])
            seen[id] = ""
            try:
                until(lambda: sandbox.counters()["polls"].get(id))  # noqa: B023 (called at once)
                seen[id] = dump()
            finally:
                sandbox.job(id, "finish")
        return list(seen.values())

    return watch


def test_a_run_that_succeeds_shows_no_secret(
    open_sandbox: Sandbox,
    airflow: Airflow,
    marked: Marked,
    deferrable: bool,
    meanwhile: Callable[..., Future[list[str]]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with airflow.dag() as dag:
        tasks(marked.conn_id, tmp_path, deferrable=deferrable)
    seen = meanwhile(end_each(open_sandbox, 1 if marked.is_tolokas else 2))
    done = airflow.run(dag)
    assert set(done.states().values()) == {"success"}
    printed = capfd.readouterr()
    assert_hidden(dump(), *seen.result(), done.log, printed.out, printed.err)
    assert marked.conn_id in dump()


@pytest.mark.parametrize(
    ("marked", "when"),
    [
        *((kind, "submitting") for kind in KINDS),
        ("basic", "waiting"),
        ("client_credentials", "deferred"),
        ("OAuth", "deferred"),
    ],
    indirect=["marked"],
)
def test_a_service_that_repeats_the_secret_does_not_get_it_into_the_log(
    open_sandbox: Sandbox, run: RunIt, marked: Marked, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = f"Your credentials {marked.secret} are not welcome."
    body = {"errorMessages": [said], "errors": {marked.secret: said}, "code": marked.secret, "message": said}
    paths = ("/api/v1/projects*", "/rest/api/3/issue/archive")
    if when != "submitting":
        paths = ("/api/v1/operations/*", "/rest/api/3/task/*")
    for path in paths:
        open_sandbox.fault(path, times=None, status=403, body=body)
    how = {"task_id": "job", "deferrable": when == "deferred", "poll_interval": 0.1}
    if marked.is_tolokas:
        toloka = {"project_id": PROJECT_READY, "toloka_conn_id": marked.conn_id, **how}
        done = run(lambda: TolokaArchiveProjectOperator(**toloka))
    else:
        jira = {"jql": "project = DEMO", "jira_conn_id": marked.conn_id, **how}
        done = run(lambda: JiraArchiveIssuesByJqlOperator(**jira))
    assert done.states() == {"job": "failed"}
    assert "are not welcome" in done.error
    printed = capfd.readouterr()
    assert_hidden(dump(), done.log, printed.out, printed.err)


def test_a_token_that_was_fetched_shows_up_nowhere(
    slow_sandbox: Sandbox,
    airflow: Airflow,
    deferrable: bool,
    meanwhile: Callable[..., Future[list[str]]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with airflow.dag() as dag:
        JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project = DEMO",
            jira_conn_id="jira_cloud_oauth",
            deferrable=deferrable,
            poll_interval=0.1,
        )
    seen = meanwhile(end_each(slow_sandbox, 1))
    done = airflow.run(dag)
    assert done.states() == {"job": "success"}
    printed = capfd.readouterr()
    # So begins each token that the sandbox gives out.
    for text in (dump(), *seen.result(), done.log, printed.out, printed.err):
        assert "Bearer" not in text
        assert "sandbox-client-secret" not in text


# On Airflow 3 dag.test writes the row, so the tests above have seen it.
@pytest.mark.airflow2_only
def test_what_the_triggerer_is_given_is_enough_and_has_no_secret(
    open_sandbox: Sandbox, airflow: Airflow, connection: Callable[..., str]
) -> None:
    """The row of Airflow's table of triggers, which ``dag.test`` goes without, on Airflow 2."""
    import asyncio

    from airflow.models.trigger import Trigger
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.module_loading import import_string
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.timezone import utcnow
    from airflow.utils.types import DagRunType

    conn_id = connection(
        "marked_jira", conn_type="jira_cloud", host=open_sandbox.base_url, login="me", password=MARK
    )
    with airflow.dag() as dag:
        JiraArchiveIssuesByJqlOperator(
            task_id="job", jql="project = DEMO", jira_conn_id=conn_id, deferrable=True, poll_interval=0.1
        )
    run = dag.create_dagrun(
        state=DagRunState.RUNNING,
        execution_date=utcnow(),
        run_type=DagRunType.MANUAL,
        data_interval=(utcnow(), utcnow()),
    )
    instance = run.get_task_instance("job")
    instance.refresh_from_task(dag.get_task("job"))
    instance.run(ignore_all_deps=True)
    assert instance.state == "deferred"
    assert_hidden(dump())
    (job,) = open_sandbox.jobs()
    open_sandbox.job(job["id"], "finish")

    async def first(trigger: Any) -> TriggerEvent:
        (event,) = [event async for event in trigger.run()]
        return event

    with create_session() as session:
        row = session.get(Trigger, instance.trigger_id)
        assert row.classpath == "airflow_provider_archival.triggers.jira.JiraTaskTrigger"
        event = asyncio.run(first(import_string(row.classpath)(**row.kwargs)))
        Trigger.submit_event(row.id, event, session=session)
    instance.refresh_from_db()
    assert instance.state == "scheduled"
    instance.run(ignore_all_deps=True)
    assert instance.state == "success"
    assert rows("SELECT COUNT(*) AS n FROM xcom WHERE dag_id = ?", dag.dag_id)[0]["n"] == 2
    assert open_sandbox.counters()["jobs_submitted"] == {"archive": 1}
    assert_hidden(dump())
