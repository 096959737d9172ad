"""
All that a third service needs, as CONTRIBUTING.md tells it, for a service that packs boxes: "Shelf".

In the package each part would be a module of its own: its name stands above it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from airflow_provider_archival.api.flow import Flow, ask, nothing
from airflow_provider_archival.api.http import Repeat, Request, Response, checked_id, path_of
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.hooks.auth import HeaderAuth
from airflow_provider_archival.hooks.base import ServiceHook
from airflow_provider_archival.hooks.hosts import checked_url
from airflow_provider_archival.hooks.site import Extra, Site, token_of
from airflow_provider_archival.operators.base import JobOperator
from airflow_provider_archival.operators.parsing import required, text_of
from airflow_provider_archival.plans.base import (
    Event,
    Finish,
    Found,
    Json,
    Lost,
    Plan,
    Sent,
    Since,
    Started,
    Step,
    Submit,
    search,
)
from airflow_provider_archival.sensors.base import JobSensor
from airflow_provider_archival.triggers.base import JobTrigger

# --- api/shelf.py: what the service says ---


@dataclass(frozen=True)
class Box:
    """
    A box, as it stood when it was looked at.

    :param status: ``packing``, ``packed`` or ``broken``
    :param created: in epoch seconds of the service's clock
    """

    id: str
    status: str
    content: str = ""
    created: float | None = None

    @property
    def progress(self) -> float | None:
        return None

    @property
    def is_final(self) -> bool:
        return self.status in ("packed", "broken")

    @property
    def succeeded(self) -> bool:
        return self.status == "packed"

    @property
    def is_documented(self) -> bool:
        return self.is_final or self.status == "packing"

    @property
    def said(self) -> str:
        return f"the box of {self.content or 'nothing'} is {self.status}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Box:
        return cls(str(values["id"]), str(values["status"]), values["content"], values["created"])


def pack(content: str) -> Request[Box]:
    """Start to pack a box: a second request would start a second one."""
    return Request(
        "POST", "/boxes", _box, json={"content": content}, repeat=Repeat.AFTER_A_LOOK, voice=shelfs
    )


def get_box(box_id: str) -> Request[Box]:
    return Request("GET", path_of("boxes", box_id), _box, voice=shelfs, route="/boxes/{id}")


def list_boxes(content: str) -> Request[list[Box]]:
    def parse(response: Response) -> list[Box]:
        return [Box.from_dict(one) for one in response.json()["boxes"]]

    return Request("GET", "/boxes", parse, query={"content": content}, voice=shelfs)


def _box(response: Response) -> Box:
    return Box.from_dict(response.json())


# --- api/voices.py ---


def shelfs(response: Response) -> bool:
    """Say whether an error is Shelf's own: ``{"error": "..."}``."""
    try:
        said = response.json()
    except ValueError:
        return False
    return isinstance(said, dict) and isinstance(said.get("error"), str)


# --- api/jobs.py ---

BOX: JobKind[Box] = JobKind(
    name="shelf_box",
    type=Box,
    service="Shelf",
    word="box",
    id_key="box_id",
    conn_key="shelf_conn_id",
    hook="shelf.ShelfHook",
    trigger="shelf.BoxTrigger",
    id_of=lambda text: checked_id(text, "box_id"),
    read=Box.from_dict,
    unseen=lambda id: Box(id, "not seen yet"),
    looker=lambda box: lambda: ask(get_box(box.id)),
    kept=Box.to_dict,
)


# --- hooks/shelf.py ---


class ShelfHook(ServiceHook):
    conn_name_attr = "shelf_conn_id"
    default_conn_name = "shelf_default"
    conn_type = "shelf"
    hook_name = "Shelf"
    service = "Shelf"
    job_word = "box"

    def site_of(self, connection: Any, extra: Mapping[str, Any]) -> Site:
        fields = Extra(self._conn_id, extra)
        return Site(
            checked_url(self._conn_id, "host", connection.host or "", allow_http=False),
            HeaderAuth.token("Bearer", token_of(self._conn_id, "password", connection.password)),
            timeout=fields.timeout(),
            verify=fields.verify(),
            proxies=fields.proxies(),
            conn_id=self._conn_id,
        )


# --- plans/shelf_box.py ---


@dataclass(frozen=True)
class BoxState:
    """Whether the box was begun, and since when it may have been, by the service's clock."""

    begin: float
    is_begun: bool = False


