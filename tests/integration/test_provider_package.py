"""The provider as Airflow's commands and a package index see it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string

import pytest
from conftest import AIRFLOW_SETTINGS, PROJECT, is_airflow_3

NAME = "airflow-provider-archival"
OURS = re.compile(r"archival|jira|toloka", re.IGNORECASE)
BAD = re.compile(r"warn|error|exception|traceback|deprecat", re.IGNORECASE)


def airflow(*arguments: str) -> str:
    """Run an ``airflow`` command that says nothing bad about us; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**AIRFLOW_SETTINGS, "PYTHONWARNINGS": "default", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    # Airflow warns about itself, and about its other providers.
    complaints = [
        line for line in (done.stdout + done.stderr).splitlines() if BAD.search(line) and OURS.search(line)
    ]
    assert complaints == []
    return done.stdout


def test_airflow_lists_the_provider() -> None:
    (line,) = [line for line in airflow("providers", "list").splitlines() if NAME in line]
    assert "Archive Jira Cloud issues and Toloka projects" in line
    assert "0.1.0" in line


def test_airflow_lists_both_hooks() -> None:
    lines = [line for line in airflow("providers", "hooks").splitlines() if NAME in line]
    cells = {line.split("|")[0].strip(): [cell.strip() for cell in line.split("|")][1:] for line in lines}
    assert cells == {
        "jira_cloud": [
            "airflow_provider_archival.hooks.jira.JiraCloudHook",
            "jira_conn_id",
            NAME,
            "Jira Cloud (archival)",
        ],
        "toloka": [
            "airflow_provider_archival.hooks.toloka.TolokaHook",
            "toloka_conn_id",
            NAME,
            "Toloka (archival)",
        ],
    }


def test_airflow_shows_the_provider_in_full() -> None:
    shown = airflow("providers", "get", NAME, "--full", "--output", "yaml")
    for module in ("hooks", "operators", "sensors", "triggers"):
        for service in ("jira", "toloka"):
            assert f"airflow_provider_archival.{module}.{service}" in shown


def test_airflow_has_a_form_for_each_kind_of_connection() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    behaviours = manager.field_behaviours
    assert behaviours["jira_cloud"]["relabeling"]["host"] == "Site URL"
    assert behaviours["toloka"]["relabeling"]["password"] == "Token"
    if not is_airflow_3():
        # There the fields of extra are typed in as JSON.
        assert not {"extra"} & {
            *behaviours["jira_cloud"]["hidden_fields"],
            *behaviours["toloka"]["hidden_fields"],
        }
        return
    fields = set(manager.connection_form_widgets)
    for name in ("auth_type", "cloud_id", "gateway_url", "token_url", "timeout", "verify"):
        assert f"extra__jira_cloud__{name}" in fields
    for name in ("environment", "auth_scheme"):
        assert f"extra__toloka__{name}" in fields


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the sources, so that nothing is left in the work tree."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", f"--wheel-dir={target}", str(source)]
    for name in ("airflow_provider_archival", "example_dags", "tests", "docs"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_package_alone(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {
        "airflow_provider_archival",
        "airflow_provider_archival-0.1.0.dist-info",
    }
    package = PROJECT / "airflow_provider_archival"
    sources = {str(path.relative_to(PROJECT)) for path in package.rglob("*.py")}
    assert {name for name in names if name.startswith("airflow_provider_archival/")} == {
        *sources,
        "airflow_provider_archival/py.typed",
    }


def test_the_wheel_registers_the_provider(wheel: zipfile.ZipFile) -> None:
    info = "airflow_provider_archival-0.1.0.dist-info"
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert (
        "[apache_airflow_provider]\n"
        "provider_info = airflow_provider_archival.get_provider_info:get_provider_info" in entry_points
    )
    metadata = message_from_string(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Name"] == NAME
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = {
        re.split(r"[<>=;\s\[]", line)[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    }
    assert {"apache-airflow", "apache-airflow-providers-common-compat"} <= needed
    assert needed.isdisjoint({"starlette", "uvicorn", "lark", "pytest"})
