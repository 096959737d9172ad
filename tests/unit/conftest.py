"""What the unit tests share: a throw-away Airflow, connections, short pauses, log lines, loopback servers."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import datetime
import importlib
import ipaddress
import json
import logging
import os
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import time_machine

if TYPE_CHECKING:
    from airflow_provider_archival.api.http import Request
    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.sandbox.client import Sandbox

# Airflow reads these when it is imported: no test may see, or touch, the Airflow of whoever runs the tests.
if "airflow" not in sys.modules:
    _home = tempfile.mkdtemp(prefix="archival-unit-tests-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        del os.environ[_name]
    os.environ["AIRFLOW_HOME"] = _home
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_home}/airflow.db"
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# No deadline: how fast the machine is tells nothing. The same examples in each run, none left on the disk.
hypothesis.settings.register_profile("unit", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("unit")

_CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC")


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Send all that is not for this machine to a proxy at a port where nobody listens.

    So a test whose feature is broken can't reach a real service, and the proxies and CA files of whoever runs
    the tests don't matter.
    """
    proxies = {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9", "no": "127.0.0.1,localhost,::1"}
    for name in ("http", "https", "no", "all"):
        for variable in (f"{name}_proxy", f"{name}_proxy".upper()):
            monkeypatch.delenv(variable, raising=False)
            if name in proxies:
                monkeypatch.setenv(variable, proxies[name])
    for variable in _CA_FILES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _no_limit_outlives_its_test() -> Iterator[None]:
    """Forget what a sandbox has said of its limits, for the next test has another service at that address."""
    yield
    if "airflow_provider_archival.hooks.pace" in sys.modules:
        sys.modules["airflow_provider_archival.hooks.pace"].gate.cache_clear()


# --- connections ---


class Connections:
    """Sets Airflow connections in the environment, each a variation of one of the sandbox's."""

    def __init__(self, sandbox: Sandbox | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._known: dict[str, dict[str, Any]] = {}
        for name, value in (sandbox.airflow_connections() if sandbox else {}).items():
            self._set(name.removeprefix("AIRFLOW_CONN_").lower(), json.loads(value))

    def change(self, conn_id: str, *, extra: dict[str, Any] | None = None, **fields: Any) -> str:
        """Change fields of a connection and merge its extra; returns the connection's id."""
        known = self._known[conn_id]
        merged = {**(known.get("extra") or {}), **(extra or {})}
        self._set(conn_id, {**known, **fields, "extra": merged})
        return conn_id

    def add(self, conn_id: str, **fields: Any) -> str:
        """Set a connection from nothing; returns its id."""
        self._set(conn_id, fields)
        return conn_id

    def fields(self, conn_id: str) -> dict[str, Any]:
        """Return what a connection was set to."""
        return dict(self._known[conn_id])

    def remove(self, conn_id: str) -> None:
        self._monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id.upper()}")

    def _set(self, conn_id: str, fields: dict[str, Any]) -> None:
        self._known[conn_id] = fields
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


@pytest.fixture
def connections(archival_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """The sandbox's connections, known to Airflow."""
    return Connections(archival_sandbox, monkeypatch)


@pytest.fixture
def own_connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    """No connections but those that the test adds."""
    return Connections(None, monkeypatch)


# --- time ---


class Pauses:
    """
    What the code asked to sleep, in seconds, in order.

    Nobody waits: this process's clock (``time.time``) stands still but for the pauses, which move it and the
    sandbox's. So a wait of a day takes milliseconds, and no assertion is about how fast the machine is.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._real_sleep, self._real_async_sleep = time.sleep, asyncio.sleep
        self.asked: list[float] = []
        self.before: Callable[[], None] | None = None
        """Called at the begin of each pause."""

    def sleep(self, seconds: float) -> None:
        self._take(seconds)

    async def async_sleep(self, seconds: float, result: Any = None) -> Any:
        if seconds > 0:
            self._take(seconds)
        return await self._real_async_sleep(0, result)

    def _take(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) > 2000:
            # No Exception, which whatever waits may well take for a fault that passes.
            pytest.fail("this wait would never end")
        if self.before is not None:
            self.before()
        self._clock.shift(seconds)
        self._sandbox.advance(seconds)

    @contextlib.contextmanager
    def patched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pauses]:
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(asyncio, "sleep", self.async_sleep)
        with time_machine.travel(time.time(), tick=False) as self._clock:
            yield self


@pytest.fixture
def pauses(archival_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pauses]:
    """The one place where sleeping is patched: see :class:`Pauses`."""
    with Pauses(archival_sandbox).patched(monkeypatch) as found:
        yield found


# --- logs ---


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """
    Every log line as the code wrote it, before any masking, with its traceback, from any logger.

    Airflow 3 logs through structlog, which passes by ``caplog``, so both are listened to at their source.
    """
    lines: list[str] = []
    formatter = logging.Formatter()
    make_record = logging.getLogRecordFactory()

    def listen(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        trace = f"\n{formatter.formatException(record.exc_info)}" if record.exc_info else ""
        lines.append(record.getMessage() + trace)
        return record

    logging.setLogRecordFactory(listen)
    with contextlib.ExitStack() as stack:
        stack.callback(logging.setLogRecordFactory, make_record)
        if "structlog" in sys.modules:
            processors = sys.modules["structlog"].get_config()["processors"]

            def listen_too(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
                info = event.get("exc_info")
                exc_info = sys.exc_info() if info is True else info
                trace = f"\n{formatter.formatException(exc_info)}" if isinstance(exc_info, tuple) else ""
                lines.append(str(event.get("event")) + trace)
                return event

            # Loggers keep the list of processors that they were made with.
            processors.insert(0, listen_too)
            stack.callback(processors.remove, listen_too)
        yield lines


# --- servers ---


@dataclass(frozen=True)
class Received:
    """A request that a loopback server got; the names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    """The client's port: which connection it came over."""


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Loopback:
    """A small server on 127.0.0.1 that keeps what it got; ``answer`` gives None to cut the connection."""

    answer: Callable[[Received], Answer | None]
    url: str = ""
    received: list[Received] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else a body waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True
    of: Loopback

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, headers, body, self.client_address[1])
        self.of.received.append(received)
        answer = self.of.answer(received)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_CONNECT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # With the usual 5, a 6th connection at the same moment waits a second for its next try.
    request_queue_size = 128


@pytest.fixture
def loopback() -> Iterator[Callable[..., Loopback]]:
    """Start small servers: ``loopback(lambda received: (200, {}, b"{}"))``, with ``tls`` over TLS."""
    with contextlib.ExitStack() as stack:

        def start(
            answer: Callable[[Received], Answer | None], *, tls: ssl.SSLContext | None = None
        ) -> Loopback:
            found = Loopback(answer)
            server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"of": found}))
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            found.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
            # A short poll, since stopping takes as long.
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return found

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1 that only trusts itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What a server on 127.0.0.1 needs to speak TLS with :func:`certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# --- tasks ---


class TaskInstance:
    """As much of a task instance as the operators and sensors use."""

    max_tries, dag_id, task_id, run_id, map_index, try_number = 0, "dag", "task", "run", -1, 1

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def get_first_reschedule_date(self, context: Any) -> None:
        return None


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def context(ti: TaskInstance) -> dict[str, Any]:
    return {"ti": ti}


class Deferrals:
    """Runs a deferrable task as Airflow does: to the deferral, through the triggerer, and on."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        """The ``TaskDeferred`` of each deferral."""

    def run(self, task: Any, context: Any) -> Any:
        """Run a task to its end and return what it returns."""
        from airflow.providers.common.compat.sdk import TaskDeferred

        go_on: Callable[[], Any] = lambda: task.execute(context)  # noqa: E731
        while True:
            try:
                return go_on()
            except TaskDeferred as deferred:
                self.seen.append(deferred)
                if len(self.seen) > 50:
                    pytest.fail("this task would defer for ever")
                event = self.event_of(deferred.trigger)
                kwargs = {**json.loads(json.dumps(deferred.kwargs or {})), "event": event}
                method = deferred.method_name
                go_on = lambda: task.resume_execution(method, kwargs, context)  # noqa: E731, B023

    @staticmethod
    def event_of(trigger: Any) -> Any:
        """Run a trigger as the triggerer has it, made from what it serialised to; returns its event."""
        path, kwargs = json.loads(json.dumps(trigger.serialize()))
        module, _, name = path.rpartition(".")
        again = getattr(importlib.import_module(module), name)(**kwargs)

        async def first() -> Any:
            return [event async for event in again.run()]

        (event,) = asyncio.run(first())
        return json.loads(json.dumps(event.payload))


@pytest.fixture
def deferrals() -> Deferrals:
    return Deferrals()


# --- addresses ---


@pytest.fixture
def refused_url() -> str:
    """An address on this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# --- both transports ---


class Carrier:
    """Carries requests through a hook, in a worker's way or on an event loop."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, hook: ServiceHook, what: Request[Any], **more: Any) -> Any:
        if self.how == "call":
            return hook.call(what, **more)
        return asyncio.run(hook.acall(what, **more))

    def each(self, hook: ServiceHook, *steps: Request[Any] | Callable[[], object]) -> list[Any]:
        """Carry requests one after the other over one session; functions among them are called."""

        async def on_a_loop() -> list[Any]:
            async with hook.connected():
                return [
                    step() if callable(step) else await hook.acall(step)  # type: ignore[arg-type]
                    for step in steps
                ]

        if self.how == "acall":
            return asyncio.run(on_a_loop())
        return [step() if callable(step) else hook.call(step) for step in steps]


@pytest.fixture(params=["call", "acall"])
def carry(request: pytest.FixtureRequest) -> Carrier:
    """``call`` or ``acall``: the test runs for both."""
    return Carrier(request.param)
