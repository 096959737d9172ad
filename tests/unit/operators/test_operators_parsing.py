"""How lists and dates are read in every form that people, templates and XComs give them."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.exceptions import BadInput
from airflow_provider_archival.operators.base import seconds_of
from airflow_provider_archival.operators.parsing import date_of, names_of

# --- lists ---


class Lazy:
    """As the values of a mapped task come: a sequence that is no list."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __iter__(self) -> Any:
        return iter(self.values)


def name_of(value: object) -> str:
    """Name a value without its address, so that every worker of a parallel run collects the same tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        ("", []),
        ("  \n", []),
        (",, ;", []),
        ("[]", []),
        ("()", []),
        ([], []),
        ((), []),
        (set(), []),
        ("A-1", ["A-1"]),
        ("A-1,A-2", ["A-1", "A-2"]),
        ("A-1, A-2", ["A-1", "A-2"]),
        ("A-1 A-2", ["A-1", "A-2"]),
        ("A-1;A-2", ["A-1", "A-2"]),
        (" A-1\n\tA-2\r\n", ["A-1", "A-2"]),
        ("'A-1', \"A-2\"", ["A-1", "A-2"]),
        ("['A-1', 'A-2']", ["A-1", "A-2"]),
        ('["A-1", "A-2"]', ["A-1", "A-2"]),
        (' ["A-1"] ', ["A-1"]),
        ("('A-1', 'A-2')", ["A-1", "A-2"]),
        ("('A-1',)", ["A-1"]),
        ("('A-1')", ["A-1"]),
        ("[10001, 'A-1']", ["10001", "A-1"]),
        ("['A-1, A-2', 'A-3']", ["A-1", "A-2", "A-3"]),
        ("[['A-1'], ['A-2']]", ["A-1", "A-2"]),
        ('[null, "A-1"]', ["A-1"]),
        (["A-1", "A-2"], ["A-1", "A-2"]),
        (("A-1", "A-2"), ["A-1", "A-2"]),
        ({"A-1": None}.keys(), ["A-1"]),
        (frozenset({"A-1"}), ["A-1"]),
        ((key for key in ("A-1", "A-2")), ["A-1", "A-2"]),
        (Lazy("A-1", ["A-2"]), ["A-1", "A-2"]),
        ([["A-1", "A-2"], ["A-3"]], ["A-1", "A-2", "A-3"]),
        (["['A-1']", '["A-2"]', "A-3 A-4"], ["A-1", "A-2", "A-3", "A-4"]),
        (["A-1", None, "A-2"], ["A-1", "A-2"]),
        (10001, ["10001"]),
        ([10001, 10002], ["10001", "10002"]),
        (["B", "A", "B", "C", "A"], ["B", "A", "C"]),
        ("B A B", ["B", "A"]),
    ],
    ids=name_of,
)
def test_a_list_is_read_in_every_form(value: Any, names: list[str]) -> None:
    assert names_of(value, "issue_ids_or_keys") == names


@pytest.mark.parametrize(
    "value",
    [
        True,
        1.5,
        b"A-1",
        {"A-1": 1},
        ["A-1", True],
        ["A-1", 1.5],
        ["A-1", {"key": "A-2"}],
        [b"A-1"],
        pytest.param(object(), id="object"),
        "['A-1', 'A-2'",
        "[A-1, A-2]",
        "['A-1' 'A-2",
        "[1e5]",
        '{"A-1": 1}',
        "{'A-1': 1}",
        "{[1]}",
        "{{1}}",
        "{{ ti.xcom_pull('x') }}",
        "[" * 500 + "'A-1'" + "]" * 500,
        "[\x00",
        "(print(1))",
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_no_list_is_refused_by_the_parameters_name(value: Any) -> None:
    with pytest.raises(BadInput, match=r"^issue_ids_or_keys ") as caught:
        names_of(value, "issue_ids_or_keys")
    assert len(str(caught.value)) < 500


_KEYS = st.from_regex(r"[A-Z][A-Z0-9_]{0,9}-[1-9][0-9]{0,5}", fullmatch=True)


@given(
    keys=st.lists(_KEYS, max_size=30),
    written=st.sampled_from(
        [
            list,
            tuple,
            ", ".join,
            ",".join,
            "\n".join,
            " ; ".join,
            repr,
            json.dumps,
            lambda keys: repr(tuple(keys)),
        ]
    ),
)
def test_a_list_survives_whichever_way_it_is_written(keys: list[str], written: Any) -> None:
    assert names_of(written(keys), "x") == list(dict.fromkeys(keys))


@given(st.text() | st.from_regex(r"[\[({].*"))
def test_no_text_raises_anything_but_bad_input(text: str) -> None:
    try:
        names = names_of(text, "x")
    except BadInput:
        return
    assert all(name and name == name.strip() for name in names)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_no_value_raises_anything_but_bad_input(value: Any) -> None:
    try:
        names_of(value, "x")
    except BadInput as error:
        assert str(error).startswith("x ")  # noqa: PT017 (hypothesis decides whether there is an error)


# --- dates ---


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("None", None),
        ("null", None),
        ("2024-01-31", "2024-01-31"),
        (" 2024-01-31 ", "2024-01-31"),
        ("20240131", "2024-01-31"),
        ("2024-01-31T12:00:00", "2024-01-31"),
        ("2024-01-31T12:00:00Z", "2024-01-31"),
        ("2024-01-31 12:00:00+00:00", "2024-01-31"),
        ("2024-01-31T23:30:00-05:00", "2024-02-01"),
        ("2024-01-31T00:30:00+05:00", "2024-01-30"),
        (date(2024, 1, 31), "2024-01-31"),
        (pendulum.date(2024, 1, 31), "2024-01-31"),
        (datetime(2024, 1, 31, 23), "2024-01-31"),
        (datetime(2024, 1, 31, 23, tzinfo=timezone(timedelta(hours=-5))), "2024-02-01"),
        (pendulum.datetime(2024, 1, 31, 23, tz="America/New_York"), "2024-02-01"),
        (pendulum.datetime(2024, 1, 31), "2024-01-31"),
    ],
    ids=name_of,
)  # fmt: skip
def test_a_date_is_read_in_every_form(value: Any, day: str | None) -> None:
    found = date_of(value, "archived_after")
    assert (found and found.isoformat()) == day


@pytest.mark.parametrize(
    "value",
    [
        "31.01.2024",
        "2024-02-30",
        "20240231",
        "yesterday",
        "now",
        "12:00",
        "{{ ds }}",
        "P1D",
        "2024-01-01/2024-02-01",
        "9999-12-31T23:59:59-10:00",
        "4:",
        20240131,
        1.5,
        True,
        time(12),
        timedelta(days=1),
        pendulum.duration(days=1),
        ["2024-01-31"],
    ],
    ids=name_of,
)
def test_what_is_no_date_is_refused_by_the_parameters_name(value: Any) -> None:
    with pytest.raises(BadInput, match="archived_after must be a date such as 2024-01-31; got"):
        date_of(value, "archived_after")


@given(st.text() | st.from_regex(r"[0-9]{4}[-0-9T:Z+./W]{0,20}", fullmatch=True))
def test_no_text_for_a_date_raises_anything_but_bad_input(text: str) -> None:
    try:
        date_of(text, "x")
    except BadInput:
        return


# --- seconds ---


@pytest.mark.parametrize(("value", "seconds"), [(30, 30), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_seconds_are_read(value: Any, seconds: float) -> None:
    assert seconds_of(value, "timeout") == seconds


@pytest.mark.parametrize(
    "value",
    [0, -1, float("inf"), float("nan"), True, "30", None, timedelta(0), timedelta(seconds=-1)],
    ids=name_of,
)
def test_seconds_that_make_no_sense_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0"):
        seconds_of(value, "timeout")
