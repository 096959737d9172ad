"""What the operators' tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tries import Store, Tries

if TYPE_CHECKING:
    from tests.unit.conftest import Deferrals, TaskInstance


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(params=[False, True], ids=["waiting", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def tries(ti: TaskInstance, store: Store, deferrals: Deferrals, deferrable: bool) -> Tries:
    return Tries(ti, store, deferrals, deferrable)


@pytest.fixture
def tries_without_store(ti: TaskInstance, deferrals: Deferrals, deferrable: bool) -> Tries:
    return Tries(ti, None, deferrals, deferrable)
