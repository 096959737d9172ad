"""The fixtures: one Airflow for the whole session, and for each test a Jira and Toloka of its own."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from inline import InlineAirflow
from site_under_test import Site

from airflow_provider_archival.sandbox.client import Sandbox

IS_AIRFLOW_2 = version("apache-airflow").startswith("2.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Airflow 2 leave out what needs a scheduler: ``dag.test()`` has no processes to kill and no API."""
    left_out = [item for item in items if IS_AIRFLOW_2 and "cluster" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def airflow() -> Iterator[Cluster | InlineAirflow]:
    # A polite kill ends all processes too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="archival-system-"))
    airflow = InlineAirflow(home) if IS_AIRFLOW_2 else Cluster(home)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(airflow: Cluster | InlineAirflow) -> Cluster:
    """Return the Airflow, for tests that kill its processes or use its API."""
    assert isinstance(airflow, Cluster)
    return airflow


@pytest.fixture(params=["waiting", "deferrable"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_site(airflow: Cluster | InlineAirflow) -> Iterator[Callable[..., Site]]:
    """Make sites, with the sandbox's settings: ``new_site(job_seconds=60)``."""
    with ExitStack() as running:

        def make(**settings: Any) -> Site:
            site = Site(airflow, running.enter_context(Sandbox(**settings)))
            running.callback(site.close)
            return site

        yield make