@dataclass(frozen=True)
class PackBox(Plan[BoxState, str, Box]):
    """
    Pack a box.

    :param content: what it is for
    :param now: the time now, in epoch seconds
    """

    content: str
    now: float

    name: ClassVar[str] = "shelf_box"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (BOX,)
    state: ClassVar[type[BoxState]] = BoxState
    lists_jobs: ClassVar[bool] = True

    def asked(self) -> Mapping[str, Json]:
        return {"content": self.content}

    def begin(self, since: Since) -> Flow[BoxState]:
        return nothing(BoxState(since.at(None, self.now)))

    def next(self, state: BoxState) -> Flow[tuple[BoxState, Step[str]]]:
        return nothing((state, Finish() if state.is_begun else Submit(self.content)))

    def send(self, what: str) -> Flow[Sent[Box]]:
        return Sent((yield from ask(pack(what))))

    def find(self, state: BoxState, what: str, since: Since, attempt: int) -> Flow[Found[Box] | None]:
        def look() -> Flow[Found[Box] | None]:
            boxes = yield from ask(list_boxes(what))
            ours = [box for box in boxes if box.status != "broken" and (box.created or 0) >= state.begin - 60]
            return Found(ours[-1]) if ours else None

        return search(look, attempt)

    def after(self, state: BoxState, event: Event[str]) -> BoxState:
        if isinstance(event, Started):
            return replace(state, is_begun=True)
        if isinstance(event, Lost):
            return replace(state, is_begun=bool(event.kept))
        return state

    def result(self, state: BoxState, jobs: tuple[Box, ...]) -> Flow[dict[str, Any]]:
        return nothing(jobs[-1].to_dict())


# --- triggers/shelf.py ---


class BoxTrigger(JobTrigger):
    kind = BOX

    def __init__(
        self,
        box_id: str,
        shelf_conn_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            box_id=box_id,
            shelf_conn_id=shelf_conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            carried=carried,
        )


# --- operators/shelf_box.py ---


class PackBoxOperator(JobOperator):
    template_fields: Sequence[str] = ("content", "shelf_conn_id")
    kind = BOX

    def __init__(self, *, content: str, shelf_conn_id: str = "shelf_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.content = content
        self.shelf_conn_id = shelf_conn_id

    def plan(self) -> PackBox:
        return PackBox(text_of(required(self.content, "content"), "content") or "", time.time())


# --- sensors/shelf.py ---


class BoxSensor(JobSensor):
    template_fields: Sequence[str] = ("box_id", "shelf_conn_id")
    kind = BOX

    def __init__(self, *, box_id: str, shelf_conn_id: str = "shelf_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.box_id = box_id
        self.shelf_conn_id = shelf_conn_id


# --- the service itself, for the tests ---


@dataclass
class Shelf:
    """
    Answers as the service would: a box is packed when it was looked at a few times.

    :param looks: how often that is
    :param end: how a box ends
    """

    looks: int = 2
    end: str = "packed"
    boxes: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    on_pack: Iterator[str] = field(default_factory=lambda: iter(()))
    """What becomes of the next requests for a box: ``lost`` (it is packed), ``page`` (too) or ``refused``."""

    def answer(self, method: str, target: str, body: Callable[[], Any]) -> tuple[int, Any] | None:
        path, _, query = target.partition("?")
        if method == "POST" and path == "/boxes":
            return self._pack(body()["content"])
        if path == "/boxes":
            return 200, {"boxes": [box for box in self.boxes if query == f"content={box['content']}"]}
        box = next((box for box in self.boxes if path == f"/boxes/{box['id']}"), None)
        if box is None:
            return 404, {"error": "no such box"}
        self.seen[box["id"]] = self.seen.get(box["id"], 0) + 1
        if box["status"] == "packing" and self.seen[box["id"]] >= self.looks:
            box["status"] = self.end
        return 200, box

    def _pack(self, content: str) -> tuple[int, Any] | None:
        fate = next(self.on_pack, "")
        if fate == "refused":
            return 400, {"error": "no such content"}
        box = {
            "id": f"b{len(self.boxes) + 1}",
            "status": "packing",
            "content": content,
            "created": time.time(),
        }
        self.boxes.append(box)
        return None if fate == "lost" else (502, "<html>Bad gateway</html>") if fate == "page" else (201, box)
