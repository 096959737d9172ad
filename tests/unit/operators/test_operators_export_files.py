"""An export's file: in each form that Jira may write, saved where it was asked for, its signature secret."""

from __future__ import annotations

import csv
import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from tries import Store, Tries, unpacked

from airflow_provider_archival.exceptions import (
    DestinationNotUsable,
    FileNotAvailable,
    FilesDiffer,
    FileTooLarge,
    ServiceFault,
    ServiceRefusal,
)
from airflow_provider_archival.files.destination import Destination
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator
from airflow_provider_archival.sensors.jira import JiraTaskSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Answer, Deferrals, Loopback, Pauses, Received, TaskInstance

EXPORT, TASK, FILE = "/rest/api/3/issues/archive/export", "/rest/api/3/task/*", "*.csv"
SECRET = "0123456789abcdef0123456789abcdef"
QUERY = f"X-Amz-Credential=AKIA%2Farchive&X-Amz-Signature={SECRET}"
CSV = b"Issue key\nDEMO-1\n"

pytestmark = pytest.mark.usefixtures("connections", "pauses")


# --- each form ---


@pytest.fixture(scope="session", params=["plain", "jira", "odd", "utf-16"])
def _formed(request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(issues=300, job_seconds=1, csv=request.param)
    return started


class TestForms:
    @pytest.fixture
    def archival_sandbox(self, _formed: Sandbox) -> Sandbox:
        _formed.reset()
        return _formed

    @pytest.fixture
    def archived(self, archival_sandbox: Sandbox, connections: Any, pauses: Pauses) -> set[str]:
        """Issues that were archived on three days; their files have other numbers of labels and watchers."""
        found: set[str] = set()
        for keys in (["DEMO-4"], ["DEMO-1", "WEB-1", "WEB-2"], [f"WEB-{number}" for number in range(5, 30)]):
            hook = JiraCloudHook()
            hook.archive_issues(keys)
            hook.close()
            archival_sandbox.advance(86400)
            for issue in map(archival_sandbox.issue, keys):
                found |= {issue["key"], *issue["subtasks"]} if issue["archived"] else set()
        return found

    def exported(self, tries: Tries, sandbox: Sandbox, **more: Any) -> dict[str, Any]:
        days = {"archived_after": day(sandbox, -5), "archived_before": day(sandbox, 1), "split_by": "day"}
        found: dict[str, Any] = tries.run(JiraExportArchivedIssuesOperator, **days, **more)
        return found

    def test_merged_no_issue_and_no_value_is_lost(
        self, tries: Tries, archival_sandbox: Sandbox, archived: set[str], tmp_path: Path
    ) -> None:
        result = self.exported(tries, archival_sandbox, destination=str(tmp_path / "all.csv"), merge=True)
        with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as text:
            header, *rows = csv.reader(text)
        form = archival_sandbox.settings.csv
        (key_name,) = {"Issue key", "Work item key"} & set(header)
        assert key_name == ("Work item key" if form == "odd" else "Issue key")
        issues = {cells[header.index(key_name)]: cells for cells in rows}
        of_none = issues.pop("", None)
        assert issues.keys() == archived
        assert result["files"][0]["rows"] == len(rows)
        assert (of_none is not None) == (form == "odd")
        assert len(rows) == len(archived) + sum(not cells[header.index(key_name)] for cells in rows)
        for key, cells in issues.items():
            self.check(archival_sandbox.issue(key), header, cells, form)

    def check(self, issue: dict[str, Any], header: list[str], cells: list[str], form: str) -> None:
        named = [(name, cell) for name, cell in zip(header, cells, strict=True) if cell]
        (summary,) = (cell for name, cell in named if name == "Summary")
        odd = (f"{issue['summary']} caf\u00e9", f"{issue['summary']} \U0001f600\x00")
        assert summary in odd if form == "odd" else summary == issue["summary"]
        labels = [cell for name, cell in named if name == "Labels"]
        assert " ".join(labels) == " ".join(issue["labels"])
        if form != "plain":
            assert len(labels) == len(issue["labels"])
            assert len([1 for name, _ in named if name == "Watchers"]) == int(issue["id"]) % 4
        more = [cell for name, cell in named if not name]
        assert more in ([], ["one more", f"and another of {issue['key']}"])
        assert form == "odd" or not more

    def test_each_by_itself_is_saved_as_it_is_and_its_rows_are_counted(
        self, tries: Tries, archival_sandbox: Sandbox, archived: set[str], tmp_path: Path
    ) -> None:
        result = self.exported(tries, archival_sandbox, destination=str(tmp_path))
        assert len(result["files"]) > 3
        encoding = {"utf-16": "utf-16", "odd": "latin-1"}.get(archival_sandbox.settings.csv, "utf-8-sig")
        for file in result["files"]:
            path = Path(file["path"])
            text = path.read_bytes().decode(encoding)
            rows = [line for line in text.replace("\r", "\n").split("\n") if line]
            assert (file["rows"], file["bytes"]) == (len(rows) - 1, path.stat().st_size)


def day(sandbox: Sandbox, days: int) -> str:
    return str(datetime.fromtimestamp(sandbox.now() + days * 86400, UTC).date())


# --- the destination is tried first ---


@pytest.mark.parametrize("split", [{}, {"split_by": "day", "archived_after": "2026-01-01"}], ids=repr)
@pytest.mark.parametrize(
    "destination",
    ["s3://bucket/x", "nonsense://bucket/x", "{tmp}/file/x.csv", "{tmp}/folder.csv", "{tmp}/file"],
)
def test_nothing_is_exported_where_it_can_not_be_saved(
    tries: Tries, archival_sandbox: Sandbox, tmp_path: Path, destination: str, split: dict[str, str]
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.csv").mkdir()
    merge = {"merge": True} if split else {}
    with pytest.raises(DestinationNotUsable, match="Nothing was asked for yet"):
        tries.run(
            JiraExportArchivedIssuesOperator, destination=destination.format(tmp=tmp_path), **split, **merge
        )
    assert archival_sandbox.requests() == []


def test_a_destination_is_tried_once_however_often_the_run_is_deferred(
    tries: Tries, archival_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, tried = Destination.check, 0

    def counted(self: Destination) -> None:
        nonlocal tried
        tried += 1
        check(self)

    monkeypatch.setattr(Destination, "check", counted)
    days = {"archived_after": day(archival_sandbox, -3), "archived_before": day(archival_sandbox, 0)}
    result = tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path), split_by="day", **days)
    assert (len(result["files"]), tried) == (3, 1)


@pytest.mark.parametrize("merge", [False, True], ids=["one file each", "merged"])
def test_a_file_that_could_not_be_saved_is_saved_by_the_next_try(
    tries: Tries, archival_sandbox: Sandbox, tmp_path: Path, pauses: Pauses, merge: bool
) -> None:
    folder = tmp_path / "folder"
    days = {"archived_after": day(archival_sandbox, -1), "archived_before": day(archival_sandbox, 1)}
    asked = {"destination": str(folder), "split_by": "day", "merge": merge, **days}

    def break_it() -> None:
        if folder.is_dir() and not list(folder.iterdir()):
            folder.rmdir()
            folder.write_text("in the way")

    pauses.before = break_it
    with pytest.raises(DestinationNotUsable, match="nothing has to be asked for again"):
        tries.run(JiraExportArchivedIssuesOperator, **asked)
    pauses.before = None
    exports = len(archival_sandbox.jobs())
    folder.unlink()
    result = tries.run(JiraExportArchivedIssuesOperator, **asked)
    assert len(archival_sandbox.jobs()) == exports == len(result["tasks"])
    assert len(list(folder.iterdir())) == len(result["files"]) == (1 if merge else exports)


# --- what is no file ---


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((202, {}, b""), "only HTTP 200 brings a whole file"),
        ((204, {"Content-Length": ""}, b""), "only HTTP 200 brings a whole file"),
        ((203, {}, CSV), "only HTTP 200 brings a whole file"),
        ((206, {"Content-Range": "bytes 0-16/3000"}, CSV), "only HTTP 200 brings a whole file"),
        ((200, {}, b"<!DOCTYPE html><html><title>Log in</title>"), "a web page"),
        ((200, {"Content-Type": "text/csv"}, b"\xef\xbb\xbf\n <html><title>Log in</title>"), "a web page"),
        ((200, {}, b"<html>" + b" " * 100_000), "a web page"),
        ((200, {"Content-Type": "application/json"}, b'{"errorMessages": ["Not yet."]}'), "Not yet."),
        ((200, {}, b'<?xml version="1.0"?>\n<Error><Code>SlowDown</Code></Error>'), "SlowDown"),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("deferrable", [False], indirect=True)
def test_what_stands_in_a_files_place_is_not_saved_and_asked_for_again(
    tries: Tries, signed: Signed, tmp_path: Path, archival_sandbox: Sandbox, answer: Answer, said: str
) -> None:
    signed.tell(in_result={"fileUrl": signed.url})
    signed.answer = lambda received: answer
    with pytest.raises(ServiceFault, match=said) as caught:
        tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert not isinstance(caught.value, ServiceRefusal)
    assert len(signed.server.received) == 5
    assert list(tmp_path.iterdir()) == []
    signed.answer = lambda received: (200, {"Content-Type": "application/json"}, CSV)
    (file,) = tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))["files"]
    assert (file["rows"], Path(file["path"]).read_bytes()) == (1, CSV)
    assert len(archival_sandbox.requests(EXPORT)) == 1


