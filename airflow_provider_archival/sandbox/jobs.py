"""Jobs that run by the clock: Jira's tasks and Toloka's operations have one life cycle here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_archival.sandbox.clock import Clock
from airflow_provider_archival.sandbox.database import Database

QUEUED, RUNNING, CANCELLING = "QUEUED", "RUNNING", "CANCELLING"
DONE, FAILED, CANCELLED, DEAD = "DONE", "FAILED", "CANCELLED", "DEAD"


@dataclass(frozen=True)
class Job:
    """
    One job as it stands at a moment; times are epoch seconds.

    :param shown: what its service answers in place of the job's own fields, by the service's names.
    """

    id: str
    service: str
    kind: str
    status: str
    progress: int
    submitted: float
    started: float | None
    ended: float | None
    changed: float
    submitted_by: str
    payload: dict[str, Any]
    result: Any
    message: Any
    shown: dict[str, Any]

    @property
    def is_over(self) -> bool:
        return self.ended is not None


@dataclass(frozen=True)
class Outcome:
    """What the work of a job came to: its final status, its result, a message."""

    status: str = DONE
    result: Any = None
    message: Any = None


Work = Callable[[Job], Outcome]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, service TEXT NOT NULL, kind TEXT NOT NULL, submitted_by TEXT NOT NULL,
    payload TEXT NOT NULL, submitted REAL NOT NULL, seconds REAL NOT NULL,
    held REAL NOT NULL DEFAULT 0, frozen REAL, cancelling REAL, ended REAL,
    status TEXT, progress INTEGER, result TEXT, message TEXT, forgotten INTEGER NOT NULL DEFAULT 0, shown TEXT
);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (submitted + held + seconds)
    WHERE ended IS NULL AND frozen IS NULL;
CREATE INDEX IF NOT EXISTS jobs_cancelling ON jobs (cancelling) WHERE ended IS NULL AND frozen IS NULL;
"""


_AN_OLDER_FILE = """
ALTER TABLE jobs ADD COLUMN shown TEXT;
UPDATE jobs SET message = json_quote(message) WHERE message IS NOT NULL;
"""


