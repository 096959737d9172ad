"""What a person can choose about a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """
    How a sandbox behaves.

    :param port: the loopback port; 0 takes a free one.
    :param issues: how many Jira issues are seeded.
    :param seed: the random seed; the same seed gives the same issues and Toloka projects.
    :param job_seconds: how long a job takes, in seconds of the sandbox's clock.
    :param state_file: the SQLite file that keeps the state; None keeps it in memory.
    :param auth: ``strict`` answers as the services do; ``any`` takes any credentials, but still wants some;
        ``off`` wants none.
    :param issues_per_task: how many issues one archive by JQL may match.
    :param issues_per_export: how many archived issues one export may hold.
    :param range_ends: which ends of an export's range of dates belong to it, which Jira's reference leaves
        open: ``both``, ``first`` or ``none``.
    :param over_limit: what a JQL gets that matches more, which Jira's reference leaves open: ``refuse``
        answers 400, ``first`` archives the first ones.
    """

    port: int = 0
    issues: int = 1000
    seed: int = 1
    job_seconds: float = 3.0
    state_file: str | None = None
    auth: Literal["strict", "any", "off"] = "strict"
    issues_per_task: int = 100_000
    issues_per_export: int = 1_000_000
    range_ends: Literal["both", "first", "none"] = "first"
    over_limit: Literal["refuse", "first"] = "refuse"
