"""The sandbox's Toloka, read against what Toloka's reference says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials, toloka_store
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_ARCHIVED,
    PROJECT_OF_ANOTHER_REQUESTER,
    PROJECT_READY,
    PROJECT_WITH_LOCKED_POOL,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_REJECTIONS,
    PROJECT_WITH_TRAINING,
    PROJECT_WITHOUT_POOLS,
    PROJECTS_WITH_CLOSED_POOLS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_archival.sandbox.client import Sandbox


class Toloka:
    """A small client of the sandbox's Toloka."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}"

    def call(self, method: str, path: str, **query: Any) -> requests.Response:
        return self.session.request(method, f"{self.sandbox.base_url}/api/v1{path}", params=query, timeout=10)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.call("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **query: Any) -> tuple[int, str, str]:
        answer = self.call(method, path, **query)
        error = answer.json()
        assert set(error) == {"request_id", "code", "message", "payload"}
        return answer.status_code, error["code"], error["message"]

    def done(self, path: str) -> dict[str, Any]:
        """Start an operation, let its time pass, and return it."""
        answer = self.call("POST", path)
        assert answer.status_code == 202, answer.text
        self.sandbox.advance(3600)
        return dict(self.get(f"/operations/{answer.json()['id']}"))

    def pools(self, project_id: str, **query: Any) -> list[dict[str, Any]]:
        return list(self.get("/pools", project_id=project_id, sort="id", **query)["items"])


@pytest.fixture
def toloka(archival_sandbox: Sandbox) -> Iterator[Toloka]:
    client = Toloka(archival_sandbox)
    with client.session:
        yield client


@pytest.mark.parametrize("project_id", [PROJECT_READY, PROJECT_WITHOUT_POOLS])
def test_archives_a_project(toloka: Toloka, project_id: str) -> None:
    started = toloka.call("POST", f"/projects/{project_id}/archive")
    assert started.status_code == 202
    assert {name: started.json()[name] for name in ("type", "status", "parameters")} == {
        "type": "PROJECT.ARCHIVE",
        "status": "PENDING",
        "parameters": {"project_id": project_id},
    }
    assert toloka.get(f"/projects/{project_id}")["status"] == "ACTIVE"
    toloka.sandbox.advance(3600)
    ended = toloka.get(f"/operations/{started.json()['id']}")
    assert (ended["status"], ended["progress"], ended["details"]) == ("SUCCESS", 100, {})
    assert toloka.get(f"/projects/{project_id}")["status"] == "ARCHIVED"


def test_what_an_operation_does_not_know_yet_is_absent(toloka: Toloka) -> None:
    started = toloka.call("POST", f"/projects/{PROJECT_READY}/archive").json()
    assert set(started) == {"id", "type", "status", "submitted", "parameters"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", started["submitted"])
    toloka.sandbox.advance(1.5)
    running = toloka.get(f"/operations/{started['id']}")
    assert set(running) == {*started, "started", "progress"}
    assert running["status"] == "RUNNING"
    assert 0 < running["progress"] < 100
    assert {*running, "finished", "details"} == set(toloka.done(f"/projects/{PROJECT_WITHOUT_POOLS}/archive"))


@pytest.mark.parametrize(
    "project_id", [PROJECT_WITH_OPEN_POOL, PROJECT_WITH_LOCKED_POOL, PROJECT_WITH_TRAINING]
)
def test_refuses_to_archive_a_project_with_unarchived_pools(toloka: Toloka, project_id: str) -> None:
    status, code, message = toloka.refused("POST", f"/projects/{project_id}/archive")
    unarchived = [pool["id"] for pool in toloka.pools(project_id) if pool["status"] != "ARCHIVED"]
    assert (status, code) == (409, "CONFLICT_STATE")
    assert message.endswith(", ".join(unarchived))


def test_archives_a_project_from_its_pools_and_trainings_up(toloka: Toloka) -> None:
    (training,) = toloka.get("/trainings", project_id=PROJECT_WITH_TRAINING)["items"]
    assert toloka.refused("POST", f"/trainings/{training['id']}/archive")[:2] == (409, "CONFLICT_STATE")
    for pool in toloka.pools(PROJECT_WITH_TRAINING):
        assert pool["quality_control"]["training_requirement"]["training_pool_id"] == training["id"]
        assert toloka.done(f"/pools/{pool['id']}/archive")["status"] == "SUCCESS"
    assert "trainings" in toloka.refused("POST", f"/projects/{PROJECT_WITH_TRAINING}/archive")[2]
    assert toloka.done(f"/trainings/{training['id']}/archive")["type"] == "TRAINING.ARCHIVE"
    assert toloka.done(f"/projects/{PROJECT_WITH_TRAINING}/archive")["status"] == "SUCCESS"


def test_archives_a_closed_pool_only(toloka: Toloka) -> None:
    opened, closed = toloka.pools(PROJECT_WITH_OPEN_POOL)
    assert toloka.refused("POST", f"/pools/{opened['id']}/archive")[:2] == (409, "INAPPROPRIATE_STATUS")
    assert toloka.done(f"/pools/{opened['id']}/close")["type"] == "POOL.CLOSE"
    for pool in (opened, closed):
        operation = toloka.done(f"/pools/{pool['id']}/archive")
        assert (operation["type"], operation["parameters"]) == ("POOL.ARCHIVE", {"pool_id": pool["id"]})
    assert {pool["status"] for pool in toloka.pools(PROJECT_WITH_OPEN_POOL)} == {"ARCHIVED"}


def test_a_locked_pool_can_be_neither_closed_nor_archived(toloka: Toloka) -> None:
    (locked,) = toloka.pools(PROJECT_WITH_LOCKED_POOL, status="LOCKED")
    for verb in ("close", "archive"):
        assert toloka.refused("POST", f"/pools/{locked['id']}/{verb}")[:2] == (409, "INAPPROPRIATE_STATUS")


def test_a_pool_with_rejected_tasks_waits_nine_days(toloka: Toloka) -> None:
    (pool,) = toloka.pools(PROJECT_WITH_REJECTIONS)
    assert toloka.refused("POST", f"/pools/{pool['id']}/archive")[:2] == (409, "CONFLICT_STATE")
    toloka.sandbox.advance(7 * 86400)
    assert toloka.done(f"/pools/{pool['id']}/archive")["status"] == "SUCCESS"


def test_what_is_archived_or_closed_already_gets_an_empty_204(toloka: Toloka) -> None:
    archived = toloka.pools(PROJECT_READY)[0]["id"]
    closed = toloka.pools(PROJECTS_WITH_CLOSED_POOLS[0])[0]["id"]
    for path in (
        f"/projects/{PROJECT_ARCHIVED}/archive",
        f"/pools/{archived}/archive",
        f"/pools/{closed}/close",
    ):
        answer = toloka.call("POST", path)
        assert (answer.status_code, answer.content) == (204, b"")
    assert toloka.sandbox.jobs() == []


def test_two_operations_on_one_pool_both_succeed(toloka: Toloka) -> None:
    project_id = toloka.sandbox.add_toloka_project(pools=1, status="OPEN")["id"]
    pool_id = toloka.pools(project_id)[0]["id"]
    first = toloka.call("POST", f"/pools/{pool_id}/close").json()["id"]
    second = toloka.call("POST", f"/pools/{pool_id}/close").json()["id"]
    toloka.sandbox.advance(3600)
    assert [toloka.get(f"/operations/{id}")["status"] for id in (first, second)] == ["SUCCESS", "SUCCESS"]


def test_an_operation_fails_when_it_has_become_impossible(toloka: Toloka) -> None:
    opened = toloka.pools(PROJECT_WITH_OPEN_POOL)[0]["id"]
    late = toloka.call("POST", f"/pools/{opened}/close").json()["id"]
    toloka.sandbox.job(late, "freeze")
    toloka.done(f"/pools/{opened}/close")
    toloka.done(f"/pools/{opened}/archive")
    toloka.sandbox.job(late, "finish")
    operation = toloka.get(f"/operations/{late}")
    assert (operation["status"], operation["details"]["code"]) == ("FAIL", "INAPPROPRIATE_STATUS")
    assert toloka.get(f"/pools/{opened}")["status"] == "ARCHIVED"


@pytest.mark.parametrize(
    "path",
    ["/projects/77", "/projects/nope", "/pools/77", "/trainings/77", "/operations/77", f"/projects/{10**30}"],
)
def test_what_is_unknown_does_not_exist(toloka: Toloka, path: str) -> None:
    assert toloka.refused("GET", path)[:2] == (404, "DOES_NOT_EXIST")


def test_another_requesters_project_is_out_of_reach(toloka: Toloka) -> None:
    path = f"/projects/{PROJECT_OF_ANOTHER_REQUESTER}"
    assert toloka.refused("GET", path)[:2] == (403, "ACCESS_DENIED")
    assert toloka.refused("POST", f"{path}/archive")[:2] == (403, "ACCESS_DENIED")
    assert PROJECT_OF_ANOTHER_REQUESTER not in [
        item["id"] for item in toloka.get("/projects", limit=300)["items"]
    ]


@pytest.mark.parametrize(
    ("header", "is_known"),
    [
        (f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}", True),
        (f"ApiKey {credentials.TOLOKA_API_KEY}", True),
        (f"ApiKey {credentials.TOLOKA_OAUTH_TOKEN}", False),
        (f"OAuth {credentials.TOLOKA_API_KEY}", False),
        (f"Bearer {credentials.TOLOKA_OAUTH_TOKEN}", False),
        ("OAuth wrong", False),
        ("OAuth ", False),
        (None, False),
    ],
)
def test_each_token_goes_with_its_own_scheme(toloka: Toloka, header: str | None, is_known: bool) -> None:
    toloka.session.headers["Authorization"] = header  # type: ignore[assignment]
    if is_known:
        assert toloka.get("/requester")["id"]
    else:
        assert toloka.refused("GET", "/requester")[:2] == (401, "AUTHENTICATION_ERROR")


def test_pages_by_id(toloka: Toloka) -> None:
    added = toloka.sandbox.add_toloka_project(pools=650)
    found: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    sizes = []
    while page["has_more"]:
        after = {"id_gt": found[-1]} if found else {}
        page = toloka.get("/pools", project_id=added["id"], sort="id", limit=300, **after)
        found += [pool["id"] for pool in page["items"]]
        sizes.append(len(page["items"]))
    assert sizes == [300, 300, 50]
    assert found == added["pools"]


def test_pages_have_their_usual_sizes(toloka: Toloka) -> None:
    project_id = toloka.sandbox.add_toloka_project(pools=51, status="OPEN")["id"]
    assert len(toloka.get("/pools", project_id=project_id)["items"]) == 20
    for pool in toloka.get("/pools", project_id=project_id, limit=300)["items"]:
        toloka.call("POST", f"/pools/{pool['id']}/close")
    operations = toloka.get("/operations")
    assert (len(operations["items"]), operations["has_more"]) == (50, True)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/operations", {"limit": 501}),
        ("/pools", {"limit": 301}),
        ("/projects", {"limit": 301}),
        ("/trainings", {"limit": 0}),
        ("/pools", {"limit": "many"}),
        ("/pools", {"sort": "colour"}),
        ("/operations", {"sort": "id,created"}),
        ("/pools", {"status": "LOST"}),
        ("/operations", {"status": "OPEN"}),
        ("/pools", {"id_gt": "abc"}),
        ("/operations", {"submitted_gte": "yesterday"}),
    ],
)
def test_refuses_bad_parameters(toloka: Toloka, path: str, query: dict[str, Any]) -> None:
    assert toloka.refused("GET", path, **query)[:2] == (400, "VALIDATION_ERROR")


