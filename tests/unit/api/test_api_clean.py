"""What a service says is cleaned and bounded where it is read: it fits into a log, an XCom, any database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fits import check_fits
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_archival.api import http, jira, times, toloka
from airflow_provider_archival.api.batches import OTHER, OperationBatch
from airflow_provider_archival.api.clean import (
    MOST_KEPT,
    MOST_NAME,
    MOST_TEXT,
    bounded,
    clean_text,
    read_json,
    shorten,
)
from airflow_provider_archival.api.http import Response
from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport, JiraTask

HALF, EMOJI = "\ud83d", "\U0001f600"
MANY = 2_700_000
"""What is sought again from each of so many places takes hours."""

_TEXT = st.text(st.characters(codec=None), max_size=20) | st.sampled_from([HALF, "\0", EMOJI, "\udc00x"])
_NUMBER = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 2**63 - 1, 10**30])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBER | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


# --- JSON ---


@given(ANY_JSON, st.booleans())
def test_any_json_fits_wherever_it_is_kept(value: Any, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    check_fits(read_json(body))


_PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _PLAIN,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_PLAIN, inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.booleans(),
)
def test_ordinary_json_stays_as_it_is_in_any_encoding(value: Any, encoding: str, escaped: bool) -> None:
    assert read_json(json.dumps([value], ensure_ascii=escaped).encode(encoding)) == [value]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'"cut \ud83d"', "cut \ufffd"),
        (rb'"\ude00 cut"', "\ufffd cut"),
        (rb'["\ud83d\ude00"]', [EMOJI]),
        (b'["\xed\xa0\xbd\xed\xb8\x80", "\xed\xa0\xbd"]', [EMOJI, "\ufffd"]),
        (b'{"a": "Sch\xc3', "no JSON"),
        (b'{"a": "Sch\xc3"}', {"a": "Sch\ufffd"}),
        (rb'{"a\ud83d": {"b\u0000": "c\u0000"}}', {"a\ufffd": {"b\ufffd": "c\ufffd"}}),
        (rb'"a\\ud83d \\u0000"', r"a\ud83d \u0000"),
        (b"NaN", None),
        (b"[NaN, Infinity, -Infinity, 1e999, -1e999, 1e300]", [None, None, None, None, None, 1e300]),
        (b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
        (
            b'[9223372036854775808, {"a": -9223372036854775809}]',
            ["9223372036854775808", {"a": "-9223372036854775809"}],
        ),
        (b"18446744073709551616", "18446744073709551616"),
        (b"[1" + 5_000 * b"0" + b", 2]", ["1" + (MOST_NAME - 2) * "0" + "…", 2]),
    ],
)
def test_what_no_store_takes_is_replaced(body: bytes, value: Any) -> None:
    if value == "no JSON":
        with pytest.raises(ValueError, match="Unterminated"):
            read_json(body)
    else:
        assert read_json(body) == value


@pytest.mark.parametrize("content_type", ["text/plain; charset=ISO-8859-1", 'x/y;charset="windows-1252"'])
def test_a_text_in_latin_letters_is_read_where_its_answer_says_so(content_type: str) -> None:
    assert read_json('["Ungültig"]'.encode("latin-1"), content_type) == ["Ungültig"]
    # Many a server says that of what is UTF-8.
    assert read_json('["Ungültig"]'.encode(), content_type) == ["Ungültig"]
    assert read_json('["Ungültig"]'.encode("latin-1")) == ["Ung\ufffdltig"]


def test_a_long_text_and_a_long_name_are_cut_with_an_ellipsis() -> None:
    (value,) = read_json(json.dumps([{"n" * 300: "t" * (MOST_TEXT + 1), "fits": "t" * MOST_TEXT}]).encode())
    assert value == {
        "n" * (MOST_NAME - 1) + "…": "t" * (MOST_TEXT - 1) + "…",
        "fits": "t" * MOST_TEXT,
    }


@pytest.mark.parametrize("depth", [101, 700, 100_000])
def test_json_that_is_nested_too_deeply_is_none(depth: int) -> None:
    for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(ValueError, match="nested too deeply"):
            read_json(begin * depth + b"1" + end * depth)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1,]", b"\0", b"[" + 5_000 * b"1"])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(body)


# --- text, and JSON that is kept ---


@given(st.text(st.characters(codec=None)))
def test_a_cleaned_text_encodes_and_is_as_long_or_shorter(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) <= len(text)
    assert len(shorten(text, 10)) <= 10


def test_only_what_is_cut_has_an_ellipsis() -> None:
    assert shorten(" a\n b ") == "a b"
    assert shorten("x" * 500) == "x" * 500
    assert shorten("x" * 501) == "x" * 499 + "…"
    assert shorten("x" + " " * 10_000 + "y") == "x…"


@given(ANY_JSON, st.integers(200, 2_000))
@example([None], 449)
@example({"a": [[], {}]}, 1_100)
def test_json_that_is_kept_is_never_longer_than_it_may_be(value: Any, most: int) -> None:
    value = read_json(json.dumps([value] * 50).encode())
    kept = bounded(value, most)
    assert len(json.dumps(kept)) <= most
    if len(json.dumps(value)) <= most:
        assert kept == value


@pytest.mark.parametrize("letter", ["x", '"', "é", EMOJI, "\n"])
def test_a_long_text_that_is_kept_is_cut_however_it_is_written(letter: str) -> None:
    kept = bounded({"a": letter * 100_000, "b": 1})
    assert MOST_KEPT / 8 / 4 < len(json.dumps(kept)) <= MOST_KEPT
    assert kept["a"].endswith("…")
    assert kept["b"] == 1


def test_what_is_small_is_kept_beside_what_is_large_and_the_rest_is_counted() -> None:
    keys = [f"ABC-{number}" for number in range(100_000)]
    kept = bounded({"errors": {"notFound": {"keys": keys, "count": 7}}, "numberOfIssuesUpdated": 3})
    assert kept["numberOfIssuesUpdated"] == 3
    assert kept["errors"]["notFound"]["count"] == 7
    *found, note = kept["errors"]["notFound"]["keys"]
    assert found == keys[: len(found)]
    assert len(found) > 100
    assert note == f"… and {len(keys) - len(found)} more"
    many = bounded({str(number): number for number in range(5_000)})
    assert many["…"] == f"{5_000 - (len(many) - 1)} more"


# --- errors ---


def said(body: bytes, **headers: str) -> tuple[str, ...]:
    return http.messages_of(Response(500, headers, body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>" + b"<title" * MANY, id="no end of a tag"),
        pytest.param(b"<html>" + b"<title>" * MANY, id="no end of a title"),
        pytest.param(b"<html>" + b"<title>" + b"x \n" * MANY, id="a title without an end"),
        pytest.param(b"<html>" + b"<title\n" * MANY + b"</title", id="half an end"),
    ],
)
def test_a_page_is_read_in_one_go(body: bytes) -> None:
    assert said(body) == ("an HTML page",)


def test_a_pages_long_title_is_cut() -> None:
    (message,) = said(b"<html><title>Log in " + b"x " * 30_000 + b"</title>")
    assert message.startswith("an HTML page: Log in x x")
    assert len(message) < 520


def test_long_errors_and_many_are_cut() -> None:
    (message,) = said(json.dumps({"errorMessages": ["a b " * 2_000_000]}).encode())
    assert len(message) == 500
    many = said(json.dumps({"errorMessages": ["No."] * 1_000_000}).encode())
    assert many == ("No.",) * 20 + ("… and more",)
    assert len(" ".join(said(json.dumps(["x" * 9_000] * 9).encode()))) < 3_000
    keys = {"count": 10**6, "issueIdsOrKeys": ["A-1"] * 10**6, "message": "Not found."}
    assert said(json.dumps({"errors": {"x": keys}}).encode())[0].startswith("x: Not found. (A-1, A-1")
    assert said(json.dumps({"errors": {"x": ["A-1"] * 10**6}}).encode())[0].startswith('x: ["A-1", "A-1"')
    coded = {"code": "X", "message": "No.", "payload": {"ids": list(range(10**6))}, "request_id": "r" * 10**6}
    assert [len(one) for one in said(json.dumps(coded).encode())] == [6, 500, 500]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        ('{"errorMessages": ["Ungültig"]}'.encode("utf-8-sig"), "", "Ungültig"),
        ('{"errorMessages": ["Ungültig"]}'.encode("utf-16"), "", "Ungültig"),
        ('{"errorMessages": ["Ungültig"]}'.encode("latin-1"), "", "Ung\ufffdltig"),
        ("Ungültig".encode("latin-1"), "text/plain;charset=iso-8859-1", "Ungültig"),
        (rb'{"errorMessages": ["cut \ud83d"]}', "", "cut \ufffd"),
        (rb'{"code": "X", "message": "cut \ud83d", "payload": "\ud83d"}', "", "X: cut \ufffd payload \ufffd"),
        (b"\xef\xbb\xbf <!DOCTYPE html><title>Log in</title>", "", "an HTML page: Log in"),
        (b"<head><title>Log in</title>", "", "an HTML page: Log in"),
    ],
)
def test_an_errors_words_are_read_in_any_encoding(body: bytes, content_type: str, message: str) -> None:
    assert " ".join(said(body, **{"content-type": content_type})) == message


def test_an_absurd_answer_makes_no_absurd_error() -> None:
    for body in (b'"' + b"x" * 10**6 + b'"', b'{"id": "' + b"/" * 10**6 + b'"}', b"x" * 10**6):
        with pytest.raises(http.UnreadableAnswer) as caught:
            jira.get_task("1").read(Response(200, {}, body))
        assert len(str(caught.value)) < 1_500
    url = json.dumps(f"http://[{'1' * 10_000}]/rest/api/3/task/1010").encode()
    with pytest.raises(http.UnreadableAnswer) as caught:
        jira.archive_by_jql("key = A-1").read(Response(202, {}, url))
    assert len(str(caught.value)) < 1_500
    with pytest.raises(ValueError, match="a Jira task is given by its id") as refused:
        jira.task_id_of("/" * 10**6)
    assert len(str(refused.value)) < 1_000


def test_an_absurd_id_of_a_task_that_is_in_the_way_is_none() -> None:
    assert http.Busy("PUT /", (f"already running with ID {'1' * 256}.",)).running_task_id is None
    assert http.Busy("PUT /", (f"already running with ID {'1' * 255}.",)).running_task_id == "1" * 255


# --- Jira's words and numbers ---


def task(body: bytes) -> JiraTask:
    return jira.get_task("1").read(Response(200, {}, body))


def test_a_task_with_absurd_words_and_numbers_is_read_and_fits() -> None:
    found = task(
        rb'{"id": 18446744073709551616, "status": " complete ", "progress": NaN, "message": "cut \ud83d",'
        rb' "description": "\u0000", "elapsedRuntime": 1e999, "submitted": 99999999999999999999999,'
        rb' "started": "\ud83d", "finished": -1, "result": {"\ud83d": [18446744073709551616, -Infinity]}}'
    )
    check_fits(found.to_dict())
    assert found == JiraTask(
        id="18446744073709551616",
        status="COMPLETE",
        message="cut \ufffd",
        description="\ufffd",
        result={"\ufffd": ["18446744073709551616", None]},
    )


def test_a_tasks_long_words_are_bounded() -> None:
    said = {
        "message": "m" * 10**6,
        "description": ["d"] * 10**6,
        "result": ["r"] * 10**6,
        "status": "s" * 10**6,
    }
    found = task(json.dumps({"id": "1", **said}).encode())
    assert len(json.dumps(found.to_dict())) < 13_000
    assert (len(found.status), len(found.said), found.is_final) == (64, 500, False)
    assert len(JiraTask("1", "FAILED", result=found.result).said) == 500


@pytest.mark.parametrize("id", ["1" * 256, "\ud83d", "1\0", 1e30, None, {}])
def test_an_absurd_id_is_unreadable(id: Any) -> None:
    with pytest.raises(http.UnreadableAnswer):
        task(json.dumps({"id": id, "status": "RUNNING"}).encode())


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (156, 156),
        (156.7, 156),
        ("156", 156),
        (-1, None),
        (True, None),
        ("long", None),
        (2**63, None),
        (2**60, None),
        (float("nan"), None),
        (float("inf"), None),
        ([1], None),
        ({}, None),
        (None, None),
    ],
)
def test_a_running_time_is_a_number_or_nothing(value: Any, number: int | None) -> None:
    found = task(json.dumps({"id": "1", "status": "RUNNING", "elapsedRuntime": value}).encode())
    assert found.elapsed_runtime == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, 2**63, -1, 100.1, True, "x", [], {}])
def test_a_progress_that_is_none_costs_nothing(value: Any) -> None:
    assert task(json.dumps({"id": "1", "status": "RUNNING", "progress": value}).encode()).progress is None
    assert http.percent_of(value) is None


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("1501708132900", "2017-08-02T21:08:52.900000+00:00"),
        ("now", None),
        ("12:30", None),
        ("0001-01-01T00:00:00", None),
        (-62135596800000, None),
        (10**400, None),
        (float("nan"), None),
        ("2017-08-02T21:08:52" + "0" * 100_000, None),
    ],
)
def test_only_a_time_that_can_be_the_services_is_one(value: Any, time: str | None) -> None:
    assert times.time_of(value) == time


@pytest.mark.parametrize(
    "said", [-1, 2**63, 10**400, float("nan"), float("inf"), 0.5, True, None, "many", [], {}]
)
def test_a_number_that_cannot_be_believed_is_an_unreadable_answer(said: Any) -> None:
    for request, body in (
        (jira.count_issues("project = A"), {"count": said}),
        (jira.archive_issues(["A-1"]), {"numberOfIssuesUpdated": said}),
    ):
        with pytest.raises(http.UnreadableAnswer, match="no count that can be believed"):
            request.read(Response(200, {}, json.dumps(body).encode()))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "is_read"),
    [
        (-1, False),
        (2**63, False),
        (True, False),
        ("many", False),
        (0, True),
        (None, True),
        (float("nan"), True),
    ],
)
def test_a_reasons_count_is_believed_or_else_its_issues_are_counted(said: Any, is_read: bool) -> None:
    error = {"count": said, "issueIdsOrKeys": ["A-1"]}
    response = Response(200, {}, json.dumps({"numberOfIssuesUpdated": 1, "errors": {"x": error}}).encode())
    if is_read:
        assert jira.archive_issues(["A-1"]).read(response).error_count == 1
    else:
        with pytest.raises(http.UnreadableAnswer):
            jira.archive_issues(["A-1"]).read(response)


@pytest.mark.parametrize(("said", "number"), [(0, 0), (7, 7), (7.0, 7), ("7", 7)])
def test_a_count_is_read_in_any_form(said: Any, number: int) -> None:
    body = json.dumps({"count": said}).encode()
    assert jira.count_issues("project = A").read(Response(200, {}, body)) == number


@pytest.mark.parametrize("make", [jira.archive_issues, jira.unarchive_issues])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, b'"https://your-domain.atlassian.net/rest/api/3/task/1010"'),
        (202, b""),
        (204, b""),
        (201, b"{}"),
        (200, b'{"errorMessages": ["No."], "errors": {}}'),
        (206, b"[]"),
    ],
)
def test_an_answer_to_an_archive_by_key_that_tells_no_number_is_no_report(
    make: Any, status: int, body: bytes
) -> None:
    with pytest.raises(http.UnreadableAnswer) as caught:
        make(["A-1"]).read(Response(status, {}, body))
    assert caught.value.can_repeat


def test_a_202_with_the_report_is_the_report() -> None:
    body = b'{"numberOfIssuesUpdated": 2, "errors": {}}'
    assert jira.archive_issues(["A-1"]).read(Response(202, {}, body)) == ArchiveReport(2)


def test_a_report_is_bounded_and_loses_no_count() -> None:
    errors = {
        f"reason{number}": {"count": 2, "message": "m" * 9_000, "issueIdsOrKeys": ["K" * 300, number]}
        for number in range(1_000)
    }
    body = json.dumps({"numberOfIssuesUpdated": 0, "errors": errors}).encode()
    report = jira.archive_issues(["A-1"]).read(Response(200, {}, body))
    assert (report.error_count, len(report.errors)) == (2_000, jira.MOST_REASONS + 1)
    assert len(report.errors["reason0"].message) == 500
    assert [len(key) for key in report.errors["reason0"].issue_ids_or_keys] == [MOST_NAME, 1]
    other = ArchiveReport(0, {f"other{number}": ArchiveError(1, "o", ("A-1",)) for number in range(200)})
    both = report + other + other
    assert (both.error_count, len(both.errors)) == (2_400, jira.MOST_REASONS + 1)
    assert both.errors[jira.MORE_REASONS].message == report.errors[jira.MORE_REASONS].message
    assert len(both.errors[jira.MORE_REASONS].issue_ids_or_keys) == 2 * 950 + 400


def test_keys_are_a_list_or_none() -> None:
    for keys in ("A-1", {"A-1": 1}, 7):
        body = {"numberOfIssuesUpdated": 0, "errors": {"x": {"issueIdsOrKeys": keys}}}
        with pytest.raises(http.UnreadableAnswer, match="issueIdsOrKeys is no list"):
            jira.archive_issues(["A-1"]).read(Response(200, {}, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("url", "is_kept"),
    [
        ("https://example.com/x.csv?sig=" + "s" * 16_000, True),
        ("https://example.com/x.csv?sig=" + "s" * 20_000, False),
        ("https://example.com/x\ud83d.csv", False),
        ("https://example.com/x\0.csv", False),
        ("https://example.com/x.csv?a=…", False),
        ("https://example.com/x y.csv", False),
        ("https://example.com/\u0444.csv", True),
    ],
)
def test_a_files_address_is_whole_or_none(url: str, is_kept: bool) -> None:
    found = task(json.dumps({"id": "1", "status": "COMPLETE", "result": {"fileUrl": url}}).encode())
    assert found.file_url == (url if is_kept else None)
    body = json.dumps({"taskId": "1", "fileUrl": url}).encode()
    export = jira.export_archived_issues(jira.ExportFilter()).read(Response(202, {}, body))
    assert export.file_url == found.file_url


# --- Toloka's ---


def operation(**said: Any) -> toloka.TolokaOperation:
    body = json.dumps({"id": "1", "type": "POOL.ARCHIVE", "status": "RUNNING", **said}).encode()
    return toloka.get_operation("1").read(Response(200, {}, body))


@pytest.mark.parametrize("parameters", [["1"], "1", 1, True, None, [], ""])
def test_parameters_that_are_no_object_are_none(parameters: Any) -> None:
    found = operation(parameters=parameters)
    assert found.parameters == {}
    assert found.to_dict()["parameters"] == {}
    batch = OperationBatch("POOL.ARCHIVE", "7", "2026-01-01T00:00:00.000", 1)
    assert batch.seen([found], {"1"}).counts == {}


def test_an_operation_with_absurd_words_and_numbers_is_read_and_fits() -> None:
    found = operation(
        type="T" * 10**6,
        status="s" * 10**6,
        details={"why": "\ud83d" * 10**6, "code": 2**64},
        parameters={"pool_id": 2**64, "\ud83d": "p" * 10**6},
        progress=10**400,
        submitted=float("inf"),
    )
    check_fits(found.to_dict())
    assert len(json.dumps(found.to_dict())) < 20_000
    assert found.parameters["pool_id"] == str(2**64)
    assert len(found.said) <= 500


@pytest.mark.parametrize("status", [None, "", " ", 7, ["RUNNING"], {}])
def test_a_status_is_a_word(status: Any) -> None:
    with pytest.raises(http.UnreadableAnswer, match="a status is a word"):
        operation(status=status)


@pytest.mark.parametrize(
    ("said", "has_more"), [(True, True), (False, False), ("true", True), ("False", False)]
)
def test_has_more_is_read_as_json_and_as_text(said: Any, has_more: bool) -> None:
    body = json.dumps({"items": [{"id": 1, "project_id": 7, "status": "OPEN"}], "has_more": said}).encode()
    assert toloka.list_pools("7").read(Response(200, {}, body)).has_more is has_more


@pytest.mark.parametrize(
    "said",
    [
        {"items": [], "has_more": None},
        {"items": [], "has_more": "no"},
        {"items": [], "has_more": 0},
        {"items": {}, "has_more": False},
        {"items": "", "has_more": False},
        {"items": None, "has_more": False},
        {"items": [{"id": None, "project_id": "7", "status": "OPEN"}], "has_more": False},
        {"items": [{"id": "1/2", "project_id": "7", "status": "OPEN"}], "has_more": False},
        {"items": [None], "has_more": False},
    ],
)
def test_what_cannot_be_a_whole_list_is_unreadable(said: Any) -> None:
    with pytest.raises(http.UnreadableAnswer):
        toloka.list_pools("7").read(Response(200, {}, json.dumps(said).encode()))


def test_the_names_of_pools_and_projects_are_bounded() -> None:
    pool = {"id": 1, "project_id": "7", "status": "OPEN", "private_name": "\ud83d" + "n" * 10**6}
    body = json.dumps({"items": [pool], "has_more": False}).encode()
    assert len(toloka.list_pools("7").read(Response(200, {}, body)).items[0].name) == MOST_NAME
    body = json.dumps({"id": 7, "status": "ACTIVE", "public_name": ["n"] * 10**6}).encode()
    assert len(toloka.get_project("7").read(Response(200, {}, body)).name) == MOST_NAME


@pytest.mark.parametrize(
    ("names", "name"), [("Acme", "Acme"), ({"EN": 7}, "7"), (["x"], '["x"]'), (None, "566")]
)
def test_the_callers_name_may_have_any_form(names: Any, name: str) -> None:
    body = json.dumps({"id": "566", "public_name": names}).encode()
    assert toloka.requester().read(Response(200, {}, body)) == name


def test_a_batch_with_absurd_statuses_is_small_and_counts_all() -> None:
    listed = [
        toloka.TolokaOperation(
            str(number), "POOL.ARCHIVE", f"S{number}" + "x" * 60, None, {"pool_id": number}
        )
        for number in range(5_000)
    ]
    listed += [toloka.TolokaOperation("x", "POOL.ARCHIVE", "FAIL", None, {"pool_id": "x"}, "d" * 10**5)]
    batch = OperationBatch("POOL.ARCHIVE", "7", "2026-01-01T00:00:00.000", 5_001)
    seen = batch.seen(listed, {*map(str, range(5_000)), "x"})
    assert (sum(seen.counts.values()), seen.counts["FAIL"]) == (5_001, 1)
    assert seen.counts[OTHER] == 5_000 - 20
    assert len(json.dumps(seen.to_dict())) < 4_000
    assert not seen.is_documented
