"""A model of services that take one job at a time, and of an Airflow that can crash anywhere; no I/O."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import time_machine
from tries import Killed, Store

from airflow_provider_archival.api.http import Repeat, Request, Response

if TYPE_CHECKING:
    import pytest

LOOKS = 3
"""How many looks a job takes."""


class Effects:
    """
    What a try does in the world, one after the other; it can be killed before or after each.

    :param crash: at which effect, and ``before`` or ``after`` it; None for no crash
    """

    def __init__(self, crash: tuple[int, str] | None = None) -> None:
        self.crash, self.trace = crash, list[str]()

    def do(self, name: str, what: Callable[[], Any] = lambda: None) -> Any:
        self.trace.append(name)
        if self.crash == (len(self.trace), "before"):
            raise Killed
        value = what()
        if self.crash == (len(self.trace), "after"):
            raise Killed
        return value


class World:
    """What outlives a try: the services, and the clock."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.archived: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.asked: list[tuple[str, ...]] = []
        # Created a day apart, the first in 2020.
        self.issues = {
            f"A-{n}": time.strftime("%Y-%m-%d %H:%M", time.gmtime(1_577_836_800 + n * 86400))
            for n in range(30)
        }
        self.pools = {"1": ["pool", "OPEN"], "2": ["pool", "CLOSED"], "3": ["training", "CLOSED"]}
        self.project = "ACTIVE"

    # --- jobs ---

    def start(self, kind: str, what: Any, do: Callable[[], None]) -> dict[str, Any]:
        job = {"id": str(101 + len(self.jobs)), "kind": kind, "what": what, "left": LOOKS, "do": do}
        self.jobs.append({**job, "submitted": time.time()})
        running = sum(one["left"] > 0 and one["kind"] == kind for one in self.jobs)
        self.most_at_once[kind] = max(self.most_at_once[kind], running)
        return self.jobs[-1]

    def tick(self, job: dict[str, Any]) -> None:
        if job["left"] > 0:
            job["left"] -= 1
            if not job["left"]:
                job["do"]()

    def end_all(self) -> None:
        """Let all jobs end that run."""
        for job in self.jobs:
            while job["left"]:
                self.tick(job)

    # --- requests ---

    def answer(self, request: Request[Any]) -> Response:
        service = self._jira if "/rest/" in request.path else self._toloka
        status, body = service(request)
        headers = {"date": formatdate(time.time(), usegmt=True), "content-type": "application/json"}
        return Response(status, headers, b"" if body is None else json.dumps(body).encode())

    def _jira(self, request: Request[Any]) -> tuple[int, Any]:
        path = request.path.removeprefix("/rest/api/3")
        if path == "/search/approximate-count":
            return 200, {"count": len(self._matching(request.json["jql"]))}
        if path == "/myself":
            return 200, {"displayName": "Admin", "accountId": "1"}
        if path == "/issue/archive" and request.method == "PUT":
            keys = tuple(request.json["issueIdsOrKeys"])
            self.asked.append(keys)
            known = [key for key in keys if key in self.issues]
            return 200, {"numberOfIssuesUpdated": len(known), "errors": {}}
        if path.startswith("/task/"):
            return 200, self._task(next(job for job in self.jobs if job["id"] == path.rpartition("/")[2]))
        return self._submit(path, request)

    def _submit(self, path: str, request: Request[Any]) -> tuple[int, Any]:
        running = next((job for job in self.jobs if job["left"]), None)
        if running:
            text = f"An issue archival task is already running with ID {running['id']}."
            return 412, {"errorMessages": [text], "errors": {}}
        if path == "/issue/archive":
            keys = self._matching(request.json["jql"])
            job = self.start("archive", keys, lambda: self.archived.update(keys))
            return 202, f"https://site/rest/api/3/task/{job['id']}"
        job = self.start("export", json.dumps(request.json), lambda: None)
        return 202, {"taskId": job["id"], "status": "ENQUEUED"}

    def _matching(self, jql: str) -> list[str]:
        after = re.search(r'created >= "([^"]+)"', jql)
        before = re.search(r'created < "([^"]+)"', jql)
        return [
            key
            for key, created in self.issues.items()
            if not self.archived[key]
            and (not after or created >= after[1])
            and (not before or created < before[1])
        ]

    def _task(self, job: dict[str, Any]) -> dict[str, Any]:
        self.tick(job)
        status = "RUNNING" if job["left"] else "COMPLETE"
        result = {"fileUrl": f"https://files.test/{job['id']}.csv"} if job["kind"] == "export" else {}
        submitted = int(job["submitted"] * 1000)
        return {"id": job["id"], "status": status, "submitted": submitted, "result": result}

    # --- Toloka ---

    def _toloka(self, request: Request[Any]) -> tuple[int, Any]:
        parts = urlsplit(request.path).path.strip("/").split("/")
        query = dict(parse_qsl("&".join(f"{name}={value}" for name, value in request.query.items())))
        if parts[0] == "operations":
            return 200, self._operations(query) if len(parts) == 1 else self._operation(self._job(parts[1]))
        if request.method == "POST":
            return self._start_operation(*parts)
        if parts[0] == "projects":
            return 200, {"id": "7", "status": self.project}
        kind = parts[0].removesuffix("s")
        items = [
            {"id": id, "project_id": "7", "status": status}
            for id, (one, status) in self.pools.items()
            if one == kind and query.get("status") in (None, status)
        ]
        return 200, {"items": items, "has_more": False}

    def _start_operation(self, kinds: str, id: str, verb: str) -> tuple[int, Any]:
        kind = f"{kinds.removesuffix('s')}.{verb}".upper()
        if any(job["left"] and job["kind"] == kind and job["what"] == id for job in self.jobs):
            return 409, {"code": "OPERATION_ALREADY_EXISTS", "message": "It is under way."}
        status = {"archive": "ARCHIVED", "close": "CLOSED"}[verb]
        if (self.project if kinds == "projects" else self.pools[id][1]) == status:
            return 204, None

        def do() -> None:
            if kinds == "projects":
                self.project = status
            else:
                self.pools[id][1] = status

        return 202, self._operation(self.start(kind, id, do))

    def _operations(self, query: dict[str, str]) -> dict[str, Any]:
        found = [self._operation(job) for job in self.jobs if job["kind"] == query["type"]]
        wanted = [one for one in found if query.get("status") in (None, one["status"])]
        return {"items": wanted, "has_more": False}

    def _operation(self, job: dict[str, Any]) -> dict[str, Any]:
        self.tick(job)
        target = f"{job['kind'].partition('.')[0].lower()}_id"
        submitted = time.strftime("%Y-%m-%dT%H:%M:%S.000", time.gmtime(job["submitted"]))
        return {
            "id": job["id"],
            "type": job["kind"],
            "status": "RUNNING" if job["left"] else "SUCCESS",
            "submitted": submitted,
            "parameters": {target: job["what"]},
        }

    def _job(self, id: str) -> dict[str, Any]:
        return next(job for job in self.jobs if job["id"] == id)