def test_without_sort_the_order_is_nobodys(toloka: Toloka) -> None:
    project_id = toloka.sandbox.add_toloka_project(pools=40)["id"]
    ids = [pool["id"] for pool in toloka.get("/pools", project_id=project_id, limit=300)["items"]]
    created = [pool["created"] for pool in toloka.get("/pools", project_id=project_id, limit=300)["items"]]
    assert ids not in (sorted(ids), sorted(ids, reverse=True))
    assert created not in (sorted(created), sorted(created, reverse=True))


def test_sorts_by_several_fields(toloka: Toloka) -> None:
    ids = [project["id"] for project in toloka.get("/projects", sort="-id")["items"]]
    assert ids == sorted(ids, reverse=True)
    pools = toloka.get("/pools", sort="created,-id", limit=300)["items"]
    assert pools == sorted(pools, key=lambda pool: (pool["created"], -int(pool["id"])))


def test_finds_operations_by_type_status_and_time(toloka: Toloka) -> None:
    first = toloka.done(f"/projects/{PROJECT_READY}/archive")
    second = toloka.call("POST", f"/projects/{PROJECT_WITHOUT_POOLS}/archive").json()
    pool_id = toloka.pools(PROJECTS_WITH_CLOSED_POOLS[0])[0]["id"]
    third = toloka.call("POST", f"/pools/{pool_id}/archive").json()

    def ids(**query: Any) -> list[str]:
        return [item["id"] for item in toloka.get("/operations", sort="submitted", **query)["items"]]

    assert ids() == [first["id"], second["id"], third["id"]]
    assert ids(type="PROJECT.ARCHIVE") == [first["id"], second["id"]]
    assert ids(type="PROJECT.ARCHIVE", status="SUCCESS") == [first["id"]]
    assert ids(submitted_gte=second["submitted"]) == [second["id"], third["id"]]
    assert ids(submitted_lt=second["submitted"]) == [first["id"]]
    assert ids(finished_gte=first["finished"]) == [first["id"]]
    assert ids(finished_lt=first["finished"]) == []
    assert sorted(ids(id_gt=min(ids()))) == sorted(ids())[1:]


