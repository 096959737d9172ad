"""The state that all parts of a sandbox share."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

from airflow_provider_archival.sandbox.clock import Clock
from airflow_provider_archival.sandbox.database import Database
from airflow_provider_archival.sandbox.jobs import Jobs
from airflow_provider_archival.sandbox.settings import Settings


@dataclass
class World:
    """
    One sandbox: its settings, clock, database and jobs, its address, and what it counted.

    :param base_url: ``http://127.0.0.1:<port>``, set once the port is known.
    :param scopes: what tokens may do through Jira's gateway.
    :param endless: Toloka's lists that have no end, by name: ``same``, the first page comes again and again,
        or ``new``, items are made up, numbered by ``made_up``.
    :param counters: numbers by name: ``issues_archived``, ``issues_unarchived``, and for every kind of job
        ``jobs_submitted.<kind>``; the polls per job are in ``polls``.
    """

    settings: Settings
    clock: Clock
    database: Database
    jobs: Jobs
    base_url: str = "http://127.0.0.1"
    scopes: str = ""
    endless: dict[str, str] = field(default_factory=dict)
    made_up: Iterator[int] = field(default_factory=count)
    counters: Counter[str] = field(default_factory=Counter)
    polls: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, settings: Settings) -> World:
        clock = Clock()
        database = Database(settings.state_file)
        database.script("CREATE TABLE IF NOT EXISTS clock (offset REAL NOT NULL)")
        clock.offset = database.value("SELECT offset FROM clock") or 0.0
        return cls(settings, clock, database, Jobs(database, clock), scopes=settings.scopes)

    def set_clock(self, offset: float) -> None:
        """Move the clock to this distance from real time; a state file keeps it."""
        self.clock.offset = offset
        with self.database.transaction():
            self.database.execute("DELETE FROM clock")
            self.database.execute("INSERT INTO clock VALUES (?)", (offset,))

    @cached_property
    def scratch(self) -> Path:
        """A directory for files that go when the sandbox goes."""
        path = Path(tempfile.mkdtemp(prefix="archival-sandbox-"))
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return path