class CrashingStore(Store):
    """A task's state store, each use of which is an effect."""

    def __init__(self, kept: dict[str, str], effects: Effects, *, is_broken: bool) -> None:
        super().__init__()
        self.kept, self._effects, self._is_broken = kept, effects, is_broken

    def set(self, key: str, value: Any) -> None:
        self._effects.do(
            "keep", lambda: None if self._is_broken else super(CrashingStore, self).set(key, value)
        )

    def delete(self, key: str) -> None:
        self._effects.do("forget", lambda: super(CrashingStore, self).delete(key))


class TaskInstance:
    """As much of a task instance as the operators use; what it pushes is an effect."""

    dag_id, task_id, run_id, map_index, start_date = "dag", "task", "run", -1, None

    def __init__(self, number: int, effects: Effects) -> None:
        self.try_number, self._effects = number, effects

    def xcom_push(self, key: str, value: Any) -> None:
        self._effects.do(f"push {key}", lambda: json.dumps(value))


class Machine:
    """Runs the tries of a task in a world; nobody sleeps, and nothing leaves the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
        from airflow_provider_archival.hooks.base import ServiceHook

        self.world, self.effects, self._clock = World(), Effects(), clock

        def send(hook: Any, request: Request[Any]) -> Response:
            name = "start" if request.repeat is Repeat.AFTER_A_LOOK else "look"
            answer: Response = self.effects.do(name, lambda: self.world.answer(request))
            return answer

        async def asend(hook: Any, request: Request[Any], channel: Any) -> Response:
            return send(hook, request)

        async def asleep(seconds: float, result: Any = None) -> Any:
            self._clock.shift(seconds)
            return result

        monkeypatch.setattr(ServiceHook, "_send", send)
        monkeypatch.setattr(ServiceHook, "_asend", asend)
        monkeypatch.setattr(time, "sleep", self._clock.shift)
        monkeypatch.setattr(asyncio, "sleep", asleep)

    def run(
        self,
        make: Callable[..., Any],
        *,
        deferrable: bool,
        with_store: bool,
        crash: tuple[int, str] | None = None,
        is_broken: bool = False,
        ends_between: bool = False,
    ) -> tuple[Any, list[str], bool]:
        """Run a task, twice where the first try is killed: the result, what it did, whether it was."""
        self.world = World()
        kept: dict[str, str] = {}
        self.effects = effects = Effects(crash)
        try:
            result = self._try(1, make, deferrable, kept if with_store else None, is_broken)
            return result, effects.trace, False
        except Killed:
            if ends_between:
                self.world.end_all()
            self._clock.shift(60)
            self.effects = Effects()
            result = self._try(2, make, deferrable, kept if with_store else None, is_broken)
            assert kept == {}, "something is left in the store"
            return result, effects.trace, True

    def _try(
        self,
        number: int,
        make: Callable[..., Any],
        deferrable: bool,
        kept: dict[str, str] | None,
        is_broken: bool,
    ) -> Any:
        from airflow.providers.common.compat.sdk import TaskDeferred

        context: dict[str, Any] = {"ti": TaskInstance(number, self.effects)}
        if kept is not None:
            context["task_state_store"] = CrashingStore(kept, self.effects, is_broken=is_broken)
        task = make(deferrable=deferrable)
        go_on: Callable[[], Any] = lambda: task.execute(context)  # noqa: E731
        while True:
            try:
                return go_on()
            except TaskDeferred as deferred:
                self.effects.do("defer")
                event = self._event_of(deferred.trigger)
                self.effects.do("resume")
                task, method = make(deferrable=deferrable), deferred.method_name
                go_on = lambda: task.resume_execution(method, {"event": event}, context)  # noqa: E731, B023

    def _event_of(self, trigger: Any) -> Any:
        """Run a trigger in a triggerer, which may be killed too: then another one takes it over."""
        path, kwargs = json.loads(json.dumps(trigger.serialize()))
        module, _, name = path.rpartition(".")

        async def first() -> Any:
            again = getattr(__import__(module, fromlist=[name]), name)(**kwargs)
            return [event async for event in again.run()]

        try:
            (event,) = asyncio.run(first())
        except Killed:
            (event,) = asyncio.run(first())
        return json.loads(json.dumps(event.payload))


def still() -> Any:
    """Return a clock that stands still but for the pauses."""
    return time_machine.travel(1_790_000_000.0, tick=False)
