"""What of a URL may be shown: its query is often a signature that opens what lies there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.urls import hidden, is_whole, secrets_in, without_queries, without_query

SIGNED = "https://files.example.com/x.csv?X-Amz-Signature=0123456789abcdef&X-Amz-Credential=AKIA%2F2026"
SHOWN = "https://files.example.com/x.csv?***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/x.csv", "https://example.com/x.csv"),
        ("http://127.0.0.1:80/rest/api/3/x.csv", "http://127.0.0.1:80/rest/api/3/x.csv"),
        (SIGNED, SHOWN),
        ("https://example.com/x.csv?", "https://example.com/x.csv?***"),
        ("https://example.com?sig=1", "https://example.com?***"),
        ("https://example.com/x.csv#part", "https://example.com/x.csv"),
        ("https://example.com/x.csv?a=1#token=2", "https://example.com/x.csv?***"),
        ("https://example.com/x.csv#token=2?a=1", "https://example.com/x.csv"),
        ("https://me:secret@example.com/x.csv", "https://***@example.com/x.csv"),
        ("https://me:se@cret@example.com/x@y.csv?a=1", "https://***@example.com/x@y.csv?***"),
        ("s3://bucket/x.csv?versionId=1", "s3://bucket/x.csv?***"),
        ("https://[broken/x.csv?sig=1", "https://[broken/x.csv?***"),
        ("https://example.com/x.csv?sig=a b 'c'", "https://example.com/x.csv?***"),
    ],
)
def test_a_url_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    assert without_query(url) == shown
    assert without_query(shown) == shown
    assert is_whole(shown) == ("***" not in shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (7, 7),
        ("Archived 5 issues. Anything else?", "Archived 5 issues. Anything else?"),
        ("see #5: a/b?", "see #5: a/b?"),
        (SIGNED, SHOWN),
        (f"It lies at {SIGNED}, until noon.", f"It lies at {SHOWN} until noon."),
        (f'{{"fileUrl":"{SIGNED}"}}', f'{{"fileUrl":"{SHOWN}"}}'),
        ('{"fileUrl":"https:\\/\\/example.com\\/x?sig=1"}', '{"fileUrl":"https:\\/\\/example.com\\/x?***"}'),
        ("at https://me:secret@example.com/x now", "at https://***@example.com/x now"),
        ("/files/x.csv?sig=1", "/files/x.csv?***"),
        # What no scheme stands before, what a blank cut off, what is written in escapes.
        ("at files.example.com/x.csv?sig=1&a=2.", "at files.example.com/x.csv?sig=***"),
        ("GET /files/x.csv?token=1 failed", "GET /files/x.csv?token=*** failed"),
        ("https://example.com/x?name=my file.csv&sig=1", "https://example.com/x?*** file.csv&sig=***"),
        ("http:/example.com/x.csv?X-Amz-Signature=1", "http:/example.com/x.csv?X-Amz-Signature=***"),
        ("next=https%3A%2F%2Fexample.com%2Fx%3fsig%3D1", "next=https%3A%2F%2Fexample.com%2Fx%3fsig%3D***"),
        ("https://example.com/x\\u003fa\\u003d1\\u0026b=2", "https://example.com/x\\u003fa\\u003d***"),
        ("What? a = 1 & b = 2, why?", "What? a = 1 & b = 2, why?"),
        ({"fileUrl": SIGNED, "n": [SIGNED, 1, None]}, {"fileUrl": SHOWN, "n": [SHOWN, 1, None]}),
        ({SIGNED: 1}, {SHOWN: 1}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_no_url_in_an_answer_has_its_query(value: Any, shown: Any) -> None:
    assert without_queries(value) == shown


def test_an_answer_may_be_nested_as_deeply_as_json_can() -> None:
    deep: Any = SIGNED
    for _ in range(900):
        deep = [deep]
    assert "Signature" not in repr(without_queries(deep))


@given(st.text(), st.text("abc:/?#@", max_size=300))
def test_no_text_raises_and_nothing_is_left_behind_a_question_mark(text: str, odd: str) -> None:
    for one in (text, odd, text + odd):
        without_queries(one)
        secrets_in([one])
        assert "?" not in without_query(f"https://example.com/{one}").removesuffix("?***")


def test_a_long_text_takes_steps_in_proportion_to_its_length() -> None:
    # At a million letters anything worse would not end in a person's time.
    for text in (
        "a" * 1_000_000,
        "a://" * 250_000,
        "?a" * 500_000,
        "&a=" * 300_000,
        "https://" + "a" * 1_000_000,
        "@" * 1_000_000,
    ):
        without_queries(f"{text} .")


def test_what_a_service_repeats_of_a_signature_is_hidden() -> None:
    text = "<Signature>0123456789abcdef</Signature> of AKIA/2026 at /x.csv?" + SIGNED.partition("?")[2]
    shown = hidden(text, secrets_in([SIGNED]))
    assert shown == "<Signature>***</Signature> of *** at /x.csv?***"


def test_a_tasks_file_is_known_whole_and_shown_in_part() -> None:
    task = JiraTask(
        "1",
        "COMPLETE",
        result={"fileUrl": SIGNED},
        message=f"See {SIGNED}",
        description=SIGNED,
        file_url=SIGNED,
    )
    assert task.file_url == SIGNED
    for shown in (repr(task), task.said, repr(task.to_dict())):
        assert "Signature" not in shown
    assert task.to_dict()["file_url"] == SHOWN
    assert JiraTask.from_dict(task.to_dict()).to_dict() == task.to_dict()