# --- a signature is shown nowhere ---


class Signed:
    """A storage whose files are opened by a signature; what Jira tells of them."""

    def __init__(self, loopback: Callable[..., Loopback], sandbox: Sandbox) -> None:
        self.answer: Callable[[Received], Answer] = lambda received: (200, {}, CSV)
        self.server = loopback(lambda received: self.answer(received))
        self.url = f"{self.server.url}/files/x.csv?{QUERY}"
        self.shown = f"{self.server.url}/files/x.csv?***"
        self._sandbox = sandbox

    def tell(self, *, in_result: Any = None, in_answer: bool = False, status: str = "COMPLETE") -> None:
        told = {"fileUrl": self.url} if in_answer else {}
        body = {"taskId": "10101", "status": "ENQUEUED", **told}
        self._sandbox.fault(EXPORT, status=202, body=body, times=None)
        message = f"The file is at {self.url}"
        body = {"id": "10101", "status": status, "result": in_result, "message": message}
        self._sandbox.fault(TASK, status=200, body=body, times=None)


@pytest.fixture
def signed(loopback: Callable[..., Loopback], archival_sandbox: Sandbox) -> Signed:
    return Signed(loopback, archival_sandbox)


@pytest.fixture
def everything(ti: TaskInstance, store: Store, deferrals: Deferrals, logged: list[str]) -> Callable[..., str]:
    """Return all that was written anywhere, with an error and its traceback."""

    def collect(result: Any = None, error: BaseException | None = None) -> str:
        triggers = [deferred.trigger for deferred in deferrals.seen]
        carried = [trigger.carried for trigger in triggers if trigger.carried]
        read = [unpacked(one) for one in (*carried, *store.history)]
        seen = [trigger.serialize() for trigger in triggers]
        shown = [result, ti.xcoms, store.kept, store.history, read, seen, logged]
        if error is not None:
            shown += [
                str(error),
                repr(error),
                getattr(error, "job", None),
                repr(getattr(error, "error", None)),
            ]
            shown += traceback.format_exception(error)
        return json.dumps(shown, default=repr)

    return collect


