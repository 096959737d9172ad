"""Toloka's archival endpoints, one function each, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_archival.api.clean import bounded, json_words, name_of, shorten, word_of
from airflow_provider_archival.api.flow import Flow, ask
from airflow_provider_archival.api.http import (
    Repeat,
    Request,
    Response,
    checked_id,
    path_of,
    percent_of,
)
from airflow_provider_archival.api.times import time_of
from airflow_provider_archival.api.voices import tolokas


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T")
Item = TypeVar("Item", bound=_HasId)

PROJECT_ARCHIVE = "PROJECT.ARCHIVE"
POOL_ARCHIVE, POOL_CLOSE = "POOL.ARCHIVE", "POOL.CLOSE"
TRAINING_ARCHIVE, TRAINING_CLOSE = "TRAINING.ARCHIVE", "TRAINING.CLOSE"
MAX_OPERATIONS_PER_PAGE = 500
MAX_POOLS_PER_PAGE = 300
MOST_PAGES = 2_000
"""How many pages of one list are read, at most; a list of more is none that can be believed."""

_GOOD, _BAD, _GOING_ON = frozenset({"SUCCESS"}), frozenset({"FAIL"}), frozenset({"PENDING", "RUNNING"})


@dataclass(frozen=True)
class TolokaOperation:
    """
    An operation of Toloka's, as it stood when it was looked at.

    :param id: the operation's id
    :param type: such as ``PROJECT.ARCHIVE``
    :param status: ``PENDING``, ``RUNNING``, ``SUCCESS``, ``FAIL``, or one that is not documented
    :param progress: 0 to 100; None when Toloka did not say
    :param parameters: what it works on, such as ``{"project_id": "1"}``
    :param details: Toloka's own words on the outcome, any JSON; this and ``parameters`` are cut, with a note,
        where they are longer than 8 KiB
    :param submitted: ISO 8601, UTC; so are ``started`` and ``finished``
    """

    id: str
    type: str
    status: str
    progress: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    details: Any = None
    submitted: str | None = None
    started: str | None = None
    finished: str | None = None

    @property
    def is_final(self) -> bool:
        return self.status in _GOOD or self.status in _BAD

    @property
    def succeeded(self) -> bool:
        return self.status in _GOOD

    @property
    def is_documented(self) -> bool:
        return self.is_final or self.status in _GOING_ON

    @property
    def said(self) -> str:
        """What Toloka says of the operation's outcome, in one line, without a full stop."""
        said = str(self.details) if self.details not in (None, {}, []) else "no details"
        return shorten(said).rstrip(".")

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for XCom; the id is under ``operation_id``."""
        return {
            "operation_id": self.id,
            "type": self.type,
            "status": self.status,
            "progress": self.progress,
            "parameters": dict(self.parameters),
            "details": self.details,
            "submitted": self.submitted,
            "started": self.started,
            "finished": self.finished,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TolokaOperation:
        """The inverse of :meth:`to_dict`."""
        rest = {name: value for name, value in values.items() if name != "operation_id"}
        return cls(id=values["operation_id"], **rest)


@dataclass(frozen=True)
class TolokaPool:
    """A pool or a training; its status is ``OPEN``, ``CLOSED``, ``ARCHIVED`` or ``LOCKED``."""

    id: str
    project_id: str
    status: str
    name: str = ""

    @property
    def is_archived(self) -> bool:
        return self.status == "ARCHIVED"


@dataclass(frozen=True)
class TolokaProject:
    """A project: its id, its status (``ACTIVE``, ``ARCHIVED``), its public name."""

    id: str
    status: str
    name: str = ""

    @property
    def is_archived(self) -> bool:
        return self.status == "ARCHIVED"


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list, and whether there are more behind it."""

    items: tuple[Item, ...]
    has_more: bool


