"""How lists and dates are read in every form that people, templates and XComs give them."""

from __future__ import annotations

import json
import pathlib
import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import jinja2
import pendulum
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.exceptions import BadInput
from airflow_provider_archival.operators.base import seconds_of
from airflow_provider_archival.operators.parsing import (
    conn_id_of,
    date_of,
    flag_of,
    id_text_of,
    is_given,
    limit_of,
    names_of,
    required,
    text_of,
)

NOTHING = [None, "", "  ", "\n", "None", " None ", "none", "null"]

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


def containing_itself() -> list[Any]:
    value: list[Any] = ["A-1"]
    value.append((value,))
    return value


def both_in_each_other() -> list[Any]:
    one: list[Any] = []
    other = [one, "A-1", one]
    one += [other, other]
    return one


def deep(levels: int) -> Any:
    value: Any = ["A-1"]
    for _ in range(levels):
        value = [value]
    return value


class Itself:
    def __iter__(self) -> Any:
        return iter([self, self])


class Endless:
    """Each of its items is another one."""

    def __iter__(self) -> Any:
        return iter([Endless(), Endless()])


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (containing_itself(), "x is a list that contains itself"),
        (both_in_each_other(), "x is a list that contains itself"),
        (Itself(), "x is a list that contains itself"),
        (Endless(), "x has lists in lists, more than 20 deep"),
        (deep(30), "x has lists in lists, more than 20 deep"),
        (deep(100_000), "x has lists in lists, more than 20 deep"),
        (repr(deep(30)), "x has lists in lists, more than 20 deep"),
        ([repr(deep(15)), repr([repr(deep(30))])], "x has lists in lists, more than 20 deep"),
        ("[" * 100_000, "x looks like a list"),
        ([10**5000], "x has a number of thousands of digits"),
    ],
    ids=lambda value: repr(type(value)) if not isinstance(value, str) else value[:30],
)
def test_a_list_that_never_ends_is_refused_by_the_parameters_name(value: Any, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        names_of(value, "x")


@pytest.mark.parametrize(
    "value",
    [
        "LazyXComSequence(<unevaluated length>)",
        "dict_keys(['A-1'])",
        "b'A-1'",
        ["<generator object>"],
        "A-1]",
    ],
)
def test_what_python_shows_of_an_object_is_no_name(value: Any) -> None:
    with pytest.raises(BadInput, match=r"archived_by looks like what Python shows .* \| list"):
        names_of(value, "archived_by")


def test_the_same_list_may_come_twice() -> None:
    keys = ["A-1"]
    assert names_of([keys, [keys, keys]], "x") == ["A-1"]


@pytest.mark.parametrize(
    ("value", "names", "number"),
    [
        (["A-1", None, "A-2", None], ["A-1", "A-2"], 2),
        ([None], [], 1),
        ([[None], [[None, "A-1"]]], ["A-1"], 2),
        ("['A-1', None]", ["A-1"], 1),
        ('[null, "A-1"]', ["A-1"], 1),
        (["None", "A-1", " ", "null"], ["A-1"], 2),
        ("A-1, None", ["A-1"], 1),
        (Lazy(None, "A-1"), ["A-1"], 1),
    ],
    ids=name_of,
)
def test_none_in_a_list_is_left_out_with_one_warning(
    logged: list[str], value: Any, names: list[str], number: int
) -> None:
    assert names_of(value, "archived_by") == names
    assert [line for line in logged if line] == [
        f"archived_by: {number} of what it lists is None: left out. Did an upstream task return nothing?"
    ]


@pytest.mark.parametrize("value", [*NOTHING, [], "[]", ["A-1", ""], "A-1,,A-2"], ids=name_of)
def test_nothing_to_leave_out_is_not_warned_of(logged: list[str], value: Any) -> None:
    names_of(value, "archived_by")
    assert [line for line in logged if line] == []


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["A-1", None], ["A-1"]),
        (["A-1", "None"], ["A-1", "None"]),
        ("A-1 None", ["A-1", "None"]),
        ([], []),
        ("[]", []),
        ([None], []),
    ],
    ids=name_of,
)
def test_in_a_list_that_has_to_be_given_only_a_real_none_is_left_out(value: Any, names: list[str]) -> None:
    assert names_of(value, "issue_ids_or_keys", is_required=True) == names


# --- given or not ---


