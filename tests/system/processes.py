"""Processes that the tests start, watch and end, each by its id."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_POLITE_SECONDS = 10.0


class Part:
    """
    One long-lived process in a session of its own, with all that it starts.

    :param arguments: its command
    :param log: the file that takes its output
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._arguments, self._environment, self.log = list(arguments), dict(environment), log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it and its descendants at once: none of them can say goodbye, none starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            # It stands still first, so that nobody is born while we count.
            process.send_signal(signal.SIGSTOP)
        end_session(process.pid)
        process.wait()

    def ask_to_end(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End it, at once where it does not end when asked to."""
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(_POLITE_SECONDS)
        self.kill()


def kill(pid: int) -> None:
    """End one process at once, and see it go."""
    try:
        process = psutil.Process(pid)
        process.kill()
        process.wait(_POLITE_SECONDS)
    except psutil.NoSuchProcess:
        pass


def parent_of(pid: int) -> int:
    return int(psutil.Process(pid).ppid())


def end_session(leader: int) -> None:
    """Kill every process of a session, whichever process group it has put itself into."""
    while members := [pid for pid in psutil.pids() if _session_of(pid) == leader]:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if all(_is_dead(pid) for pid in members):
            return


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_dead(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
