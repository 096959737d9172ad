"""What is larger than any request may be: a million issues, a longer file than Jira makes, 5,000 pools."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pendulum
import pytest
from cluster import TRIGGERER, Cluster
from processes import kill
from site_under_test import ARCHIVE, EXPORT, TOLOKA, Site

pytestmark = [pytest.mark.scale, pytest.mark.usefixtures("cluster")]

MINUTES = 60.0
# Subtasks go with their parents and are not asked for; issues of one project can't be archived at all.
SEEDED, AT_LEAST = 1_100_000, 1_000_000
JQL = "issuetype in standardIssueTypes() AND project != UNL"
POOLS = 5000


@pytest.mark.parametrize(("mode", "over_limit"), [("waiting", "refuse"), ("deferrable", "first")])
def test_a_million_issues_are_archived_with_a_crash_in_the_middle(
    cluster: Cluster, new_site: Callable[..., Site], mode: str, over_limit: str
) -> None:
    site = new_site(issues=SEEDED, job_seconds=1, over_limit=over_limit)
    asked = site.sandbox.count(JQL, archived=False)
    run = site.run(ARCHIVE, mode, conf={"jql": JQL})

    site.wait_for_job(ARCHIVE, run, number=5)
    if mode == "waiting":
        kill(run.wait_for_trace("started", try_number=1)["pid"])
    else:
        cluster.kill(TRIGGERER)
        cluster.start(TRIGGERER)

    assert run.wait_for_end(seconds=15 * MINUTES) == "success", run.story()
    value = run.value()
    assert (value["matched"], value["left"]) == (asked, 0)
    assert len(value["windows"]) >= 10
    # No window was archived twice, and never were two under way.
    assert site.submitted(ARCHIVE) == len(value["tasks"]) == len(value["windows"]), run.story()
    assert site.most_at_once(ARCHIVE) == 1
    archived = site.sandbox.count("", archived=True)
    assert archived == sum(task["result"]["numberOfIssuesUpdated"] for task in value["tasks"])
    assert archived >= AT_LEAST


@pytest.mark.parametrize("range_ends", ["first", "both", "none"])
def test_more_issues_than_an_export_holds_become_one_file_with_each_once(
    new_site: Callable[..., Site], tmp_path: Path, range_ends: str
) -> None:
    site = new_site(issues=1_640_000, job_seconds=0, issues_per_task=1_000_000, range_ends=range_ends)
    began = _day(site)
    for year in (*range(2018, 2026), 2030):
        site.archive_elsewhere(f"issuetype in standardIssueTypes() AND created < {year}-01-01")
        site.sandbox.advance(30 * 24 * 60 * 60)
    archived = site.sandbox.count("", archived=True)
    assert archived >= 1_500_000
    destination = tmp_path / "all.csv"

    run = site.run(
        EXPORT,
        "deferrable",
        conf={"projects": ""},
        destination=f"file://{destination}",
        merge=True,
        # Jira may or may not take the ends of a range for parts of it.
        archived_after=pendulum.parse(began).subtract(days=1).to_date_string(),
        archived_before=pendulum.parse(_day(site)).add(days=1).to_date_string(),
    )
    assert run.wait_for_end(seconds=15 * MINUTES) == "success", run.story()

    value = run.value()
    assert len(value["tasks"]) > 1
    assert site.most_at_once(EXPORT) <= 1
    (file,) = value["files"]
    assert file["rows"] == archived
    assert file["bytes"] == destination.stat().st_size
    with destination.open(newline="") as lines:
        keys = [row["Issue key"] for row in csv.DictReader(lines)]
    assert len(keys) == len(set(keys)) == archived
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_project_with_thousands_of_pools_is_archived_with_a_crash_in_the_middle(
    cluster: Cluster, new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=20)
    added = site.sandbox.add_toloka_project(pools=POOLS, trainings=2, status="CLOSED")
    run = site.run(TOLOKA, mode, conf={"project_id": added["id"]}, archive_pools=True)

    site.wait_until(lambda: len(site.sandbox.jobs()) > POOLS / 2, "half is submitted", run)
    kill(run.wait_for_trace("started", try_number=1)["pid"])

    assert run.wait_for_end(seconds=10 * MINUTES) == "success", run.story()
    value = run.value()
    assert (value["status"], len(value["pools"])) == ("SUCCESS", POOLS + 2)
    assert site.sandbox.counters()["jobs_submitted"] == {
        "POOL.ARCHIVE": POOLS,
        "TRAINING.ARCHIVE": 2,
        "PROJECT.ARCHIVE": 1,
    }
    asked = site.sandbox.requests("/api/v1/pools/*/archive")
    times = sorted(request["time"] for request in asked)
    assert max(sum(begin <= time < begin + 1 for time in times) for begin in times[::50]) < 300
    # Ten pages hold all operations: never one request for each pool and look.
    looks = site.sandbox.requests("/api/v1/operations")
    assert len(looks) < POOLS / 5


def _day(site: Site) -> str:
    """Return today, by the sandbox's clock."""
    return pendulum.from_timestamp(site.sandbox.now()).to_date_string()
