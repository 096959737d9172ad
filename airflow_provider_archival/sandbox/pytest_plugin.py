"""The pytest fixtures: a sandbox for the tests of any project that has the extra ``sandbox`` installed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_archival.sandbox.client import Sandbox


class SandboxFactory(Protocol):
    """Starts a sandbox with these settings; it is stopped at the end of the session."""

    def __call__(self, **settings: Any) -> Sandbox: ...


@pytest.fixture(scope="session")
def archival_sandbox_factory() -> Iterator[SandboxFactory]:
    """
    Start sandboxes with settings of their own: ``archival_sandbox_factory(issues=10, job_seconds=0.5)``.

    They run until the end of the test session.
    """
    from airflow_provider_archival.sandbox.client import Sandbox

    with ExitStack() as running:
        yield lambda **settings: running.enter_context(Sandbox(**settings))


@pytest.fixture(scope="session")
def archival_sandbox_settings() -> dict[str, Any]:
    """Override this to give ``archival_sandbox`` other settings than the defaults."""
    return {}


@pytest.fixture(scope="session")
def _archival_sandbox_process(
    archival_sandbox_factory: SandboxFactory, archival_sandbox_settings: dict[str, Any]
) -> Sandbox:
    return archival_sandbox_factory(**archival_sandbox_settings)


@pytest.fixture
def archival_sandbox(_archival_sandbox_process: Sandbox) -> Sandbox:
    """Return the session's sandbox, freshly seeded: a local Jira Cloud and Toloka."""
    _archival_sandbox_process.reset()
    return _archival_sandbox_process
