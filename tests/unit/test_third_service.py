"""A third service, made as CONTRIBUTING.md tells: both modes, crashes anywhere, retries, a sensor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from shelf import BOX, BoxSensor, BoxTrigger, PackBoxOperator, Shelf, ShelfHook, pack
from tries import Killed, Store, Tries

from airflow_provider_archival.api.flow import ask
from airflow_provider_archival.exceptions import (
    BadInput,
    JobError,
    JobTimeout,
    ServiceRefusal,
    WatchedJobFailed,
)
from airflow_provider_archival.operators.memory import STORE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Answer, Connections, Deferrals, Loopback, Received, TaskInstance

WRITES = 4
"""How often a run of one job writes to the store, and forgets: before the request, after it, at the end."""


class Fatal(Store):
    """
    Kills the try right before or after something is written.

    :param at: which write it is, from 1 on; what is forgotten counts too
    """

    def __init__(self, at: int, *, is_after: bool) -> None:
        super().__init__()
        self._left, self._is_after = at, is_after

    def set(self, key: str, value: Any) -> None:
        self._do(lambda: super(Fatal, self).set(key, value))

    def delete(self, key: str) -> None:
        self._do(lambda: super(Fatal, self).delete(key))

    def _do(self, write: Callable[[], None]) -> None:
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise Killed
        write()
        if self._left == 0:
            raise Killed


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def server(shelf: Shelf, loopback: Callable[..., Loopback], own_connections: Connections) -> Loopback:
    """The service, and the connection to it."""

    def answer(received: Received) -> Answer | None:
        said = shelf.answer(received.method, received.path, lambda: json.loads(received.body))
        if said is None:
            return None
        status, body = said
        return status, {}, (body if isinstance(body, str) else json.dumps(body)).encode()

    found = loopback(answer)
    own_connections.add("shelf_default", conn_type="shelf", host=found.url, password="shelf-token")
    return found


@pytest.fixture(params=[False, True], ids=["waiting", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def tries_with(ti: TaskInstance, deferrals: Deferrals, deferrable: bool) -> Callable[[Store | None], Tries]:
    return lambda store: Tries(ti, store, deferrals, deferrable)


def run(tries: Tries, content: str = "books", **more: Any) -> Any:
    return tries.run(PackBoxOperator, **{"content": content, "poll_interval": 0.1, "timeout": 20, **more})


TriesWith = "Callable[[Store | None], Tries]"
pytestmark = pytest.mark.usefixtures("server")


class TestTheOperator:
    def test_it_packs_a_box(
        self, tries_with: TriesWith, shelf: Shelf, ti: TaskInstance, server: Loopback
    ) -> None:
        store = Store()
        result = run(tries_with(store))
        assert (result["id"], result["status"]) == ("b1", "packed")
        assert ti.xcoms["box_id"] == "b1"
        assert {one.headers["authorization"] for one in server.received} == {"Bearer shelf-token"}
        assert store.history
        assert STORE_KEY not in store.kept

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("at", range(1, WRITES + 1))
    def test_a_crash_at_any_write_packs_no_second_box(
        self, at: int, is_after: bool, tries_with: TriesWith, shelf: Shelf
    ) -> None:
        tries = tries_with(Fatal(at, is_after=is_after))
        with pytest.raises(Killed):
            run(tries)
        assert run(tries)["id"] == "b1"
        assert len(shelf.boxes) == 1

    @pytest.mark.parametrize("fate", ["lost", "page"])
    def test_an_answer_that_is_lost_packs_no_second_box(
        self, fate: str, tries_with: TriesWith, shelf: Shelf
    ) -> None:
        shelf.on_pack = iter([fate])
        assert run(tries_with(Store()))["id"] == "b1"
        assert len(shelf.boxes) == 1

    def test_a_retry_attaches_where_there_is_no_store(self, tries_with: TriesWith, shelf: Shelf) -> None:
        shelf.looks = 10**6
        tries = tries_with(None)
        with pytest.raises(JobTimeout, match="Shelf box b1 did not end in time"):
            run(tries, timeout=0.3)
        shelf.looks = 1
        assert run(tries)["id"] == "b1"
        assert len(shelf.boxes) == 1

    def test_one_that_ended_badly_is_packed_anew_by_a_retry(
        self, tries_with: TriesWith, shelf: Shelf
    ) -> None:
        shelf.end = "broken"
        tries = tries_with(Store())
        with pytest.raises(JobError, match=r"b1 ended broken\. Shelf says: the box of books") as bad:
            run(tries)
        assert bad.value.job["status"] == "broken"
        shelf.end = "packed"
        assert run(tries)["id"] == "b2"

    def test_other_parameters_are_another_run(self, tries_with: TriesWith, shelf: Shelf) -> None:
        tries = tries_with(Fatal(2, is_after=True))
        with pytest.raises(Killed):
            run(tries)
        assert run(tries, "plates")["content"] == "plates"

    def test_a_refusal_is_not_retried(self, tries_with: TriesWith, shelf: Shelf) -> None:
        shelf.on_pack = iter(["refused"])
        with pytest.raises(ServiceRefusal, match="Shelf: POST /boxes: HTTP 400: no such content"):
            run(tries_with(Store()))

    def test_what_is_no_label_is_an_error_before_anything_is_sent(
        self, tries_with: TriesWith, server: Loopback
    ) -> None:
        with pytest.raises(BadInput, match="content"):
            run(tries_with(Store()), content=" ")
        assert server.received == []


class TestTheTrigger:
    def test_it_serialises_by_itself(self) -> None:
        given = {"box_id": "b1", "shelf_conn_id": "x", "poll_interval": 1.0, "end_time": 2.0, "carried": None}
        assert BoxTrigger(**given).serialize() == ("shelf.BoxTrigger", given)

    def test_it_is_the_one_that_a_deferral_names(self, context: dict[str, Any]) -> None:
        task = PackBoxOperator(task_id="task", content="books", deferrable=True)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        path, kwargs = deferred.value.trigger.serialize()
        assert path == BOX.trigger
        assert kwargs["box_id"] == "b1"

    def test_one_whose_path_or_names_are_others_is_refused_when_it_is_made(self) -> None:
        with pytest.raises(TypeError, match="is no trigger for a shelf_box"):
            type("Another", (BoxTrigger,), {"__module__": "shelf"})


class TestTheSensor:
    @pytest.fixture
    def box_id(self) -> str:
        return ShelfHook("shelf_default").call(pack("books")).id

    def watch(self, box_id: str, deferrals: Deferrals, deferrable: bool, context: Any) -> Any:
        task = BoxSensor(task_id="task", box_id=box_id, deferrable=deferrable, poke_interval=0.1, timeout=20)
        return deferrals.run(task, context)

    def test_it_waits_for_a_box(
        self, box_id: str, deferrals: Deferrals, deferrable: bool, context: dict[str, Any]
    ) -> None:
        assert self.watch(box_id, deferrals, deferrable, context)["status"] == "packed"

    def test_one_that_ended_badly_fails_it(
        self, box_id: str, shelf: Shelf, deferrals: Deferrals, deferrable: bool, context: dict[str, Any]
    ) -> None:
        shelf.end = "broken"
        with pytest.raises(WatchedJobFailed, match="Shelf box b1 ended broken"):
            self.watch(box_id, deferrals, deferrable, context)

    def test_one_that_is_not_there_fails_it(
        self, deferrals: Deferrals, deferrable: bool, context: dict[str, Any]
    ) -> None:
        with pytest.raises(AirflowException, match=r"Shelf box b9 can't be watched.*no such box"):
            self.watch("b9", deferrals, deferrable, context)


def test_only_a_plans_send_may_start_a_job(shelf: Shelf) -> None:
    with pytest.raises(RuntimeError, match="POST /boxes may start a job"):
        ShelfHook("shelf_default").follow(ask(pack("books")))
    assert shelf.boxes == []
