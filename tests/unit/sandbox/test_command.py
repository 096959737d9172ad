"""The command ``archival-sandbox``: what it prints, how it ends, and what it says when it can't start."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.client import Sandbox, SandboxError
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "airflow_provider_archival.sandbox"]
ROOT = Path(__file__).resolve().parents[3]


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--issues=10", *arguments],
        text=True,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_prints_its_address_and_connections_for_a_shell() -> None:
    with running() as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        process.stdout.readline()
        names = {}
        for _ in range(4):
            export, assignment = shlex.split(process.stdout.readline())
            assert export == "export"
            name, _, value = assignment.partition("=")
            names[name] = json.loads(value)
    assert set(names) == {
        f"AIRFLOW_CONN_{name}"
        for name in ("JIRA_CLOUD_DEFAULT", "JIRA_CLOUD_OAUTH", "JIRA_CLOUD_BEARER", "TOLOKA_DEFAULT")
    }
    assert {connection["host"] for connection in names.values()} == {found[0]}


@pytest.mark.parametrize("what", [{"delay": 60}, {"drip": "headers"}, {"drip": "body"}, {"continues": True}])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_on_a_signal_though_requests_are_open(
    number: signal.Signals, what: dict[str, Any]
) -> None:
    with running() as process, socket.socket() as held:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found
        requests.post(f"http://{found[0]}/_sandbox/faults", json={"path": "*", **what}, timeout=10)
        held.connect(("127.0.0.1", int(found[1])))
        held.sendall(b"GET /api/v1/requester HTTP/1.1\r\nHost: sandbox\r\n\r\n")
        while not requests.get(f"http://{found[0]}/_sandbox/requests", timeout=10).json()["requests"]:
            time.sleep(0.01)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def test_ends_when_its_standard_input_closes_if_asked() -> None:
    with running("--stop-with-stdin") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_says_that_a_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ran("--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"archival-sandbox: Can't listen on port {port}: Address already in use")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"this is no database, however long it is" * 100, None])
def test_says_that_the_state_file_is_of_no_use(tmp_path: Path, content: bytes | None) -> None:
    state = tmp_path / "state" if content is None else tmp_path / "state.db"
    state.mkdir() if content is None else state.write_bytes(content)
    done = ran("--state-file", str(state))
    assert done.returncode == 1
    assert done.stderr.startswith(f"archival-sandbox: Can't use the state file {state}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--issues=-1", "argument --issues: -1 is negative"),
        ("--port=65536", "argument --port: 65536 is no port: want 0 to 65535"),
        ("--job-seconds=-0.5", "argument --job-seconds: -0.5: want seconds from 0"),
        ("--job-seconds=nan", "argument --job-seconds: nan: want seconds from 0"),
        ("--issues=many", "argument --issues: 'many' is no whole number"),
        ("--auth=lax", "argument --auth: invalid choice: 'lax'"),
    ],
)
def test_refuses_bad_arguments_in_one_line(argument: str, complaint: str) -> None:
    done = ran(argument)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "lark"])
def test_says_how_to_install_what_is_missing(missing: str, tmp_path: Path) -> None:
    blocker = tmp_path / "without.py"
    blocker.write_text(
        f"import runpy, sys\nsys.modules[{missing!r}] = None\nsys.argv = ['archival-sandbox']\n"
        "runpy.run_module('airflow_provider_archival.sandbox', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, str(blocker)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"archival-sandbox: {missing} is not installed. The sandbox needs an extra:"
        " pip install 'airflow-provider-archival[sandbox]'\n"
    )


def test_a_state_file_outlives_the_process(tmp_path: Path) -> None:
    token = {"Authorization": f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}"}
    settings = {"issues": 10, "job_seconds": 0.0, "state_file": str(tmp_path / "state.db")}
    with Sandbox(**settings) as sandbox:
        url = f"{sandbox.base_url}/api/v1/projects/{PROJECT_READY}/archive"
        assert requests.post(url, headers=token, timeout=10).status_code == 202
        sandbox.advance(86400)
        count, now = sandbox.count(""), sandbox.now()
    with Sandbox(**settings) as sandbox:
        (job,) = sandbox.jobs()
        assert job["status"] == "DONE"
        url = f"{sandbox.base_url}/api/v1/projects/{PROJECT_READY}"
        assert requests.get(url, headers=token, timeout=10).json()["status"] == "ARCHIVED"
        assert sandbox.count("") == count
        assert sandbox.now() == pytest.approx(now, abs=60)


def test_the_client_says_why_a_sandbox_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="did not start: archival-sandbox: Can't use the state file"):
        Sandbox(state_file=str(tmp_path)).start()


def test_the_client_leaves_no_process_behind() -> None:
    with Sandbox(issues=10) as sandbox:
        url = f"{sandbox.base_url}/_sandbox/clock"
        assert requests.get(url, timeout=10).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)


def test_the_pytest_plugin_costs_nothing_unused() -> None:
    heavy = ("starlette", "uvicorn", "requests", "airflow", "sqlite3", "lark", "asyncio")
    script = (
        "import pytest, sys; before = set(sys.modules);"
        "import airflow_provider_archival.sandbox.pytest_plugin;"
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