class Jobs:
    """
    All jobs of a sandbox.

    A job is queued for the first twentieth of its time, then runs, then its *work* is done at once and its
    outcome is kept.
    Time passes only when somebody looks: call :meth:`settle` before answering a request.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._work: dict[tuple[str, str], Work] = {}
        # A job's work is done once, whichever threads look at it.
        self._working = threading.RLock()
        database.script(_SCHEMA)
        if not database.value("SELECT count(*) FROM pragma_table_info('jobs') WHERE name = 'shown'"):
            database.script(_AN_OLDER_FILE)

    def register(self, service: str, kind: str, work: Work) -> None:
        """Say what a kind of job does when its time has come."""
        self._work[service, kind] = work

    def submit(
        self, id: str, service: str, kind: str, payload: dict[str, Any], seconds: float, submitted_by: str
    ) -> Job:
        """Start a job; one of 0 seconds is over at once."""
        self._database.execute(
            "INSERT INTO jobs (id, service, kind, submitted, seconds, submitted_by, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (id, service, kind, self._clock.now(), seconds, submitted_by, json.dumps(payload)),
        )
        self.settle()
        job = self.get(id)
        assert job is not None
        return job

    def settle(self) -> None:
        """Do the work of each job whose time has come."""
        now = self._clock.now()
        for row in self._database.rows(
            "SELECT * FROM jobs WHERE ended IS NULL AND frozen IS NULL"
            " AND (submitted + held + seconds <= ? OR cancelling <= ?)"
            " ORDER BY submitted + held + seconds, rowid",
            (now, now),
        ):
            due = row["submitted"] + row["held"] + row["seconds"]
            cancelled_at = (
                None if row["cancelling"] is None else row["cancelling"] + min(0.5, row["seconds"] / 10)
            )
            if due <= now and (cancelled_at is None or due <= cancelled_at):
                self._do(row["id"], due)
            elif cancelled_at is not None and cancelled_at <= now:
                self.end(row["id"], Outcome(CANCELLED, message="The task was cancelled."), at=cancelled_at)

    def get(self, id: str) -> Job | None:
        row = self._database.row("SELECT * FROM jobs WHERE id = ? AND NOT forgotten", (id,))
        return None if row is None else self._as_job(row)

    def all(self, service: str | None = None) -> list[Job]:
        """Every job that is not forgotten, in the order of submission."""
        rows = self._database.rows("SELECT * FROM jobs WHERE NOT forgotten ORDER BY submitted, rowid")
        return [self._as_job(row) for row in rows if service in (None, row["service"])]

    def running(self, service: str, *kinds: str) -> Job | None:
        """Return a job of these kinds that is not over, if there is one."""
        row = self._database.row(
            "SELECT * FROM jobs WHERE service = ? AND ended IS NULL AND NOT forgotten"
            " AND kind IN (SELECT value FROM json_each(?))",
            (service, json.dumps(kinds)),
        )
        return None if row is None else self._as_job(row)

    def cancel(self, id: str) -> None:
        """Ask a job to stop; it does soon after, unless it is frozen or over first."""
        self._database.execute(
            "UPDATE jobs SET cancelling = ? WHERE id = ? AND ended IS NULL AND cancelling IS NULL",
            (self._clock.now(), id),
        )

    def freeze(self, id: str) -> None:
        """Stop a job's time."""
        self._database.execute(
            "UPDATE jobs SET frozen = ? WHERE id = ? AND ended IS NULL AND frozen IS NULL",
            (self._clock.now(), id),
        )

    def show(self, id: str, fields: dict[str, Any]) -> None:
        """Let a job look as told, and stand still, until it is thawed or ended."""
        self._database.execute("UPDATE jobs SET shown = ? WHERE id = ?", (json.dumps(fields), id))
        self.freeze(id)

    def thaw(self, id: str) -> None:
        """Let a frozen job's time go on from where it stopped, and show it as it is."""
        self._database.execute("UPDATE jobs SET shown = NULL WHERE id = ?", (id,))
        self._database.execute(
            "UPDATE jobs SET held = held + ? - frozen, frozen = NULL WHERE id = ? AND frozen IS NOT NULL",
            (self._clock.now(), id),
        )

    def finish(self, id: str, **outcome: Any) -> None:
        """Do a job's work now; a ``result`` or a ``message`` takes the place of the work's own."""
        self._do(id, self._clock.now(), outcome)

    def clear(self) -> None:
        """Drop all jobs."""
        self._database.execute("DELETE FROM jobs")

    def forget(self, id: str) -> None:
        """Make a job unknown, as the services do after some days."""
        self._database.execute("UPDATE jobs SET forgotten = 1 WHERE id = ?", (id,))

    def end(self, id: str, outcome: Outcome, at: float | None = None) -> None:
        """End a job that is not over yet with this outcome, doing none of its work."""
        job = self.get(id)
        progress = 100 if outcome.status == DONE else (job.progress if job else 0)
        self._database.execute(
            "UPDATE jobs SET ended = ?, frozen = NULL, shown = NULL, status = ?, progress = ?, result = ?,"
            " message = ? WHERE id = ? AND ended IS NULL",
            (
                self._clock.now() if at is None else at,
                outcome.status,
                progress,
                json.dumps(outcome.result),
                None if outcome.message is None else json.dumps(outcome.message),
                id,
            ),
        )

    def _do(self, id: str, at: float, outcome: dict[str, Any] | None = None) -> None:
        with self._working:
            row = self._database.row("SELECT * FROM jobs WHERE id = ?", (id,))
            if row is None or row["ended"] is not None:
                return
            work = self._work.get((row["service"], row["kind"]))
            # What it does, it did when its time had come, which may be a while ago.
            came_to = work(replace(self._as_job(row), ended=at)) if work else Outcome()
            self.end(id, replace(came_to, **(outcome or {})), at)

    def _as_job(self, row: Any) -> Job:
        now = self._clock.now()
        started_at = row["submitted"] + row["seconds"] / 20
        elapsed = (row["frozen"] or row["ended"] or now) - row["submitted"] - row["held"]
        share = min(1.0, elapsed / row["seconds"]) if row["seconds"] else 1.0
        if row["ended"] is not None:
            status, progress = row["status"], row["progress"]
        elif row["cancelling"] is not None:
            status, progress = CANCELLING, int(share * 99)
        elif share < 0.05:
            status, progress = QUEUED, 0
        else:
            status, progress = RUNNING, int(share * 99)
        return Job(
            id=row["id"],
            service=row["service"],
            kind=row["kind"],
            status=status,
            progress=progress,
            submitted=row["submitted"],
            started=None if status == QUEUED else min(started_at, row["ended"] or started_at),
            ended=row["ended"],
            changed=row["ended"] or row["frozen"] or now,
            submitted_by=row["submitted_by"],
            payload=json.loads(row["payload"]),
            result=json.loads(row["result"]) if row["result"] else None,
            message=json.loads(row["message"]) if row["message"] else None,
            shown=json.loads(row["shown"]) if row["shown"] else {},
        )
