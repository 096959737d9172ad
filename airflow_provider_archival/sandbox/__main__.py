"""The command ``archival-sandbox``: seed a sandbox, say how to reach it, and serve it until told to stop."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence

from airflow_provider_archival.sandbox.connections import airflow_connections
from airflow_provider_archival.sandbox.settings import UNKNOWN, Settings, choices_of

_DEFAULTS = Settings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    settings, stops_with_stdin = _settings(arguments)
    try:
        import lark  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        return _fail(
            f"{error.name} is not installed. The sandbox needs an extra:"
            " pip install 'airflow-provider-archival[sandbox]'"
        )
    if stops_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    try:
        return _serve(settings)
    except KeyboardInterrupt:
        return 130


def _settings(arguments: Sequence[str] | None) -> tuple[Settings, bool]:
    parser = argparse.ArgumentParser(
        prog="archival-sandbox",
        description="A local Jira Cloud and Toloka to try DAGs on. It listens on the loopback address only.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_what_is_there(parser)
    _add_who_is_let_in(parser)
    _add_limits(parser)
    _add_what_is_unknown(parser)
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="stop when the standard input is closed"
    )
    chosen = vars(parser.parse_args(arguments))
    stops_with_stdin: bool = chosen["stop_with_stdin"]
    return Settings(**{name: chosen[name] for name in _DEFAULTS.__dataclass_fields__}), stops_with_stdin


def _add_what_is_there(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", type=_port, default=_DEFAULTS.port, help="the port; 0 takes a free one")
    add("--issues", type=_count, default=_DEFAULTS.issues, help="how many Jira issues to seed")
    add("--seed", type=_whole, default=_DEFAULTS.seed, help="the same seed gives the same data")
    add("--job-seconds", type=_seconds, default=_DEFAULTS.job_seconds, help="how long a job takes")
    add("--state-file", help="the SQLite file that keeps the state (default: kept in memory)")


def _add_who_is_let_in(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth",
        choices=choices_of("auth"),
        default=_DEFAULTS.auth,
        help="which credentials are let in: the sandbox's own, any, or none needed",
    )
    parser.add_argument(
        "--scopes", default=_DEFAULTS.scopes, help="what tokens may do through Jira's gateway"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--issues-per-task",
        type=_count,
        default=_DEFAULTS.issues_per_task,
        help="how many issues one archive by JQL may match",
    )
    parser.add_argument(
        "--issues-per-export",
        type=_count,
        default=_DEFAULTS.issues_per_export,
        help="how many archived issues one export may hold",
    )


def _add_what_is_unknown(parser: argparse.ArgumentParser) -> None:
    unknown = parser.add_argument_group("what the services' references leave open")
    for name, what in UNKNOWN.items():
        option, default = f"--{name.replace('_', '-')}", getattr(_DEFAULTS, name)
        unknown.add_argument(option, choices=choices_of(name), default=default, help=what)


def _serve(settings: Settings) -> int:
    from airflow_provider_archival.sandbox import jira, toloka
    from airflow_provider_archival.sandbox.app import build_app
    from airflow_provider_archival.sandbox.server import Server, bind
    from airflow_provider_archival.sandbox.world import World

    try:
        listening = bind(settings.port)
    except OSError as error:
        return _fail(
            f"Can't listen on port {settings.port}: {error.strerror}. Choose another one with --port."
        )
    with listening:
        try:
            world = World.of(settings)
            for service in (jira, toloka):
                service.seed(world)
        except sqlite3.Error as error:
            if settings.state_file is None:
                raise
            return _fail(f"Can't use the state file {settings.state_file}: {error}.")
        world.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = build_app(world)
        server = Server(app, lambda: _announce(world.base_url), app.state.faults.drop_held)
        # The server stops by itself on both, then raises the signal once more for us.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listening])
        world.database.close()
    return 0


def _announce(base_url: str) -> None:
    lines = [f"Sandbox: {base_url} (stop it with Ctrl-C)", ""]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in airflow_connections(base_url).items()]
    print("\n".join(lines), flush=True)  # noqa: T201


def _stop_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _fail(message: str) -> int:
    print(f"archival-sandbox: {message}", file=sys.stderr)  # noqa: T201
    return 1


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error


def _port(text: str) -> int:
    number = _whole(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port: want 0 to 65535")
    return number


def _count(text: str) -> int:
    number = _whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: want seconds from 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