@pytest.mark.parametrize("form", ["object", "text", "in a text"])
def test_a_signature_opens_the_file_and_is_shown_nowhere(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str], form: str
) -> None:
    result = {"object": {"fileUrl": signed.url, "more": [signed.url]}, "text": signed.url}
    signed.tell(in_result=result.get(form, {"fileUrl": signed.url, "note": f"at {signed.url}, for a day"}))
    found = tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert signed.server.received[0].path == f"/files/x.csv?{QUERY}"
    assert (found["files"][0]["rows"], found["files"][0]["file_url"]) == (1, signed.shown)
    assert found["tasks"][0]["file_url"] == signed.shown
    assert SECRET not in everything(found)


@pytest.mark.parametrize("deferrable", [False], indirect=True)
def test_a_signature_is_in_no_line_of_the_http_client(
    tries: Tries, signed: Signed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    signed.tell(in_result={"fileUrl": signed.url})
    tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    lines = [record.getMessage() for record in caplog.records if record.name == "urllib3.connectionpool"]
    assert any("GET /files/x.csv?*** HTTP/1.1" in line for line in lines)
    assert SECRET not in "".join(lines)


def test_a_url_without_a_query_is_kept_as_it_is(tries: Tries, archival_sandbox: Sandbox) -> None:
    found = tries.run(JiraExportArchivedIssuesOperator)
    url = archival_sandbox.jobs()[0]["payload"]["fileUrl"]
    assert found["files"][0]["file_url"] == found["tasks"][0]["file_url"] == url
    assert found["tasks"][0]["result"] == {"fileUrl": url}


def test_without_a_destination_the_log_tells_how_to_have_the_file(
    tries: Tries, signed: Signed, everything: Callable[..., str], logged: list[str]
) -> None:
    signed.tell(in_result={"fileUrl": signed.url}, in_answer=True)
    found = tries.run(JiraExportArchivedIssuesOperator)
    assert found["files"][0]["file_url"] == signed.shown
    assert SECRET not in everything(found)
    assert any(
        f"lies at {signed.shown}; its query is not shown: give a destination" in line for line in logged
    )


@pytest.mark.parametrize("deferrable", [False], indirect=True)
def test_a_signature_that_only_the_submit_told_is_used_while_it_is_known(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str]
) -> None:
    signed.tell(in_answer=True)
    found = tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert found["files"][0]["rows"] == 1
    assert SECRET not in everything(found)


