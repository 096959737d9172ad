"""What a retry knows of the try before it, in DAG runs: from Airflow's store, from Variables, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Run, rows, until

from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator
from airflow_provider_archival.operators.variable_store import PREFIX

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
VARIABLES = "SELECT key, description FROM variable WHERE key LIKE ?"
HAS_OWN_STORE = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 3)


class Tries:
    """
    An export whose first try gives up, and whose job has ended when the second try begins.

    What nobody remembers can't be found then: Jira names only tasks that run.
    """

    def __init__(self, sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
        self._sandbox, self._run, self._deferrable = sandbox, run, deferrable
        self.variables: list[Any] = []
        """The Variables when the second try began."""

    def __call__(self) -> Run:
        return self._run(
            lambda: JiraExportArchivedIssuesOperator(
                task_id="job",
                deferrable=self._deferrable,
                poll_interval=0.1,
                retries=1,
                pre_execute=self._before,
            )
        )

    def _before(self, context: Any) -> None:
        if context["ti"].try_number > 1:
            until(lambda: all(job["ended"] for job in self._sandbox.jobs()))
            self.variables = rows(VARIABLES, f"{PREFIX}%")
            self._sandbox.clear_faults()
        elif not self._sandbox.jobs():
            context["task"].timeout = 1
            self._sandbox.fault("/rest/api/3/task/*", times=1000, status=503)


@pytest.fixture
def tries(sandbox: Sandbox, run: RunIt, deferrable: bool) -> Tries:
    return Tries(sandbox, run, deferrable)


def test_with_the_setting_a_retry_takes_the_result_of_the_first_trys_job(
    sandbox: Sandbox, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ARCHIVAL__STATE_STORE", "variables")
    done = tries()
    assert (done.states(), done.tries("job")) == ({"job": "success"}, 2)
    (job,) = sandbox.jobs()
    assert done.xcom("job")["tasks"][0]["task_id"] == job["id"]
    assert done.xcom("job", "jira_task_id") == job["id"]
    if HAS_OWN_STORE:
        assert tries.variables == []
    else:
        (kept,) = tries.variables
        assert f"DAG {done.dag_id}, run {done.run_id}, task job, " in kept["description"]
    assert rows(VARIABLES, f"{PREFIX}%") == []


def test_without_the_setting_only_airflows_own_store_remembers(sandbox: Sandbox, tries: Tries) -> None:
    done = tries()
    assert (done.states(), done.tries("job")) == ({"job": "success"}, 2)
    assert len(sandbox.jobs()) == (1 if HAS_OWN_STORE else 2)
    assert tries.variables == []
