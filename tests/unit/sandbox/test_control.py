"""The sandbox's control: what it logs and counts, how it steers jobs and the clock, and starts over."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.client import SandboxError
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY, PROJECTS_WITH_CLOSED_POOLS

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

TOKEN = {"Authorization": f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}"}


def archive_project(sandbox: Sandbox, project_id: str = PROJECT_READY) -> dict[str, Any]:
    answer = requests.post(
        f"{sandbox.base_url}/api/v1/projects/{project_id}/archive", headers=TOKEN, timeout=10
    )
    assert answer.status_code == 202
    return dict(answer.json())


def operation(sandbox: Sandbox, id: str) -> requests.Response:
    return requests.get(f"{sandbox.base_url}/api/v1/operations/{id}", headers=TOKEN, timeout=10)


def control(sandbox: Sandbox, method: str, path: str, **more: Any) -> requests.Response:
    return requests.request(method, f"{sandbox.base_url}/_sandbox{path}", timeout=10, **more)


def test_logs_each_service_request_and_none_of_its_own(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    operation(archival_sandbox, id)
    archival_sandbox.jobs()
    first, second = archival_sandbox.requests()
    assert (
        first["n"],
        first["method"],
        first["path"],
        first["status"],
        first["body"],
        first["cloud_id"],
    ) == (*(1, "POST", f"/api/v1/projects/{PROJECT_READY}/archive", 202, None, None),)
    assert (second["n"], second["status"], second["query"]) == (2, 200, {})
    assert second["time"] == pytest.approx(time.time(), abs=30)


def test_logs_the_path_without_the_gateway_and_its_cloud(archival_sandbox: Sandbox) -> None:
    requests.get(f"{archival_sandbox.base_url}/ex/jira/some-cloud/rest/api/3/myself", timeout=10)
    (entry,) = archival_sandbox.requests()
    assert (entry["path"], entry["cloud_id"]) == ("/rest/api/3/myself", "some-cloud")


def test_the_gateway_leads_to_jira_only(archival_sandbox: Sandbox) -> None:
    url = f"{archival_sandbox.base_url}/ex/jira/{credentials.JIRA_CLOUD_ID}/api/v1/requester"
    assert requests.get(url, headers=TOKEN, timeout=10).status_code == 404


def test_finds_requests_by_method_and_path_pattern(archival_sandbox: Sandbox) -> None:
    archive_project(archival_sandbox)
    operation(archival_sandbox, "nothing")
    assert len(archival_sandbox.requests("/api/v1/*")) == 2
    assert len(archival_sandbox.requests("/api/v1/operations/nothing")) == 1
    assert len(archival_sandbox.requests(method="POST")) == 1
    assert archival_sandbox.requests("/api/v1") == []


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"client_id": "visible", "client_secret": "MARKED"}},
        {"json": {"client_id": "visible", "client_secret": "MARKED", "deep": [{"access_token": "MARKED"}]}},
        {"json": {"client_id": "visible"}, "params": {"api_token": "MARKED"}},
    ],
)
def test_never_logs_a_credential(archival_sandbox: Sandbox, body: dict[str, Any]) -> None:
    requests.post(f"{archival_sandbox.base_url}/oauth/token", auth=("MARKED", "MARKED"), timeout=10, **body)
    logged = json.dumps(archival_sandbox.requests())
    assert "MARKED" not in logged
    assert "visible" in logged


def test_logs_a_long_body_cut(archival_sandbox: Sandbox) -> None:
    requests.post(f"{archival_sandbox.base_url}/api/v1/projects", data=b"x" * 1_000_000, timeout=10)
    (entry,) = archival_sandbox.requests()
    assert entry["body"].endswith("(1000000 characters)")
    assert len(entry["body"]) < 3000


def test_counts_jobs_polls_and_requests_by_route(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    operation(archival_sandbox, id)
    operation(archival_sandbox, id)
    counters = archival_sandbox.counters()
    assert counters["jobs_submitted"] == {"PROJECT.ARCHIVE": 1}
    assert counters["polls"] == {id: 2}
    assert counters["requests"] == {
        "POST /api/v1/projects/{id}/archive": 1,
        "GET /api/v1/operations/{id}": 2,
    }
    assert (counters["issues_archived"], counters["issues_unarchived"]) == (0, 0)
    archival_sandbox.clear_counters()
    assert archival_sandbox.counters()["requests"] == {}


def test_counts_jobs_that_ran_at_once(archival_sandbox: Sandbox) -> None:
    first = archive_project(archival_sandbox)["id"]
    archive_project(archival_sandbox)
    archival_sandbox.job(first, "finish")
    archive_project(archival_sandbox, archival_sandbox.add_toloka_project()["id"])
    assert archival_sandbox.counters()["jobs_overlapped"] == {"PROJECT.ARCHIVE": 2}


def test_counts_no_overlap_where_one_job_followed_another(archival_sandbox: Sandbox) -> None:
    for _ in range(2):
        archive_project(archival_sandbox, archival_sandbox.add_toloka_project()["id"])
        archival_sandbox.advance(3600)
    assert archival_sandbox.counters()["jobs_overlapped"] == {"PROJECT.ARCHIVE": 1}


def test_counts_requests_that_overlapped(archival_sandbox: Sandbox) -> None:
    operation(archival_sandbox, "a")
    operation(archival_sandbox, "b")
    assert archival_sandbox.counters()["requests_overlapped"] == 0
    archival_sandbox.fault("/api/v1/operations/*", delay=0.5, times=2)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda id: operation(archival_sandbox, id), "ab"))
    assert archival_sandbox.counters()["requests_overlapped"] == 1


@pytest.mark.parametrize(
    ("action", "status", "seen"),
    [
        ("finish", "DONE", "SUCCESS"),
        ("fail", "FAILED", "FAIL"),
        ("die", "DEAD", "FAIL"),
        ("cancel", "CANCELLED", "FAIL"),
    ],
)
def test_ends_a_job(archival_sandbox: Sandbox, action: str, status: str, seen: str) -> None:
    id = archive_project(archival_sandbox)["id"]
    job = archival_sandbox.job(id, action, message="as asked", result={"some": "thing"})
    assert (job["status"], job["message"], job["result"]) == (status, "as asked", {"some": "thing"})
    assert operation(archival_sandbox, id).json()["status"] == seen


def test_a_finished_job_has_done_its_work_and_a_failed_one_has_not(archival_sandbox: Sandbox) -> None:
    def status() -> str:
        url = f"{archival_sandbox.base_url}/api/v1/projects/{PROJECT_READY}"
        return str(requests.get(url, headers=TOKEN, timeout=10).json()["status"])

    archival_sandbox.job(archive_project(archival_sandbox)["id"], "fail")
    assert status() == "ACTIVE"
    archival_sandbox.job(archive_project(archival_sandbox)["id"], "finish")
    assert status() == "ARCHIVED"


def test_a_frozen_job_goes_on_where_it_stopped(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    archival_sandbox.job(id, "freeze")
    archival_sandbox.advance(3600)
    assert archival_sandbox.job(id)["ended"] is None
    archival_sandbox.job(id, "thaw")
    assert archival_sandbox.job(id)["ended"] is None
    archival_sandbox.advance(60)
    assert archival_sandbox.job(id)["status"] == "DONE"


def test_a_forgotten_job_is_unknown(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    archival_sandbox.job(id, "forget")
    assert operation(archival_sandbox, id).status_code == 404
    assert archival_sandbox.jobs() == []


WORDS = [
    "cut inside an emoji \ud83d",
    10**30,
    float("inf"),
    ["a", {"list": [None]}],
    "",
    0,
    False,
]


@pytest.mark.parametrize("words", WORDS, ids=ascii)
def test_a_job_ends_with_any_words(archival_sandbox: Sandbox, words: Any) -> None:
    id = archive_project(archival_sandbox)["id"]
    job = archival_sandbox.job(id, "finish", message=words, result={"said": words})
    assert (job["message"], job["result"]) == (words, {"said": words})
    answer = operation(archival_sandbox, id)
    assert answer.content.isascii()
    assert answer.json()["details"] == {"said": words}
    assert archival_sandbox.jobs()[0]["message"] == words


def test_a_job_ends_with_a_great_many_words(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    archival_sandbox.job(id, "fail", message="x" * 8_000_000)
    assert len(operation(archival_sandbox, id).json()["details"]["message"]) == 8_000_000


def test_a_job_looks_as_told_and_stands_still_until_it_is_thawed(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    for progress in (50, 99, 10):
        archival_sandbox.job(id, "show", status="PENDING", progress=progress, parameters=["no", "object"])
        archival_sandbox.advance(3600)
        shown = operation(archival_sandbox, id).json()
        assert (shown["status"], shown["progress"], shown["parameters"]) == (
            *("PENDING", progress, ["no", "object"]),
        )
    listed = requests.get(f"{archival_sandbox.base_url}/api/v1/operations", headers=TOKEN, timeout=10)
    assert listed.json()["items"] == [shown]
    archival_sandbox.job(id, "thaw")
    assert operation(archival_sandbox, id).json()["parameters"] == {"project_id": PROJECT_READY}
    archival_sandbox.advance(60)
    assert operation(archival_sandbox, id).json()["status"] == "SUCCESS"


def test_the_end_of_a_job_is_seen_whatever_it_looked_like(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    archival_sandbox.job(id, "show", status="RUNNING", progress=100)
    archival_sandbox.job(id, "finish")
    assert operation(archival_sandbox, id).json()["status"] == "SUCCESS"


def test_a_job_that_is_over_may_look_otherwise(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    archival_sandbox.job(id, "finish")
    archival_sandbox.job(id, "show", parameters=None)
    assert operation(archival_sandbox, id).json()["parameters"] is None
    assert archival_sandbox.job(id, "thaw")["status"] == "DONE"
    assert operation(archival_sandbox, id).json()["parameters"] == {"project_id": PROJECT_READY}


def test_logs_a_body_that_no_encoding_has(archival_sandbox: Sandbox) -> None:
    body = r'{"half": "\ud83d", "number": NaN}'
    requests.post(f"{archival_sandbox.base_url}/api/v1/nothing", data=body, timeout=10)
    (entry,) = archival_sandbox.requests()
    assert entry["body"]["half"] == "\ud83d"


def test_refuses_what_can_not_be_done_to_a_job(archival_sandbox: Sandbox) -> None:
    id = archive_project(archival_sandbox)["id"]
    with pytest.raises(SandboxError, match=r"400.*action: want one of freeze"):
        archival_sandbox.job(id, "explode")
    with pytest.raises(SandboxError, match=r"400.*status: nothing to show"):
        archival_sandbox.job(id, "show")
    with pytest.raises(SandboxError, match=r"404.*there is no job nothing"):
        archival_sandbox.job("nothing", "finish")
    archival_sandbox.job(id, "finish")
    with pytest.raises(SandboxError, match=r"409.*is over already: DONE"):
        archival_sandbox.job(id, "freeze")


def test_the_clock_moves_forward_only(archival_sandbox: Sandbox) -> None:
    before = archival_sandbox.now()
    archival_sandbox.advance(86400)
    assert archival_sandbox.now() == pytest.approx(before + 86400, abs=30)
    with pytest.raises(SandboxError, match=r"400.*advance: want seconds"):
        archival_sandbox.advance(-1)


def test_dates_its_answers_by_its_own_clock(archival_sandbox: Sandbox) -> None:
    archival_sandbox.advance(10 * 365 * 86400)
    answer = operation(archival_sandbox, "nothing")
    assert int(answer.headers["Date"].split()[3]) >= time.gmtime().tm_year + 9


def test_a_reset_leaves_nothing(archival_sandbox: Sandbox) -> None:
    archive_project(archival_sandbox)
    archival_sandbox.advance(3600)
    archival_sandbox.fault("/api/*", status=500, times=None)
    added = archival_sandbox.add_toloka_project()["id"]
    archival_sandbox.reset()
    assert archival_sandbox.jobs() == []
    assert archival_sandbox.requests() == []
    assert archival_sandbox.counters()["jobs_submitted"] == {}
    assert archival_sandbox.now() == pytest.approx(time.time(), abs=30)
    assert control(archival_sandbox, "GET", "/faults").json() == {"faults": []}
    projects = f"{archival_sandbox.base_url}/api/v1/projects"
    assert requests.get(f"{projects}/{PROJECT_READY}", headers=TOKEN, timeout=10).json()["status"] == "ACTIVE"
    assert requests.get(f"{projects}/{added}", headers=TOKEN, timeout=10).status_code == 404


def test_a_reset_drops_what_a_delay_still_holds(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/projects/*", delay=30)
    with ThreadPoolExecutor() as threads:
        held = threads.submit(archive_project, archival_sandbox)
        while not archival_sandbox.requests():
            time.sleep(0.01)
        archival_sandbox.reset()
        assert isinstance(held.exception(timeout=10), requests.ConnectionError)
    assert archival_sandbox.jobs() == []


def test_issues_can_be_looked_up_and_counted(archival_sandbox: Sandbox) -> None:
    whole = archival_sandbox.count("")
    assert whole == 1000
    assert archival_sandbox.count("", archived=True) == 0
    assert 0 < archival_sandbox.count("", archived=False) < whole
    with pytest.raises(SandboxError, match=r"404.*there is no issue NOPE-1"):
        archival_sandbox.issue("NOPE-1")
    with pytest.raises(SandboxError, match=r"400.*jql"):
        archival_sandbox.count("nonsense ~~ 1")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/clock", "not json", 400, "body"),
        ("POST", "/clock", "[]", 400, "body"),
        ("POST", "/clock", "{}", 400, "advance"),
        ("POST", "/scopes", '{"scopes": ["read:jira-work"]}', 400, "scopes"),
        ("POST", "/toloka/lists", '{"endless": "yes"}', 400, "endless"),
        ("POST", "/toloka/lists", '{"endless": "new", "of": "tasks"}', 400, "of"),
        ("POST", "/toloka/projects", '{"pools": -1}', 400, "project"),
        ("POST", "/toloka/projects", '{"status": "LOST"}', 400, "project"),
        ("POST", "/toloka/projects", '{"nonsense": 1}', 400, "project"),
        ("POST", "/jobs", '{"kind": "unarchive"}', 400, "kind"),
        ("POST", "/jobs", '{"kind": ["export"]}', 400, "kind"),
        ("POST", "/jobs", '{"kind": "export", "filter": []}', 400, "filter"),
        ("POST", "/jobs", '{"kind": "archive", "filter": {}}', 400, "filter"),
        ("GET", "/issues?archived=maybe", "", 400, "archived"),
        ("DELETE", "/faults/77", "", 404, "id"),
    ],
)
def test_refuses_nonsense_and_names_the_field(
    archival_sandbox: Sandbox, method: str, path: str, body: str, status: int, field: str
) -> None:
    answer = control(archival_sandbox, method, path, data=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_answers_unknown_paths_in_the_services_own_manner(archival_sandbox: Sandbox) -> None:
    def answer(path: str, method: str = "GET") -> requests.Response:
        return requests.request(method, archival_sandbox.base_url + path, headers=TOKEN, timeout=10)

    assert set(answer("/api/v1/nothing").json()) == {"request_id", "code", "message", "payload"}
    assert set(answer("/rest/api/3/nothing").json()) == {"errorMessages", "errors"}
    assert set(answer("/_sandbox/nothing").json()) == {"error"}
    wrong_method = answer(f"/api/v1/projects/{PROJECTS_WITH_CLOSED_POOLS[0]}", "DELETE")
    assert (wrong_method.status_code, wrong_method.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