class Pages(Generic[Item]):
    """
    Go through a list page by page, whoever carries the requests: send :attr:`next`, :meth:`take` its value.

    A page that can't be a part of the whole list is an unreadable answer: one that says there are more behind
    it and has none itself, one with what was on a page before, one more after :data:`MOST_PAGES`. A list that
    says for ever that there are more comes to an end so, and never to a list that lacks something.

    :param page: makes the request for the page behind an id; None for the first
    """

    def __init__(self, page: Callable[[str | None], Request[Page[Item]]]) -> None:
        self._page = page
        self._seen: set[str] = set()
        self._taken = 0
        self.next: Request[Page[Item]] | None = self._behind(None)

    def take(self, page: Page[Item]) -> tuple[Item, ...]:
        """Return a page's items, and go on to the next page, if there is one."""
        self._seen.update(item.id for item in page.items)
        self._taken += 1
        self.next = self._behind(page.items[-1].id) if page.has_more else None
        return page.items

    def _behind(self, last: str | None) -> Request[Page[Item]]:
        request = self._page(last)
        return replace(request, parse=lambda response: self._checked(request.parse(response)))

    def _checked(self, page: Page[Item]) -> Page[Item]:
        if page.has_more and not page.items:
            raise ValueError("an empty page that says there are more behind it")
        if any(item.id in self._seen for item in page.items):
            raise ValueError("a page with what was on a page before: the list goes in a circle")
        if page.has_more and self._taken + 1 >= MOST_PAGES:
            raise ValueError(f"a list of more than {MOST_PAGES} pages")
        return page


def all_of(pages: Pages[Item]) -> Flow[list[Item]]:
    """Go through all pages, and return what is on them."""
    found: list[Item] = []
    while pages.next is not None:
        found += pages.take((yield from ask(pages.next)))
    return found


def archive_project(project_id: str) -> Request[TolokaOperation | None]:
    """Archive a project whose pools are archived; the value is None when it is archived already."""
    return _job("projects", project_id, "archive")


def archive_pool(pool_id: str) -> Request[TolokaOperation | None]:
    """Archive a closed pool; answers with the operation, or None when it is archived already."""
    return _job("pools", pool_id, "archive")


def archive_training(training_id: str) -> Request[TolokaOperation | None]:
    """Archive a closed training whose pools are archived; None when it is archived already."""
    return _job("trainings", training_id, "archive")


def close_pool(pool_id: str) -> Request[TolokaOperation | None]:
    """Close a pool, which stops the work in it; None when it is closed already."""
    return _job("pools", pool_id, "close")


def close_training(training_id: str) -> Request[TolokaOperation | None]:
    """Close a training; None when it is closed already."""
    return _job("trainings", training_id, "close")


def start(type: str, id: str) -> Request[TolokaOperation | None]:
    """Start an operation of a type such as ``POOL.ARCHIVE`` on a pool, training or project."""
    kind, _, verb = type.lower().partition(".")
    return _job(f"{kind}s", id, verb)


def get_operation(operation_id: str) -> Request[TolokaOperation]:
    """Look at an operation."""
    path = path_of("operations", checked_id(operation_id, "a Toloka operation's id"))
    return Request(
        "GET", path, lambda response: _operation(response.json()), voice=tolokas, route="/operations/{id}"
    )


def list_operations(
    *,
    type: str | None = None,
    status: str | None = None,
    submitted_gte: str | None = None,
    id_gt: str | None = None,
    limit: int = MAX_OPERATIONS_PER_PAGE,
) -> Request[Page[TolokaOperation]]:
    """List operations in the order of their ids, one page; the next begins after the last id (``id_gt``)."""
    wanted = {"type": type, "status": status, "submitted_gte": submitted_gte}
    return _list("operations", wanted, id_gt, limit, _operation)


def list_pools(
    project_id: str, *, status: str | None = None, id_gt: str | None = None, limit: int = MAX_POOLS_PER_PAGE
) -> Request[Page[TolokaPool]]:
    """List the pools of a project in the order of their ids, one page."""
    wanted = {"project_id": checked_id(project_id, "a Toloka project's id"), "status": status}
    return _list("pools", wanted, id_gt, limit, _pool)