def test_lists_projects_and_pools_by_status(toloka: Toloka) -> None:
    assert [project["id"] for project in toloka.get("/projects", status="ARCHIVED")["items"]] == [
        PROJECT_ARCHIVED
    ]
    statuses = {pool["status"] for pool in toloka.pools(PROJECT_WITH_OPEN_POOL, status="OPEN,CLOSED")}
    assert statuses == {"OPEN", "CLOSED"}
    assert toloka.get("/trainings", status="CLOSED")["has_more"] is False


def test_a_job_of_no_seconds_is_over_in_the_first_answer(archival_sandbox_factory: Any) -> None:
    toloka = Toloka(archival_sandbox_factory(issues=1, job_seconds=0))
    operation = toloka.call("POST", f"/projects/{PROJECT_READY}/archive").json()
    assert (operation["status"], operation["progress"]) == ("SUCCESS", 100)
    assert toloka.get(f"/projects/{PROJECT_READY}")["status"] == "ARCHIVED"


@pytest.mark.parametrize(
    ("auth", "header", "status"), [("any", "OAuth mine", 200), ("any", None, 401), ("off", None, 200)]
)
def test_auth_can_be_relaxed(
    archival_sandbox_factory: Any, auth: str, header: str | None, status: int
) -> None:
    toloka = Toloka(archival_sandbox_factory(issues=1, auth=auth))
    toloka.session.headers["Authorization"] = header  # type: ignore[assignment]
    assert toloka.call("GET", "/requester").status_code == status


