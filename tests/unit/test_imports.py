"""What importing a module costs a DAG file: no client and no server beyond what Airflow itself imports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = ("requests", "aiohttp", "starlette", "uvicorn", "sqlite3")
MODULES = [
    *(f"airflow_provider_archival.{name}" for name in ("exceptions", "get_provider_info")),
    *(
        f"airflow_provider_archival.{kind}.{module}"
        for kind in ("triggers", "operators", "sensors")
        for module in ("base", "jira", "toloka")
    ),
]

# In a process of its own, since here all is imported already. First what any DAG file with an operator,
# a sensor and a deferral imports of Airflow itself: that is the baseline. It differs: Airflow 2.11 brings
# requests and sqlite3 along, 3.3 only sqlite3. Then our modules, one after the other, then tasks are made.
SCRIPT = f"""
import importlib, json, sys

def heavy():
    return [module for module in {HEAVY!r} if module in sys.modules]

from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, AirflowFailException, conf
from airflow.triggers.base import BaseTrigger
import pendulum

after = {{"baseline": heavy()}}
for name in {MODULES!r}:
    importlib.import_module(name)
    after[name] = heavy()

from airflow_provider_archival.operators.jira import *
from airflow_provider_archival.operators.toloka import *
from airflow_provider_archival.sensors.jira import JiraTaskSensor
JiraArchiveIssuesByJqlOperator(task_id="a", jql="x = 1", deferrable=True)
JiraArchiveIssuesOperator(task_id="b", issue_ids_or_keys=["A-1"])
TolokaArchiveProjectOperator(task_id="c", project_id="1")
JiraTaskSensor(task_id="d", jira_task_id="1")
after["tasks"] = heavy()

import airflow_provider_archival.hooks.jira, airflow_provider_archival.hooks.toloka
import airflow_provider_archival.files.download
after["sandbox"] = [name for name in sys.modules if name.startswith("airflow_provider_archival.sandbox")]
print(json.dumps(after))
"""


def output_of(script: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def after() -> dict[str, list[str]]:
    """Which of the heavy modules are imported after each step."""
    return dict(output_of(SCRIPT))


def test_the_baseline_leaves_something_to_pin(after: dict[str, list[str]]) -> None:
    assert {"aiohttp", "uvicorn"}.isdisjoint(after["baseline"])


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_imports_no_client_and_no_server(after: dict[str, list[str]], module: str) -> None:
    assert set(after[module]) <= set(after["baseline"])


def test_making_tasks_imports_no_client(after: dict[str, list[str]]) -> None:
    assert set(after["tasks"]) <= set(after["baseline"])


def test_nothing_of_the_provider_imports_the_sandbox(after: dict[str, list[str]]) -> None:
    assert after["sandbox"] == []


def test_the_api_needs_no_airflow_and_no_client() -> None:
    modules = ", ".join(f"airflow_provider_archival.api.{name}" for name in ("jira", "toloka", "polling"))
    names = (*HEAVY, "airflow")
    script = f"import {modules}, json, sys; print(json.dumps([m for m in {names!r} if m in sys.modules]))"
    assert output_of(script) == []
