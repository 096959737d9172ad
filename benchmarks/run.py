"""
Measures what a run costs as it grows, and writes ``RESULTS.md``: ``python benchmarks/run.py``.

Each measurement has a sandbox and a process of its own. What a figure is compared with is measured in the
same process, right after it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow_provider_archival.sandbox.client import Sandbox

HERE = Path(__file__).parent
# What, how large, the sandbox's settings.
CASES: list[tuple[str, str, list[tuple[int, dict[str, Any]]]]] = [
    (
        "keys",
        "Archive by key",
        [(number, {"issues": 4 * number}) for number in (10_000, 30_000, 100_000)],
    ),
    (
        "jql",
        "Archive by JQL",
        [(number, {"issues": number}) for number in (10_000, 100_000, 1_000_000)],
    ),
    (
        "export",
        "Export to a file",
        [
            (number, {"issues": number, "issues_per_task": 2_000_000, "issues_per_export": 2_000_000})
            for number in (10_000, 100_000, 1_100_000)
        ],
    ),
    ("pools", "Archive a Toloka project with its pools", [(number, {}) for number in (50, 500, 5_000)]),
]
# What has to hold: of which figure, for the largest, at most.
BOUNDS = {
    "keys": {"requests": 100, "ratio": 1.15, "MiB above the input": 60},
    "export": {"MiB": 200, "two files merged, MiB": 200},
    "pools": {"requests a poll": 20, "most in a second": 300},
}


def measure(what: str, number: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one measurement."""
    with Sandbox(**{"job_seconds": 0 if what != "pools" else 5, **settings}) as sandbox:
        environment = {**os.environ, **sandbox.airflow_connections(), "SANDBOX": sandbox.base_url}
        done = subprocess.run(
            [sys.executable, str(HERE / "measure.py"), what, str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(what, number, found, flush=True)
    return found


def table(rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    names = list(rows[0][1])
    return [
        f"| | {' | '.join(names)} |",
        "|" + "--:|" * (len(names) + 1),
        *(f"| {number:,} | {' | '.join(shown(found[name]) for name in names)} |" for number, found in rows),
    ]


def shown(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def main() -> int:
    lines = [
        "# Results",
        "",
        f"`make benchmarks`, on Python {platform.python_version()} and {os.cpu_count()} cores, against the"
        " sandbox on the same machine, whose jobs take no time of their own.",
        "A ratio compares with the same requests, sent by nothing but a loop, in the same process.",
        "MiB are what the process's peak grew by.",
    ]
    broken = []
    for what, title, sizes in CASES:
        rows = [(number, measure(what, number, settings)) for number, settings in sizes]
        lines += ["", f"## {title}", "", *table(rows)]
        bounds = BOUNDS.get(what, {})
        broken += [
            f"{what}: {name} is {rows[-1][1][name]}, more than {most}"
            for name, most in bounds.items()
            if rows[-1][1][name] > most
        ]
        if bounds:
            told = ", ".join(f"{name} {most}" for name, most in bounds.items())
            lines += ["", f"Bounds for the largest: {told}."]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(broken) or "All bounds hold.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