@pytest.mark.parametrize("value", NOTHING, ids=name_of)
def test_what_a_template_makes_of_nothing_is_not_given(value: Any) -> None:
    assert not is_given(value)
    assert names_of(value, "x") == []
    assert (date_of(value, "x"), limit_of(value, "x"), text_of(value, "x")) == (None, None, None)
    assert flag_of(value, "x") is False


@pytest.mark.parametrize("value", NOTHING, ids=name_of)
@pytest.mark.parametrize(
    "read", [required, id_text_of, lambda value, name: names_of(value, name, is_required=True)]
)
def test_what_has_to_be_given_asks_what_upstream_gave(read: Any, value: Any) -> None:
    with pytest.raises(BadInput, match=r"^pool_id is empty: got .* What did upstream give\?") as caught:
        read(value, "pool_id")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0, False, [], "0", "NONE", "A-1", "None of these"], ids=name_of)
def test_what_has_a_value_is_given(value: Any) -> None:
    assert is_given(value)
    assert required(value, "x") == value


@pytest.mark.parametrize("value", [jinja2.Undefined(name="params.x"), "\ufeff", " \ufeff None\n"], ids=repr)
def test_what_is_undefined_or_only_a_mark_is_not_given(value: Any) -> None:
    assert not is_given(value)
    assert names_of(value, "x") == []
    assert (limit_of(value, "x"), text_of(value, "x"), flag_of(value, "x")) == (None, None, False)
    with pytest.raises(BadInput, match="x is empty"):
        names_of(value, "x", is_required=True)


def test_the_mark_that_editors_write_first_is_no_part_of_a_text() -> None:
    assert text_of("\ufeffproject = A\n", "jql") == "project = A"
    assert names_of("\ufeffA-1, A-2", "x") == ["A-1", "A-2"]
    assert names_of(["\ufeff['A-1']"], "x") == ["A-1"]


@pytest.mark.parametrize("value", ["cut \ud83d", "\0"], ids=ascii)
def test_what_can_not_be_kept_is_refused_by_the_parameters_name(value: str) -> None:
    for read in (text_of, names_of, conn_id_of, lambda value, name: names_of([[value]], name)):
        with pytest.raises(BadInput, match=r"x has half an emoji .*: '.*'\. See where"):
            read(value, "x")


def test_a_connections_id_that_rendered_to_nothing_is_never_the_default_one() -> None:
    assert conn_id_of(None, "destination_conn_id") is None
    assert conn_id_of(" my_s3 ", "destination_conn_id") == "my_s3"
    for value in NOTHING[1:]:
        with pytest.raises(BadInput, match="destination_conn_id is empty"):
            conn_id_of(value, "destination_conn_id")


@pytest.mark.parametrize(
    ("value", "text"), [(" a b ", "a b"), (pathlib.Path("/tmp/x"), "/tmp/x"), ("NONE", "NONE")], ids=name_of
)
def test_a_text_is_read_without_blanks_around_it(value: Any, text: str) -> None:
    assert text_of(value, "destination") == text


@pytest.mark.parametrize("url", ["/tmp/x", "file:///tmp/x", "file://mine@/tmp/x"])
def test_airflows_own_path_is_a_text_with_its_connection(url: str) -> None:
    assert text_of(ObjectStoragePath(url), "destination") == url


@pytest.mark.parametrize("value", [7, True, ["/tmp"], b"/tmp", deep(100_000), {"a": 1}], ids=lambda _: "")
@pytest.mark.parametrize("read", [text_of, flag_of], ids=["text", "flag"])
def test_what_is_no_text_and_no_flag_is_refused(read: Any, value: Any) -> None:
    if value is True and read is flag_of:
        assert flag_of(value, "x") is True
        return
    with pytest.raises(BadInput, match="x must be "):
        read(value, "x")


@pytest.mark.parametrize(("value", "text"), [(" 12 ", "12"), (12, "12"), ("a/b", "a/b")], ids=name_of)
def test_an_id_is_a_text_or_a_number(value: Any, text: str) -> None:
    assert id_text_of(value, "x") == text


@pytest.mark.parametrize(
    "value", [True, 1.5, ["12"], {"id": 1}, containing_itself(), deep(100_000)], ids=type
)
def test_what_is_no_id_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="x must be one id"):
        id_text_of(value, "x")


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
