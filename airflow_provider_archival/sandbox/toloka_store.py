"""Toloka's projects, pools and trainings in the database, the ones that every sandbox has among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_archival.sandbox.database import Database
from airflow_provider_archival.sandbox.world import World

PROJECT_READY = "10001"
PROJECT_WITHOUT_POOLS = "10002"
PROJECT_WITH_OPEN_POOL = "10003"
PROJECT_WITH_TRAINING = "10004"
PROJECT_ARCHIVED = "10005"
PROJECT_WITH_LOCKED_POOL = "10006"
PROJECT_WITH_REJECTIONS = "10007"
PROJECT_OF_ANOTHER_REQUESTER = "10008"
PROJECTS_WITH_CLOSED_POOLS = ("10011", "10012", "10013", "10014", "10015", "10016")

# What these projects have: each pool's status, each training's status.
_POOLS: dict[str, Sequence[str]] = {
    PROJECT_READY: ("ARCHIVED", "ARCHIVED", "ARCHIVED"),
    PROJECT_WITHOUT_POOLS: (),
    PROJECT_WITH_OPEN_POOL: ("OPEN", "CLOSED"),
    PROJECT_WITH_TRAINING: ("CLOSED", "CLOSED"),
    PROJECT_ARCHIVED: ("ARCHIVED", "ARCHIVED"),
    PROJECT_WITH_LOCKED_POOL: ("LOCKED", "ARCHIVED"),
    PROJECT_WITH_REJECTIONS: ("CLOSED",),
    PROJECT_OF_ANOTHER_REQUESTER: ("ARCHIVED",),
    **dict.fromkeys(PROJECTS_WITH_CLOSED_POOLS, ("CLOSED", "CLOSED")),
}
_TRAININGS: dict[str, Sequence[str]] = {PROJECT_WITH_TRAINING: ("CLOSED",)}

REJECTION_SECONDS = 9 * 86400
_DAY = 86400.0
_STATUSES = ("OPEN", "CLOSED", "ARCHIVED", "LOCKED")
_MOST_POOLS = 100_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS toloka_projects (
    id INTEGER PRIMARY KEY, status TEXT NOT NULL, created REAL NOT NULL, public_name TEXT NOT NULL,
    private_comment TEXT NOT NULL, is_ours INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS toloka_trainings (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    last_started REAL, last_stopped REAL
);
CREATE TABLE IF NOT EXISTS toloka_pools (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    last_started REAL, last_stopped REAL, training_id INTEGER, rejected REAL
);
CREATE INDEX IF NOT EXISTS toloka_pools_by_project ON toloka_pools (project_id);
CREATE INDEX IF NOT EXISTS toloka_trainings_by_project ON toloka_trainings (project_id);
"""


def seed(world: World) -> None:
    """Make the tables, and fill them if they are empty."""
    world.database.script(_SCHEMA)
    if world.database.value("SELECT COUNT(*) FROM toloka_projects") == 0:
        _fill(world)


def wipe(world: World) -> None:
    for table in ("toloka_projects", "toloka_pools", "toloka_trainings"):
        world.database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    _fill(world)


def _fill(world: World) -> None:
    now, database = world.clock.now(), world.database
    with database.transaction():
        for number, (project_id, pools) in enumerate(_POOLS.items()):
            created = now - (400 + 10 * number) * _DAY
            is_ours = project_id != PROJECT_OF_ANOTHER_REQUESTER
            status = "ARCHIVED" if project_id == PROJECT_ARCHIVED else "ACTIVE"
            _insert_project(
                database, int(project_id), status, created, f"Sandbox project {project_id}", is_ours
            )
            trainings = _insert_trainings(database, project_id, _TRAININGS.get(project_id, ()), created)
            _insert_pools(database, project_id, pools, created, trainings[0] if trainings else None)
        database.execute(
            "UPDATE toloka_pools SET rejected = ? WHERE project_id = ?",
            (now - 3 * _DAY, int(PROJECT_WITH_REJECTIONS)),
        )


def add_project(world: World, wanted: dict[str, Any]) -> dict[str, Any]:
    """
    Add a project with ``pools`` pools and ``trainings`` trainings, all in ``status``, and return their ids.

    ``name`` is its public name. Raises ValueError with what is wrong.
    """
    unknown = set(wanted) - {"pools", "trainings", "status", "name"}
    pools, trainings = wanted.get("pools", 0), wanted.get("trainings", 0)
    status, name = wanted.get("status", "CLOSED"), wanted.get("name", "Added project")
    if unknown:
        raise ValueError("unknown: " + ", ".join(sorted(unknown)))
    for number in (pools, trainings):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_POOLS:
            raise ValueError(f"pools and trainings: want whole numbers from 0 to {_MOST_POOLS}")
    if status not in _STATUSES:
        raise ValueError("status: want one of " + ", ".join(_STATUSES))
    now, database = world.clock.now(), world.database
    with database.transaction():
        project_id = str(database.value("SELECT MAX(id) + 1 FROM toloka_projects"))
        _insert_project(database, int(project_id), "ACTIVE", now, str(name), is_ours=True)
        training_ids = _insert_trainings(database, project_id, [status] * trainings, now)
        pool_ids = _insert_pools(database, project_id, [status] * pools, now, None)
    return {
        "id": project_id,
        "pools": [str(id) for id in pool_ids],
        "trainings": [str(id) for id in training_ids],
    }


def _insert_project(
    database: Database, id: int, status: str, created: float, name: str, is_ours: bool
) -> None:
    database.execute(
        "INSERT INTO toloka_projects VALUES (?, ?, ?, ?, ?, ?)",
        (id, status, created, name, "Made by the sandbox", is_ours),
    )


def _insert_trainings(
    database: Database, project_id: str, statuses: Sequence[str], created: float
) -> list[int]:
    first = database.value("SELECT COALESCE(MAX(id), 300000) + 1 FROM toloka_trainings")
    database.execute_many(
        "INSERT INTO toloka_trainings VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                first + number,
                int(project_id),
                status,
                created + number,
                created + 60,
                _stopped(status, created),
            )
            for number, status in enumerate(statuses)
        ),
    )
    return list(range(first, first + len(statuses)))


def _insert_pools(
    database: Database, project_id: str, statuses: Sequence[str], created: float, training_id: int | None
) -> list[int]:
    first = database.value("SELECT COALESCE(MAX(id), 200000) + 1 FROM toloka_pools")
    database.execute_many(
        "INSERT INTO toloka_pools VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            (
                *(
                    first + number,
                    int(project_id),
                    status,
                    created + number,
                    created + 60,
                    _stopped(status, created),
                ),
                training_id,
            )
            for number, status in enumerate(statuses)
        ),
    )
    return list(range(first, first + len(statuses)))


def _stopped(status: str, created: float) -> float | None:
    return None if status == "OPEN" else created + 3600