def test_the_documentation_names_every_known_project() -> None:
    described = (Path(__file__).resolve().parents[3] / "docs" / "sandbox.md").read_text()
    known = [value for name, value in vars(toloka_store).items() if name.startswith("PROJECT_")]
    for id in (*known, PROJECTS_WITH_CLOSED_POOLS[0], PROJECTS_WITH_CLOSED_POOLS[-1]):
        assert f"`{id}`" in described


def pages(toloka: Toloka, path: str, number: int, **query: Any) -> list[list[str]]:
    """Read so many pages, each behind the last id of the one before."""
    found, after = list[list[str]](), dict[str, str]()
    for _ in range(number):
        answer = toloka.get(path, sort="id", **query, **after)
        assert answer["has_more"] is True
        found.append([item["id"] for item in answer["items"]])
        after = {"id_gt": found[-1][-1]} if found[-1] else {}
    return found


@pytest.mark.parametrize("path", ["/pools", "/trainings", "/projects", "/operations"])
def test_a_list_may_be_the_same_page_for_ever(toloka: Toloka, path: str) -> None:
    toloka.done(f"/projects/{PROJECT_READY}/archive")
    toloka.sandbox.endless("same")
    first, second, third = pages(toloka, path, 3, limit=2)
    assert first == second == third != []


@pytest.mark.parametrize("path", ["/pools", "/trainings", "/projects", "/operations"])
def test_a_list_may_have_ever_new_items(toloka: Toloka, path: str) -> None:
    toloka.done(f"/projects/{PROJECT_READY}/archive")
    before = {item["id"] for item in toloka.get(path, limit=300)["items"]}
    toloka.sandbox.endless("new")
    found = pages(toloka, path, 5, limit=100)
    ids = [id for page in found for id in page]
    assert {len(page) for page in found} == {100}
    assert len(set(ids)) == len(ids)
    assert before < set(ids)


def test_made_up_items_are_like_those_that_were_asked_for(toloka: Toloka) -> None:
    toloka.sandbox.endless("new", of="pools")
    items = toloka.get("/pools", project_id=PROJECT_WITH_OPEN_POOL, status="CLOSED")["items"]
    assert {(item["project_id"], item["status"]) for item in items} == {(PROJECT_WITH_OPEN_POOL, "CLOSED")}
    assert len(items) == 20
    assert pages(toloka, "/pools", 3, project_id=PROJECT_WITHOUT_POOLS) == [[], [], []]


def test_lists_end_again(toloka: Toloka) -> None:
    toloka.sandbox.endless("same", of="operations")
    assert toloka.get("/operations")["has_more"] is True
    assert toloka.get("/pools", project_id=PROJECT_READY)["has_more"] is False
    toloka.sandbox.endless(None)
    assert toloka.get("/operations")["has_more"] is False
    toloka.sandbox.endless("new")
    toloka.sandbox.reset()
    assert toloka.get("/operations")["has_more"] is False
