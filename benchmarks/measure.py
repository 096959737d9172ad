"""
One measurement in a process of its own: prints a JSON object.

``python measure.py keys|jql|export|pools <number>``, with a sandbox's connections in the environment and its
address in ``SANDBOX``. The sandbox's jobs take no time of their own, and nobody else uses it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from airflow_provider_archival.sandbox import credentials

SANDBOX = os.environ["SANDBOX"]
LOGIN = (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)
MEBIBYTE = 1024 * 1024
# The best of so many, in turns: what else the machine does is not what is measured.
ROUNDS = 3


class TaskInstance:
    """What the operators need of Airflow's."""

    try_number = 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Take a value and drop it."""


def peak() -> float:
    """Return the most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    value = what()
    return time.perf_counter() - begun, value


def ask(method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(method, f"{SANDBOX}/_sandbox{path}", json=body, timeout=300)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def requests_made() -> int:
    return len(ask("GET", "/requests")["requests"])


def run(operator: Any) -> tuple[float, Any]:
    return timed(lambda: operator.execute({"ti": TaskInstance()}))


# --- archive by key ---


def keys(number: int) -> dict[str, Any]:
    """Archive by key, and the same requests sent by nothing but a loop, in the same process."""
    from airflow_provider_archival.operators.jira import JiraArchiveIssuesOperator

    wanted = [f"WEB-{n}" for n in range(1, number + 1)]
    operator = JiraArchiveIssuesOperator(
        task_id="archive", issue_ids_or_keys=wanted, fail_on_partial_error=False
    )
    # Airflow, its imports and the input are not what is measured.
    JiraArchiveIssuesOperator(task_id="warm", issue_ids_or_keys=["WEB-1"]).execute({"ti": TaskInstance()})
    ask("POST", "/reset")
    before = peak()
    seconds, result = run(operator)
    memory = peak() - before
    made = requests_made()

    def loop() -> None:
        session = requests.Session()
        for begin in range(0, number, 1000):
            body = {"issueIdsOrKeys": wanted[begin : begin + 1000]}
            answer = session.put(f"{SANDBOX}/rest/api/3/issue/archive", json=body, auth=LOGIN, timeout=300)
            answer.json()

    times, alone_times = [seconds], []
    for _ in range(ROUNDS):
        ask("POST", "/reset")
        alone_times.append(timed(loop)[0])
        ask("POST", "/reset")
        times.append(run(operator)[0])
    seconds, alone = min(times), min(alone_times)
    return {
        "archived": result["archived"],
        "requests": made,
        "seconds": seconds,
        "the service alone": alone,
        "ratio": seconds / alone,
        "MiB above the input": memory,
    }


# --- archive by JQL ---


def jql(_: int) -> dict[str, Any]:
    """Archive all issues by JQL, and the same requests sent by nothing but a loop, in the same process."""
    from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator

    operator = JiraArchiveIssuesByJqlOperator(
        task_id="archive",
        jql="issuetype in standardIssueTypes() AND project != UNL",
    )
    before = peak()
    seconds, result = run(operator)
    memory = peak() - before
    made = ask("GET", "/requests")["requests"]
    jobs = ask("GET", "/jobs")["jobs"]
    counts = [one for one in made if one["path"].endswith("approximate-count")]

    def loop() -> None:
        session = requests.Session()
        session.auth = LOGIN
        for one in made:
            if one["method"] == "POST":
                answer = session.post(f"{SANDBOX}{one['path']}", json=one["body"], timeout=600)
                if answer.status_code == 202:
                    session.get(answer.json(), timeout=600)

    ask("POST", "/reset")
    alone, _ = timed(loop)
    return {
        "matched": result["matched"],
        "left": result["left"],
        "tasks": len(jobs),
        "counts": len(counts),
        "requests": len(made),
        "seconds": seconds,
        "the service alone": alone,
        "ratio": seconds / alone,
        "MiB": memory,
    }


# --- export ---


def export(_: int) -> dict[str, Any]:
    """Save an export, and the same download by nothing but a loop, in the same process."""
    from airflow_provider_archival.files.download import download
    from airflow_provider_archival.files.merge import merge
    from airflow_provider_archival.hooks.jira import JiraCloudHook

    session = requests.Session()
    session.auth = LOGIN
    body = {"jql": "issuetype in standardIssueTypes() AND project != UNL"}
    session.get(
        session.post(f"{SANDBOX}/rest/api/3/issue/archive", json=body, timeout=600).json(), timeout=600
    )
    asked = session.put(f"{SANDBOX}/rest/api/3/issues/archive/export", json={}, timeout=600).json()
    url = session.get(f"{SANDBOX}/rest/api/3/task/{asked['taskId']}", timeout=600).json()["result"]["fileUrl"]
    hook = JiraCloudHook()
    hook.count_issues("project = DEMO")
    with tempfile.TemporaryDirectory() as folder:
        before = peak()
        seconds, saved = timed(lambda: download(hook, url, folder, "one.csv"))
        memory = peak() - before

        def loop() -> None:
            with (
                session.get(url, stream=True, timeout=600) as answer,
                Path(folder, "two.csv").open("wb") as to,
            ):
                for piece in answer.iter_content(MEBIBYTE):
                    to.write(piece)

        alone, _ = timed(loop)
        before = peak()
        merging, merged = timed(lambda: merge(hook, [url, url], folder, "merged.csv"))
        merge_memory = peak() - before
    assert merged.rows == saved.rows
    return {
        "rows": saved.rows,
        "MB": saved.bytes / 1e6,
        "seconds": seconds,
        "a plain download": alone,
        "ratio": seconds / alone,
        "MiB": memory,
        "two files merged, seconds": merging,
        "two files merged, MiB": merge_memory,
    }


# --- Toloka ---


def pools(number: int) -> dict[str, Any]:
    """Archive a Toloka project with so many pools."""
    from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator

    project = ask("POST", "/toloka/projects", {"pools": number, "status": "CLOSED"})
    operator = TolokaArchiveProjectOperator(
        task_id="archive", project_id=project["id"], archive_pools=True, poll_interval=2
    )
    before = peak()
    seconds, result = run(operator)
    memory = peak() - before
    made = ask("GET", "/requests")["requests"]
    starts = sorted(one["time"] for one in made if one["method"] == "POST")
    looks = [one for one in made if one["path"].endswith("/operations")]
    first_pages = [one for one in looks if "id_gt" not in one["query"]]
    return {
        "pools": len(result["pools"]),
        "requests": len(made),
        "requests a poll": len(looks) / len(first_pages),
        "most in a second": max(sum(begin <= one < begin + 1 for one in starts) for begin in starts[::20]),
        "seconds": seconds,
        "MiB": memory,
    }


if __name__ == "__main__":
    print(
        json.dumps(
            {"keys": keys, "jql": jql, "export": export, "pools": pools}[sys.argv[1]](int(sys.argv[2]))
        )
    )