def test_a_signature_that_only_the_submit_told_is_missed_after_a_deferral(
    signed: Signed, tmp_path: Path, deferrals: Deferrals, context: Any, everything: Callable[..., str]
) -> None:
    signed.tell(in_answer=True)
    how = {"task_id": "export", "destination": str(tmp_path), "deferrable": True}
    with pytest.raises(TaskDeferred) as deferred:
        JiraExportArchivedIssuesOperator(**how).execute(context)
    deferrals.seen.append(deferred.value)
    event = deferrals.event_of(deferred.value.trigger)
    assert SECRET not in json.dumps(event)
    # In another process, which knows nothing of the first one's memory.
    with pytest.raises(
        FileNotAvailable, match=r"only when the export was submitted.*in the e-mail"
    ) as caught:
        JiraExportArchivedIssuesOperator(**how).execute_complete(context, event)
    assert SECRET not in everything(error=caught.value)
    assert signed.server.received == []


def test_a_signature_is_asked_for_again_by_the_next_try(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str], archival_sandbox: Sandbox
) -> None:
    signed.tell(in_result={"fileUrl": signed.url})

    signed.answer = lambda received: (503, {}, b"")
    with pytest.raises(ServiceFault) as caught:
        tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert SECRET not in everything(error=caught.value)
    signed.answer = lambda received: (200, {}, CSV)
    found = tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert found["files"][0]["rows"] == 1
    assert len(archival_sandbox.requests(EXPORT)) == 1
    assert SECRET not in everything(found)