def list_trainings(
    project_id: str, *, status: str | None = None, id_gt: str | None = None, limit: int = MAX_POOLS_PER_PAGE
) -> Request[Page[TolokaPool]]:
    """List the trainings of a project in the order of their ids, one page."""
    wanted = {"project_id": checked_id(project_id, "a Toloka project's id"), "status": status}
    return _list("trainings", wanted, id_gt, limit, _pool)


def all_operations(
    *, type: str | None = None, status: str | None = None, submitted_gte: str | None = None
) -> Pages[TolokaOperation]:
    """List operations in the order of their ids, all pages."""
    return Pages(
        lambda last: list_operations(type=type, status=status, submitted_gte=submitted_gte, id_gt=last)
    )


def all_members(type: str, project_id: str, status: str | None = None) -> Pages[TolokaPool]:
    """List the project's pools or trainings: those that operations of this type are for; all pages."""
    listed = list_trainings if type.startswith("TRAINING.") else list_pools
    return Pages(lambda last: listed(project_id, status=status, id_gt=last))


def get_project(project_id: str) -> Request[TolokaProject]:
    """Look at a project."""
    path = path_of("projects", checked_id(project_id, "a Toloka project's id"))
    return Request(
        "GET", path, lambda response: _project(response.json()), voice=tolokas, route="/projects/{id}"
    )


def requester() -> Request[str]:
    """Tell who the caller is: a name, or else an id. Proves a login."""
    return Request("GET", "/requester", _requester, voice=tolokas)


def _job(kind: str, id: str, verb: str) -> Request[TolokaOperation | None]:
    path = path_of(kind, checked_id(id, f"a Toloka {kind.removesuffix('s')}'s id"), verb)
    return Request(
        "POST",
        path,
        _operation_or_none,
        repeat=Repeat.AFTER_A_LOOK,
        voice=tolokas,
        route=f"/{kind}/{{id}}/{verb}",
    )


def _list(
    kind: str, wanted: Mapping[str, str | None], id_gt: str | None, limit: int, item: Callable[[Any], Item]
) -> Request[Page[Item]]:
    query = {name: value for name, value in {**wanted, "id_gt": id_gt}.items() if value is not None}

    def page(response: Response) -> Page[Item]:
        said = response.json()
        if not isinstance(said["items"], list):
            raise TypeError(f"items is no list: {json_words(said['items'])}")
        return Page(tuple(map(item, said["items"])), _flag(said["has_more"]))

    return Request("GET", f"/{kind}", page, query={**query, "sort": "id", "limit": str(limit)}, voice=tolokas)


def _operation_or_none(response: Response) -> TolokaOperation | None:
    return None if response.status == 204 else _operation(response.json())


def _flag(value: Any) -> bool:
    """Read true or false, as JSON or as text; anything else would be a guess at whether a list is whole."""
    found = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise TypeError(f"neither true nor false: {json_words(value)}")
    return found


def _operation(said: Any) -> TolokaOperation:
    parameters = said.get("parameters")
    return TolokaOperation(
        id=checked_id(said["id"], "a Toloka operation's id"),
        type=name_of(said["type"]),
        status=word_of(said["status"]),
        progress=percent_of(said.get("progress")),
        parameters=bounded(parameters) if isinstance(parameters, dict) else {},
        details=bounded(said.get("details")),
        submitted=time_of(said.get("submitted")),
        started=time_of(said.get("started")),
        finished=time_of(said.get("finished")),
    )


def _pool(said: Any) -> TolokaPool:
    return TolokaPool(
        id=checked_id(said["id"], "the id of a Toloka pool or training"),
        project_id=name_of(said["project_id"]),
        status=word_of(said["status"]),
        name=name_of(said.get("private_name")),
    )


def _project(said: Any) -> TolokaProject:
    return TolokaProject(
        id=checked_id(said["id"], "a Toloka project's id"),
        status=word_of(said["status"]),
        name=name_of(said.get("public_name")),
    )


def _requester(response: Response) -> str:
    said = response.json()
    names = said.get("public_name")
    names = list(names.values()) if isinstance(names, dict) else [names] if names else []
    return name_of(next(iter(names), said["id"]))
