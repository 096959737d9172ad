"""What Airflow is told of the provider: valid by its own schema, and true of the package."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import airflow_provider_archival
from airflow_provider_archival.get_provider_info import get_provider_info
from airflow_provider_archival.operators import variable_store

INFO = get_provider_info()
KINDS = ("hooks", "operators", "sensors", "triggers")


def test_the_provider_info_is_valid_by_airflows_own_schema() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_the_provider_info_is_plain_data() -> None:
    assert json.loads(json.dumps(INFO)) == INFO


def test_airflow_finds_the_provider_under_its_entry_point() -> None:
    (found,) = [
        entry
        for entry in importlib.metadata.entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_archival.")
    ]
    assert found.load()() == INFO


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_that_is_listed_exists_and_every_public_one_is_listed(kind: str) -> None:
    listed = {module for entry in INFO[kind] for module in entry["python-modules"]}
    for module in listed:
        assert importlib.import_module(module).__doc__
    folder = Path(airflow_provider_archival.__path__[0]) / kind
    services = {"jira", "toloka"}
    there = {module.name for module in pkgutil.iter_modules([str(folder)])} & services
    assert listed == {f"airflow_provider_archival.{kind}.{name}" for name in there}


def test_every_integration_that_is_named_is_described() -> None:
    described = {integration["integration-name"] for integration in INFO["integrations"]}
    assert {entry["integration-name"] for kind in KINDS for entry in INFO[kind]} == described


@pytest.mark.parametrize(
    "connection", INFO["connection-types"], ids=lambda connection: connection["connection-type"]
)
def test_a_connection_types_hook_exists_and_calls_it_the_same(connection: dict[str, Any]) -> None:
    path, _, name = connection["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(path), name)
    assert hook.conn_type == connection["connection-type"]
    assert hook.hook_name == connection["hook-name"]
    behaviour = hook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    assert connection["ui-field-behaviour"] == {
        key.replace("_", "-"): value for key, value in behaviour.items()
    }


@pytest.mark.parametrize(
    "connection", INFO["connection-types"], ids=lambda connection: connection["connection-type"]
)
def test_every_default_of_a_form_is_what_the_hook_takes_for_it(
    own_connections: Any, connection: dict[str, Any]
) -> None:
    path, _, name = connection["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(path), name)("mine")
    fields = {"conn_type": hook.conn_type, "host": "https://example.com", "login": "me", "password": "pw"}
    defaults = {
        field: form["schema"]["default"]
        for field, form in connection["conn-fields"].items()
        if "default" in form["schema"]
    }
    own_connections.add("mine", **fields)
    plain = hook.get_connection("mine")
    own_connections.add("mine", **fields, extra=defaults)
    filled = hook.get_connection("mine")
    assert hook.site_of(filled, filled.extra_dejson) == hook.site_of(plain, plain.extra_dejson)


def test_no_connection_type_is_another_providers() -> None:
    assert {connection["connection-type"] for connection in INFO["connection-types"]} == {
        "jira_cloud",
        "toloka",
    }


def test_every_setting_that_the_package_reads_is_described() -> None:
    assert {section: set(described["options"]) for section, described in INFO["config"].items()} == {
        variable_store.SECTION: {variable_store.OPTION}
    }
    option = INFO["config"][variable_store.SECTION]["options"][variable_store.OPTION]
    assert (option["default"], option["example"]) == ("", variable_store.VARIABLES)


def test_airflow_knows_the_settings() -> None:
    from airflow.providers_manager import ProvidersManager

    known = dict(ProvidersManager().provider_configs)
    assert known["airflow-provider-archival"] == INFO["config"]
