"""A sandbox in a process of its own, and a hold on it from Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from airflow_provider_archival.sandbox.connections import airflow_connections
from airflow_provider_archival.sandbox.settings import Settings

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_STOP_SECONDS = 10
_ANSWER_SECONDS = 120


class SandboxError(Exception):
    """The sandbox did not start, or refused what it was asked."""


class Sandbox:
    """
    Start a sandbox, and stop it at the end of a ``with`` block; it ends with the process that started it.

    It has its own process so that neither a blocked event loop nor a patched clock of its user's holds it up.

    :param settings: how it behaves, as :class:`~airflow_provider_archival.sandbox.settings.Settings` has it:
        ``port``, ``issues``, ``seed``, ``job_seconds``, ``state_file``, ``auth``, ``scopes``, and others.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.base_url = ""
        self._process: subprocess.Popen[str] | None = None
        # The loopback is never behind a proxy, whatever the environment says.
        self._opener = build_opener(ProxyHandler({}))

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers; raises :class:`SandboxError` with what it said."""
        with tempfile.TemporaryFile("w+") as complaints:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "airflow_provider_archival.sandbox", *self._arguments()],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                # A Ctrl-C in the terminal is for whoever uses the sandbox; the sandbox ends with them.
                start_new_session=True,
            )
            found = _ADDRESS.search(_output(self._process).readline())
            if found is None:
                self.stop()
                complaints.seek(0)
                raise SandboxError(f"The sandbox did not start: {complaints.read().strip()}")
        self.base_url = found[0]

    def stop(self) -> None:
        """End the process; does nothing if it runs no more."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def fault(
        self, path: str, *, method: str | None = None, times: int | None = 1, skip: int = 0, **what: Any
    ) -> str:
        """
        Let matching requests go wrong, and return the fault's id.

        :param path: an ``fnmatch`` pattern on the path without the gateway's prefix, ``/rest/api/3/task/*``.
        :param method: the HTTP method; None means any.
        :param times: how many requests; None means all.
        :param skip: how many matching requests are let through first.
        :param what: ``status`` (with ``headers``, ``body``), ``reset``, ``delay``, ``body``, ``truncate``,
            ``redirect``, ``drip``, ``continues``, ``encoding``, ``when``; see the sandbox's documentation.
        """
        description = {"path": path, "method": method, "times": times, "skip": skip, **what}
        return str(self._call("POST", "/faults", description)["id"])

    def clear_faults(self, id: str | None = None) -> None:
        """Let nothing go wrong any more; with the id of a fault, not by that one."""
        self._call("DELETE", "/faults" if id is None else f"/faults/{quote(id, safe='')}")

    def limit(self, **what: Any) -> None:
        """
        Let the services refuse what is too much with a 429.

        :param what: ``quota``, ``burst``, ``per_issue``, ``toloka``, each with a number of requests, and how
            their refusals look; see the sandbox's documentation.
        """
        self._call("POST", "/limits", what)

    def limits(self) -> list[dict[str, Any]]:
        """Return the limits in force, and how much is ``left`` of each."""
        return list(self._call("GET", "/limits")["limits"])

    def clear_limits(self) -> None:
        self._call("DELETE", "/limits")

    def requests(self, path: str | None = None, method: str | None = None) -> list[dict[str, Any]]:
        """Return the logged service requests, oldest first; ``path`` may have ``*`` in it."""
        pattern = None if path is None else re.compile(re.escape(path).replace(r"\*", ".*"))
        return [
            entry
            for entry in self._call("GET", "/requests")["requests"]
            if (pattern is None or pattern.fullmatch(entry["path"])) and method in (None, entry["method"])
        ]

    def counters(self) -> dict[str, Any]:
        return dict(self._call("GET", "/counters"))

    def clear_counters(self) -> None:
        self._call("DELETE", "/counters")

    def jobs(self) -> list[dict[str, Any]]:
        """Return all Jira tasks and Toloka operations, in the order of submission."""
        return list(self._call("GET", "/jobs")["jobs"])

    def job(self, id: str, action: str | None = None, **more: Any) -> dict[str, Any]:
        """
        Return a job, after doing something to it.

        :param action: ``freeze``, ``show``, ``thaw``, ``finish``, ``fail``, ``die``, ``cancel``, ``forget``,
            or None.
        :param more: ``message`` and ``result`` of a job that is ended so, in any JSON; what is to ``show``:
            fields of the service's own.
        """
        path = f"/jobs/{quote(id, safe='')}"
        return (
            self._call("GET", path)
            if action is None
            else self._call("POST", path, {"action": action, **more})
        )

    def colleague(self, kind: str, **what: Any) -> str:
        """
        Let another admin submit a job to Jira, and return its id.

        :param kind: ``archive`` or ``export``.
        :param what: ``jql`` of an archive; ``filter`` of an export, as Jira has it, all by default.
        :raises SandboxError: with Jira's answer, if Jira refuses it: a 412 while another one is running.
        """
        return str(self._call("POST", "/jobs", {"kind": kind, **what})["id"])

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock forward."""
        self._call("POST", "/clock", {"advance": seconds})

    def now(self) -> float:
        """Return the sandbox's time in epoch seconds."""
        return float(self._call("GET", "/clock")["now"])

    def expire_tokens(self) -> None:
        """Let all access tokens that were given out expire."""
        self._call("POST", "/tokens/expire")

    def scope(self, scopes: str) -> None:
        """Change what tokens may do through Jira's gateway, those that were given out too."""
        self._call("POST", "/scopes", {"scopes": scopes})

    def issue(self, key: str) -> dict[str, Any]:
        return self._call("GET", f"/issues/{quote(key, safe='')}")

    def count(self, jql: str, archived: bool | None = None) -> int:
        """Count issues, archived ones (True), the others (False), or both."""
        query = {"jql": jql} | ({} if archived is None else {"archived": str(archived).lower()})
        return int(self._call("GET", f"/issues?{urlencode(query)}")["count"])

    def add_issues(self, project: str, created: Sequence[float]) -> list[str]:
        """
        Add a Jira issue for each time of creation, and return their keys.

        :param project: the project's key
        :param created: epoch seconds
        """
        added = self._call("POST", "/issues", {"project": project, "created": list(created)})
        return [str(key) for key in added["keys"]]

    def add_toloka_project(self, **project: Any) -> dict[str, Any]:
        """Add a project with ``pools`` pools of the given ``status``; returns its id and theirs."""
        return self._call("POST", "/toloka/projects", project)

    def endless(self, how: str | None, of: str | None = None) -> None:
        """
        Let lists of Toloka's say for ever that they have more.

        :param how: ``same``: each page is the first one again; ``new``: items are made up; None: they end.
        :param of: ``projects``, ``pools``, ``trainings`` or ``operations``; None: all of them.
        """
        self._call("POST", "/toloka/lists", {"endless": how} | ({} if of is None else {"of": of}))

    def reset(self) -> None:
        """Go back to the freshly seeded state."""
        self._call("POST", "/reset")

    def airflow_connections(self) -> dict[str, str]:
        """Return the environment variables that make this sandbox known to Airflow."""
        return airflow_connections(self.base_url)

    def _arguments(self) -> list[str]:
        chosen = {name: value for name, value in vars(self.settings).items() if value is not None}
        return [
            *(f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()),
            "--stop-with-stdin",
        ]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.base_url}/_sandbox{path}", data, method=method)  # noqa: S310 - loopback
        try:
            with self._opener.open(request, timeout=_ANSWER_SECONDS) as response:
                content = response.read()
        except HTTPError as error:
            with error:
                answer = error.read().decode("utf-8", "replace")
            raise SandboxError(f"{method} /_sandbox{path} was refused with {error.code}: {answer}") from error
        return dict(json.loads(content)) if content else {}


def _environment() -> dict[str, str]:
    """Return our environment, in which the process finds this very package, installed or not."""
    here = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, inherited] if inherited else [here])}


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
