"""Airflow's UI with the example DAGs, every part of Airflow behind it, and the sandbox; until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from playground import playground

PATIENCE = 180


def main() -> int:
    with playground(issues=1000, job_seconds=20) as ground:
        say("Making Airflow's database …")
        ground.prepare()
        port = free_port(8080)
        environment = {
            **ground.environment,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        }
        log = ground.home / "standalone.log"
        with log.open("w") as output:
            standalone = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if not is_up(f"http://127.0.0.1:{port}/api/v2/monitor/health", standalone):
                say(f"Airflow did not come up:\n{log.read_text()[-4000:]}")
                return 1
            say(f"Airflow:  http://127.0.0.1:{port}  (no login: everybody here is an admin)")
            say(f"Sandbox:  {ground.sandbox.base_url}  (jobs take 20 s; see docs/sandbox.md)")
            say(f"Log:      {log}")
            say("Open the DAG archival_quickstart and press Trigger. Ctrl-C stops everything.")
            return standalone.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            stop(standalone)


def is_up(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a page answers; False when the process ended, or :data:`PATIENCE` is over."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (our own address)
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process as Ctrl-C does, with time to end its own children; kill it when it does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(wanted: int) -> int:
    """Return the wanted port, or any other that is free."""
    for port in (wanted, 0):
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(found.getsockname()[1])
    raise SystemExit("No port is free.")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    # Ctrl-C and a polite kill end it the same way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