def _xml(received: Received) -> Answer:
    said = f"<Error><Code>AccessDenied</Code><SignatureProvided>{SECRET}</SignatureProvided></Error>"
    return 403, {"Content-Type": "application/xml"}, said.encode()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_xml, ServiceRefusal),
        (lambda received: (404, {}, received.path.encode()), ServiceFault),
        (lambda received: (500, {}, f"no {received.path}".encode()), ServiceFault),
        (lambda received: (200, {"Content-Length": "999", "Connection": "close"}, CSV), ServiceFault),
        (lambda received: None, ServiceFault),
        (lambda received: (302, {"Location": received.path}, b""), ServiceFault),
        (lambda received: (302, {"Location": f"http://192.0.2.1{received.path}"}, b""), ServiceRefusal),
        (lambda received: (200, {"Content-Type": "text/html"}, received.path.encode()), ServiceFault),
        (lambda received: (200, {}, CSV * 1000), FileTooLarge),
    ],
    ids=["403", "404", "500", "cut", "reset", "circle", "elsewhere", "page", "too large"],
)  # fmt: skip
def test_a_signature_is_in_no_error(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str], answer: Any, kind: Any
) -> None:
    signed.tell(in_result={"fileUrl": signed.url})
    signed.answer = answer
    with pytest.raises(kind) as caught:
        tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path), max_file_bytes="500")
    assert SECRET not in everything(error=caught.value)
    assert "/files/x.csv" in str(caught.value)


def test_a_signature_that_a_redirect_brings_is_in_no_error(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str]
) -> None:
    signed.tell(in_result={"fileUrl": f"{signed.server.url}/files/x.csv"})
    signed.answer = lambda received: (
        _xml(received) if "?" in received.path else (302, {"Location": f"/other.csv?{QUERY}"}, b"")
    )
    with pytest.raises(ServiceRefusal) as caught:
        tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert signed.server.received[1].path == f"/other.csv?{QUERY}"
    assert SECRET not in everything(error=caught.value)


def test_a_storage_that_can_not_be_reached_shows_no_signature(
    tries: Tries, signed: Signed, tmp_path: Path, everything: Callable[..., str], refused_url: str
) -> None:
    signed.url = f"{refused_url}/x.csv?{QUERY}"
    signed.tell(in_result=signed.url)
    with pytest.raises(ServiceFault) as caught:
        tries.run(JiraExportArchivedIssuesOperator, destination=str(tmp_path))
    assert SECRET not in everything(error=caught.value)


@pytest.mark.parametrize("status", ["FAILED", ""])
def test_what_jira_says_of_an_export_that_failed_shows_no_signature(
    tries: Tries, signed: Signed, everything: Callable[..., str], status: str
) -> None:
    # An answer without a status can't be read, and is quoted.
    signed.tell(in_result={"fileUrl": signed.url}, status=status)
    with pytest.raises(Exception, match="10101") as caught:
        tries.run(JiraExportArchivedIssuesOperator, timeout=20)
    assert SECRET not in everything(error=caught.value)


def test_a_merge_that_is_refused_shows_no_signature(
    tries: Tries, signed: Signed, archival_sandbox: Sandbox, tmp_path: Path, everything: Callable[..., str]
) -> None:
    signed.answer = lambda received: (200, {}, CSV if len(signed.server.received) == 1 else b"a,b\n1,2\n")
    days = {"archived_after": day(archival_sandbox, -1), "archived_before": day(archival_sandbox, 1)}
    for id in ("1", "2"):
        archival_sandbox.fault(EXPORT, status=202, body={"taskId": id, "status": "ENQUEUED"})
        body = {"id": id, "status": "COMPLETE", "result": {"fileUrl": signed.url}}
        archival_sandbox.fault(f"/rest/api/3/task/{id}", status=200, body=body, times=None)
    with pytest.raises(FilesDiffer) as caught:
        tries.run(
            JiraExportArchivedIssuesOperator, destination=str(tmp_path), split_by="day", merge=True, **days
        )
    assert SECRET not in everything(error=caught.value)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_sensors_value_shows_no_signature(
    signed: Signed, deferrals: Deferrals, context: Any, everything: Callable[..., str], deferrable: bool
) -> None:
    signed.tell(in_result={"fileUrl": signed.url})
    watch = JiraTaskSensor(task_id="watch", jira_task_id="10101", deferrable=deferrable)
    found = deferrals.run(watch, context)
    assert found["file_url"] == found["result"]["fileUrl"] == signed.shown
    assert SECRET not in everything(found)
