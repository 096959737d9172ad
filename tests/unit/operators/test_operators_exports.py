"""Exports of more than one export holds: cut by date, one after the other, merged into one CSV."""

from __future__ import annotations

import csv
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, Tries

from airflow_provider_archival.exceptions import (
    BadInput,
    FilesDiffer,
    FileTooLarge,
    JobTimeout,
    ServiceRefusal,
)
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses

EXPORT, FILE = "/rest/api/3/issues/archive/export", "/rest/api/3/issues/archive/export/file/*"
DAYS, A_DAY = 6, 6
LIMIT = 30

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(scope="session", params=["both", "first", "none"])
def _limited(request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(
        issues=1000, job_seconds=3, issues_per_export=LIMIT, range_ends=request.param
    )
    return started


@pytest.fixture
def archival_sandbox(_limited: Sandbox) -> Sandbox:
    """A sandbox whose exports hold few issues, in each way that Jira may read a range of dates."""
    _limited.reset()
    return _limited


class Archived:
    """Issues that were archived on several days."""

    def __init__(self, sandbox: Sandbox, with_parts: list[list[str]]) -> None:
        hook = JiraCloudHook()
        self.first = datetime.fromtimestamp(sandbox.now(), UTC).date()
        for day in range(DAYS):
            hook.archive_issues([keys[0] for keys in with_parts[day * A_DAY : (day + 1) * A_DAY]])
            sandbox.advance(86400)
        self.keys = {key for keys in with_parts for key in keys}
        hook.close()
        self.after = str(self.first - timedelta(days=1))
        self.before = str(self.first + timedelta(days=DAYS + 1))

    def export(self, **more: Any) -> dict[str, Any]:
        return {
            "operator": JiraExportArchivedIssuesOperator,
            "archived_after": self.after,
            "archived_before": self.before,
            **more,
        }


@pytest.fixture(scope="session")
def _with_parts(_limited: Sandbox) -> list[list[str]]:
    """As many issues as are archived, each with its subtasks behind it."""
    issues = (_limited.issue(f"WEB-{number}") for number in itertools.count(1))
    top = itertools.islice((issue for issue in issues if not issue["parent"]), DAYS * A_DAY)
    return [[issue["key"], *issue["subtasks"]] for issue in top]


@pytest.fixture
def archived(
    archival_sandbox: Sandbox, _with_parts: list[list[str]], connections: Any, pauses: Pauses
) -> Archived:
    return Archived(archival_sandbox, _with_parts)


def keys_in(file: Path) -> list[str]:
    with file.open(newline="") as text:
        return [row["Issue key"] for row in csv.DictReader(text)]


def test_an_export_for_each_day_is_a_file_for_each(
    tries: Tries, archived: Archived, archival_sandbox: Sandbox, tmp_path: Path
) -> None:
    result = tries.run(**archived.export(split_by="day", destination=str(tmp_path)))
    jobs = archival_sandbox.jobs()
    assert len(result["files"]) == len(jobs) == DAYS + 2
    assert archival_sandbox.counters()["jobs_overlapped"] == {"export": 1}
    assert {file.name for file in tmp_path.iterdir()} == {
        f"jira-archived-issues-{job['id']}.csv" for job in jobs
    }
    found = [key for file in tmp_path.iterdir() for key in keys_in(file)]
    assert set(found) == archived.keys
    assert sum(file["rows"] for file in result["files"]) == len(found)


@pytest.mark.parametrize("destination", ["all.csv", "folder"])
def test_merged_each_issue_is_there_once(
    tries: Tries, archived: Archived, tmp_path: Path, destination: str, logged: list[str]
) -> None:
    target = tmp_path / destination
    result = tries.run(**archived.export(split_by="day", destination=str(target), merge=True))
    (file,) = result["files"]
    path = Path(file["path"].removeprefix("file://"))
    assert path == target if destination.endswith(".csv") else path.parent == target
    assert sorted(keys_in(path)) == sorted(archived.keys)
    assert (file["rows"], file["bytes"]) == (len(archived.keys), path.stat().st_size)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert any(line.endswith("rows were of issues that were there already: left out") for line in logged)


def test_what_jira_says_is_too_much_is_halved(
    tries: Tries, archived: Archived, archival_sandbox: Sandbox, tmp_path: Path
) -> None:
    target = tmp_path / "all.csv"
    result = tries.run(**archived.export(destination=str(target)))
    assert len(archived.keys) > LIMIT
    assert len(result["tasks"]) == len(archival_sandbox.jobs()) > 1
    assert sorted(keys_in(target)) == sorted(archived.keys)
    assert archival_sandbox.counters()["jobs_overlapped"] == {"export": 1}


def test_without_any_dates_it_is_halved_too(tries: Tries, archived: Archived, tmp_path: Path) -> None:
    target = tmp_path / "all.csv"
    # The process's clock stands where the sandbox's was: tomorrow is before the last archived day.
    tries.run(
        operator=JiraExportArchivedIssuesOperator, archived_before=archived.before, destination=str(target)
    )
    assert sorted(keys_in(target)) == sorted(archived.keys)


def test_a_day_that_is_too_much_fails_with_jiras_words(tries: Tries, archived: Archived) -> None:
    JiraCloudHook().archive_issues([f"APP-{number}" for number in range(1, 90)])
    with pytest.raises(ServiceRefusal, match=f"more than the limit of {LIMIT}"):
        tries.run(**archived.export(archived_before=str(archived.first + timedelta(days=DAYS + 2))))


def test_a_refusal_for_another_reason_is_not_halved(
    tries: Tries, archived: Archived, archival_sandbox: Sandbox
) -> None:
    with pytest.raises(ServiceRefusal, match="NOWHERE does not exist"):
        tries.run(**archived.export(projects="NOWHERE"))
    assert len(archival_sandbox.requests(EXPORT)) == 1


@pytest.mark.parametrize("killed_at", range(1, 8))
@pytest.mark.parametrize("_limited", ["both"], indirect=True)
def test_a_crash_and_a_retry_export_nothing_twice(
    tries: Tries,
    store: Store,
    archived: Archived,
    archival_sandbox: Sandbox,
    tmp_path: Path,
    killed_at: int,
) -> None:
    keep, kept = store.set, 0

    def killed(key: str, value: Any) -> None:
        nonlocal kept
        kept += 1
        keep(key, value)
        if kept == killed_at:
            raise Killed

    store.set = killed  # type: ignore[method-assign]
    asked = archived.export(split_by="day", destination=str(tmp_path / "all.csv"), merge=True)
    with pytest.raises(Killed):
        tries.run(**asked)
    store.set = keep  # type: ignore[method-assign]

    result = tries.run(**asked)

    ranges = [tuple(job["body"]["archivedDateRange"].values()) for job in archival_sandbox.requests(EXPORT)]
    assert len(ranges) == len(set(ranges)) == len(archival_sandbox.jobs()) == DAYS + 2
    assert len(result["tasks"]) == DAYS + 2
    assert sorted(keys_in(tmp_path / "all.csv")) == sorted(archived.keys)
    assert store.kept == {}


def test_a_timeout_in_the_middle_is_taken_up_by_the_next_try(
    tries: Tries, archived: Archived, archival_sandbox: Sandbox, tmp_path: Path
) -> None:
    asked = archived.export(split_by="day", destination=str(tmp_path / "all.csv"), merge=True)
    with pytest.raises(JobTimeout):
        tries.run(**asked, timeout=10)
    tries.run(**asked)
    assert len(archival_sandbox.jobs()) == DAYS + 2
    assert sorted(keys_in(tmp_path / "all.csv")) == sorted(archived.keys)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"split_by": "week"}, "split_by must be one of day, month, year, or None; got 'week'"),
        ({"split_by": "day", "archived_after": None}, "split_by needs archived_after"),
        ({"split_by": "day", "destination": "/tmp/a.csv"}, "give a folder, or merge=True"),
        ({"merge": True}, "merge needs a destination"),
        ({"merge": "perhaps", "destination": "/tmp/a.csv"}, "merge must be true or false"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("_limited", ["first"], indirect=True)
def test_parameters_that_do_not_go_together_fail_for_good_and_send_nothing(
    tries: Tries, archived: Archived, archival_sandbox: Sandbox, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        tries.run(**archived.export(**parameters))
    assert archival_sandbox.requests(EXPORT) == []


@pytest.mark.parametrize("merge", [False, True], ids=["one file each", "merged"])
@pytest.mark.parametrize("_limited", ["first"], indirect=True)
def test_a_file_that_is_too_large_is_not_saved(
    tries: Tries, archived: Archived, tmp_path: Path, merge: bool
) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(FileTooLarge, match=r"larger than max_file_bytes \(400\)"):
        tries.run(**archived.export(split_by="day", destination=str(folder), merge=merge, max_file_bytes=400))
    assert not [file for file in folder.iterdir() if file.stat().st_size > 400 or file.suffix != ".csv"]


@pytest.mark.parametrize("_limited", ["first"], indirect=True)
class TestColumns:
    def answer_with(self, sandbox: Sandbox, *files: str) -> None:
        for body in files:
            sandbox.fault(FILE, status=200, body=body)

    def merged(self, tries: Tries, archived: Archived, target: Path) -> dict[str, Any]:
        ends = {"archived_after": str(archived.first), "archived_before": str(archived.first + timedelta(2))}
        found: dict[str, Any] = tries.run(
            **archived.export(**ends, split_by="day", destination=str(target), merge=True)
        )
        return found

    def test_columns_in_another_order_are_put_in_order(
        self, tries: Tries, archived: Archived, archival_sandbox: Sandbox, tmp_path: Path
    ) -> None:
        self.answer_with(archival_sandbox, "key,summary\r\nA-1,x\r\n", "summary,key\r\ny,A-1\r\nz,A-2\r\n")
        self.merged(tries, archived, tmp_path / "all.csv")
        assert (tmp_path / "all.csv").read_text().split() == ["key,summary", "A-1,x", "A-2,z"]

    def test_without_a_column_of_keys_nothing_is_dropped(
        self,
        tries: Tries,
        archived: Archived,
        archival_sandbox: Sandbox,
        tmp_path: Path,
        logged: list[str],
    ) -> None:
        self.answer_with(archival_sandbox, "name\r\nA-1\r\n", "name\r\nA-1\r\n")
        result = self.merged(tries, archived, tmp_path / "all.csv")
        assert (tmp_path / "all.csv").read_text().split() == ["name", "A-1", "A-1"]
        assert result["files"][0]["rows"] == 2
        assert any("No column of the exports is known as the issues' key" in line for line in logged)

    def test_no_common_column_fails_for_good_and_saves_nothing(
        self, tries: Tries, archived: Archived, archival_sandbox: Sandbox, tmp_path: Path
    ) -> None:
        self.answer_with(archival_sandbox, "key,a\r\nA-1,x\r\n", "b,c\r\nA-2,y\r\n")
        with pytest.raises(FilesDiffer, match="no column that another one has"):
            self.merged(tries, archived, tmp_path / "all.csv")
        assert list(tmp_path.iterdir()) == []
