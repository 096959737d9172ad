"""The fixtures: an Airflow for the whole session, and for each test a Jira and Toloka of its own."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cluster import Cluster
from cluster2 import Cluster2
from cluster3 import Cluster3
from inline import InlineAirflow
from site_under_test import Site

from airflow_provider_archival.sandbox.client import Sandbox

A = TypeVar("A", Cluster2, Cluster3, InlineAirflow)
IS_AIRFLOW_2 = version("apache-airflow").startswith("2.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Airflow 2 leave out what it can't do."""
    left_out = [item for item in items if IS_AIRFLOW_2 and item.get_closest_marker("airflow3_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@contextmanager
def running(kind: type[A]) -> Iterator[A]:
    """Have an Airflow in a folder of its own."""
    # A polite kill ends all processes too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="archival-system-"))
    airflow = kind(home)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return an Airflow of real processes, for tests that kill them or act as people do."""
    with running(Cluster2 if IS_AIRFLOW_2 else Cluster3) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def _inline() -> Iterator[InlineAirflow]:
    with running(InlineAirflow) as airflow:
        yield airflow


@pytest.fixture
def airflow(request: pytest.FixtureRequest) -> Cluster | InlineAirflow:
    """Return the Airflow that is quickest for a test: on Airflow 2 most need no scheduler."""
    is_inline = IS_AIRFLOW_2 and "cluster" not in request.fixturenames
    found: Cluster | InlineAirflow = request.getfixturevalue("_inline" if is_inline else "cluster")
    return found


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
