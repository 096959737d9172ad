from __future__ import annotations

import calendar
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_archival.sandbox import jira_seed
from airflow_provider_archival.sandbox.issues import count, key_of, labels_of
from airflow_provider_archival.sandbox.jira_catalog import (
    ADMIN,
    ARCHIVED,
    ISSUE_TYPES,
    LABELS,
    MEMBER,
    PROJECTS,
    STATUSES,
    USERS,
)
from airflow_provider_archival.sandbox.jira_search import Reader, translate
from airflow_provider_archival.sandbox.jql import Clause, JqlError, Text, parse
from airflow_provider_archival.sandbox.settings import Settings
from airflow_provider_archival.sandbox.world import World

NOW = 1_700_000_000  # 2023-11-14 22:13:20, a Tuesday
DAY = 86400


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World.of(Settings(issues=400, seed=7))
    world.clock.offset = NOW - time.time()
    jira_seed.seed(world)
    yield world
    world.database.close()


@pytest.fixture(scope="module")
def visible(world: World) -> list[sqlite3.Row]:
    return world.database.rows("SELECT * FROM issues WHERE project <> ?", (ARCHIVED.id,))


def counted(world: World, jql: str) -> int:
    return count(world.database, translate(jql, Reader(world.database, NOW, MEMBER)))


def seconds(date: str) -> int:
    return calendar.timegm(time.strptime(date, "%Y-%m-%d %H:%M:%S"))


@pytest.mark.parametrize(
    ("jql", "matches"),
    [
        ("project = DEMO", {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4", "DEMO-5"}),
        ("PROJECT in ( demo )", {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4", "DEMO-5"}),
        ("project = Demo AND updated < -2y", {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4"}),
        ("project = 10000 and type in standardIssueTypes()", {"DEMO-1", "DEMO-4", "DEMO-5"}),
        ("project = DEMO and issuetype = 'sub-TASK'", {"DEMO-2", "DEMO-3"}),
        ("project=DEMO && (labels=empty||type=Story) && !status = 'to do'", {"DEMO-1", "DEMO-2", "DEMO-3"}),
        ("key in (demo-1, 'DEMO-5')", {"DEMO-1", "DEMO-5"}),
        ("id = 10001 or issuekey = DEMO-3", {"DEMO-1", "DEMO-3"}),
        ("key >= DEMO-2 and key < DEMO-4", {"DEMO-2", "DEMO-3"}),
        ("not key > DEMO-2", {"DEMO-1", "DEMO-2"}),
        ("parent = DEMO-1", {"DEMO-2", "DEMO-3"}),
        ("project = DEMO and reporter = currentUser()", {"DEMO-5"}),
        ("project = DEMO and created >= '-4w 2d'", {"DEMO-5"}),
        ("project = DEMO and created > -24h", set()),
        ("project = DEMO and created <= now() and created >= startOfMonth()", {"DEMO-5"}),
        ("project = DEMO and resolution = unresolved ORDER BY created DESC, key", {"DEMO-5"}),
        ("project = DEMO and statusCategory = Done", {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4"}),
        ("project = DEMO and labels in (LEGACY, nobody-has-this)", {"DEMO-1", "DEMO-4"}),
        ("project = DEMO and labels != nobody-has-this", {"DEMO-1", "DEMO-4"}),
        ("project = DEMO and labels not in (security, empty)", {"DEMO-1", "DEMO-4"}),
        ("key < DEMO-4 and assignee not in (currentUser(), empty)", set()),
        ("key > DEMO-3 and reporter not in (currentUser(), empty)", {"DEMO-4"}),
        ("project = DEMO and resolved is not null", {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4"}),
        ("project = DEMO and not (status = Closed or type = Sub-task)", {"DEMO-1", "DEMO-5"}),
        ("project = DEMO and assignee != currentUser()", set()),
        (r"project = 'DE\u004dO' and status = To\ Do", {"DEMO-5"}),
        ("project = OLD", set()),
    ],
)  # fmt: skip
def test_a_query_matches(world: World, jql: str, matches: set[str]) -> None:
    condition = translate(jql, Reader(world.database, NOW, MEMBER))
    rows = world.database.rows(f"SELECT * FROM issues WHERE {condition.text}", condition.parameters)
    assert {key_of(row) for row in rows if row["project"] != ARCHIVED.id} == matches
    assert counted(world, jql) == len(matches)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-11-01", "2023-11-01 00:00:00"),
        ("'2023/1/5 7:30'", "2023-01-05 07:30:00"),
        ("-2y", "2021-11-14 22:13:20"),
        ("-30d", "2023-10-15 22:13:20"),
        ("'-4w 2d'", "2023-10-15 22:13:20"),
        ("-3h", "2023-11-14 19:13:20"),
        ("-10m", "2023-11-14 22:03:20"),
        ("2d", "2023-11-16 22:13:20"),
        ("now()", "2023-11-14 22:13:20"),
        ("startOfDay()", "2023-11-14 00:00:00"),
        ("STARTOFDAY('-1')", "2023-11-13 00:00:00"),
        ("startOfWeek()", "2023-11-12 00:00:00"),
        ("startOfMonth(-1M)", "2023-10-01 00:00:00"),
        ("startOfYear(-2)", "2021-01-01 00:00:00"),
        ("endOfDay()", "2023-11-14 23:59:59"),
        ("endOfMonth('-9M')", "2023-02-28 23:59:59"),
        ("endOfYear(2d)", "2024-01-02 23:59:59"),
    ],
)
def test_a_point_in_time_is_read_in_utc(world: World, text: str, moment: str) -> None:
    condition = translate(f"updated >= {text}", Reader(world.database, NOW))
    assert condition.parameters == (seconds(moment),)


_UNBOUNDED = "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."
_OPERATORS = (
    "The valid operators are '=', '!=', '<', '>', '<=', '>=', '~', '!~', 'IN', 'NOT IN', 'IS' and 'IS NOT'."
)


@pytest.mark.parametrize(
    ("jql", "problem"),
    [
        ("project", f"Expecting operator before the end of the query. {_OPERATORS}"),
        ("project foo bar", f"Expecting operator but got 'foo'. {_OPERATORS} (line 1, character 9)"),
        ("project =", "Expecting either a value, list or function before the end of the query."),
        (
            "status = In Progress",
            "Expecting either a value, list or function but got 'In'."
            " You must surround 'In' in quotation marks to use it as a value. (line 1, character 10)",
        ),
        ("project = DEMO\nstatus", "Expecting either 'OR' or 'AND' but got 'status'. (line 2, character 1)"),
        ("project = DEMO)", "Expecting either 'OR' or 'AND' but got ')'. (line 1, character 15)"),
        ("project = DEMO and", "Expecting a field name before the end of the query."),
        ("(project = DEMO", "Expecting ')' before the end of the query."),
        ("project in (A B)", "Expecting ',' or ')' but got 'B'. (line 1, character 15)"),
        ("project = DEMO order created", "Expecting 'BY' but got 'created'. (line 1, character 22)"),
        ("project not DEMO", "Expecting 'IN' but got 'DEMO'. (line 1, character 13)"),
        ("project = 'DEMO", "The quoted string 'DEMO has not been completed. (line 1, character 11)"),
        (
            "project = D@MO",
            "The character '@' is a reserved JQL character."
            r" You must enclose it in a string or use the escape '\u0040' instead. (line 1, character 12)",
        ),
        (
            r"project = 'D\EMO'",
            r"'\E' is an illegal JQL escape sequence. The valid escape sequences are"
            r" \', \", \t, \n, \r, \\, '\ ' and \uXXXX. (line 1, character 11)",
        ),
        (" or ".join(["project = DEMO"] * 6000), "The query is too complex."),
        ("project = '\ud800'", "The query holds half of a surrogate pair."),
    ],
)
def test_bad_syntax_is_refused_in_jiras_words(world: World, jql: str, problem: str) -> None:
    with pytest.raises(JqlError) as caught:
        counted(world, jql)
    assert str(caught.value) == f"Error in the JQL Query: {problem}"


@pytest.mark.parametrize(
    ("jql", "problem"),
    [
        ("", _UNBOUNDED),
        ("order by key", _UNBOUNDED),
        ("colour = red", "Field 'colour' does not exist or you do not have permission to view it."),
        ("key = DEMO-1 order by x", "Field 'x' does not exist or you do not have permission to view it."),
        ("project = NOPE", "The value 'NOPE' does not exist for the field 'project'."),
        ("Status in (Done, Gone)", "The value 'Gone' does not exist for the field 'Status'."),
        ("reporter = somebody", "The value 'somebody' does not exist for the field 'reporter'."),
        ("key = DEMO-404", "An issue with key 'DEMO-404' does not exist for field 'key'."),
        (f"key = DEMO-{'9' * 40}", f"An issue with key 'DEMO-{'9' * 40}' does not exist for field 'key'."),
        ("project > DEMO", "The operator '>' is not supported by the 'project' field."),
        ("labels ~ legacy", "The operator '~' is not supported by the 'labels' field."),
        ("key is empty", "The operator 'is' is not supported by the 'key' field."),
        ("key = empty", "The field 'key' does not support EMPTY with the operator '='."),
        ("created < empty", "The field 'created' does not support EMPTY with the operator '<'."),
        ("project is DEMO", "The operator 'is' for the field 'project' takes EMPTY only."),
        ("project = (DEMO, WEB)", "Operator '=' does not support the list value for field 'project'."),
        ("project in DEMO", "Operator 'in' does not support the non-list value 'DEMO' for field 'project'."),
        ("project = latest()", "Unable to find JQL function 'latest()'."),
        ("created > startOfDay(soon)", "Unable to find JQL function 'startOfDay(soon)'."),
        (
            "created > yesterday",
            "Date value 'yesterday' for field 'created' is invalid. Valid formats include:"
            " 'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd',"
            " or a period format e.g. '-5d', '4w 2d'.",
        ),
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused_in_jiras_words(world: World, jql: str, problem: str) -> None:
    with pytest.raises(JqlError) as caught:
        counted(world, jql)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "jql",
    [
        "(" * 20_000 + "project = DEMO" + ")" * 20_000,
        "NOT " * 20_000 + "project = DEMO",
        " or ".join(["project = DEMO"] * 5000),
        f"project = DEMO and key in ({', '.join(['DEMO-1'] * 20_000)})",
    ],
)
def test_a_long_query_is_no_problem(world: World, jql: str) -> None:
    assert counted(world, jql) in (1, 5)


def nested(levels: int, terms: int) -> str:
    """Return a query of so many levels of AND and OR by turns, with so many terms each."""
    jql = "key = DEMO-1"
    for level in range(1, levels):
        operator = " and " if level % 2 else " or "
        jql = f"({operator.join([jql, *['key != DEMO-2'] * (terms - 1)])})"
    return jql


@pytest.mark.parametrize(("levels", "terms"), [(9, 550), (9, 31), (10, 2)])
def test_a_deeply_nested_query_never_overflows_sqlite(world: World, levels: int, terms: int) -> None:
    assert counted(world, nested(levels, terms)) > 0


def test_a_query_that_is_nested_too_deeply_is_refused(world: World) -> None:
    with pytest.raises(JqlError, match="too complex"):
        counted(world, nested(11, 2))


# What the characters of JQL make of each other is more likely to go wrong than what any text does.
_JQL_LIKE = st.lists(
    st.sampled_from(
        [*"()=!<>~,&|'\"\\-;%", " ", "\n", "\x00", "and", "or", "not", "in", "is", "empty", "order by",
         "project", "DEMO", "key", "DEMO-1", "updated", "-2y", "2024-01-31", "labels", "legacy", "status",
         "Done", r"\u0041", "1", "now()", "--", "/*", "currentUser(",
         "99999999999999999999", "-999999y", "startOfYear(-9999)"]
    )
).map(" ".join)  # fmt: skip


@given(
    st.one_of(
        st.text(), st.text(st.characters()), _JQL_LIKE, _JQL_LIKE.map(lambda text: text.replace(" ", ""))
    )
)
@example("created > -999999y")
@example("created > startOfYear(-999999)")
@example("created > 0000-00-00")
@example("id = 999999999999999999")
def test_any_text_is_a_query_or_a_jql_error(world: World, text: str) -> None:
    try:
        number = counted(world, text)
    except JqlError:
        return
    assert 0 <= number <= 400


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from("'\""))
@example("' OR project = DEMO OR labels = '", "'")
@example("x'); DROP TABLE issues; --", "'")
@example("\\", '"')
def test_nothing_breaks_out_of_quotes(world: World, text: str, quote: str) -> None:
    quoted = quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
    assert parse(f"labels = {quoted}").where == Clause("labels", "=", (Text(text),), is_list=False)
    assert counted(world, f"labels = {quoted}") == (
        0 if text.lower() not in LABELS else counted(world, f"labels = {text}")
    )
    assert counted(world, "project = DEMO") == 5


Truth = bool | None
Predicate = Callable[[sqlite3.Row], Truth]


@dataclass(frozen=True)
class Sample:
    """A query, and what it says of an issue in Python; None is neither, which an empty field gives."""

    jql: str
    says: Predicate


def both(one: Truth, other: Truth) -> Truth:
    return False if False in (one, other) else (None if None in (one, other) else True)


def negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def one_of(
    field: str, read: Callable[[sqlite3.Row], object], values: list[tuple[str, object]]
) -> st.SearchStrategy[Sample]:
    """Make clauses on a field with one value or none; ``values`` are pairs of JQL and what is read."""

    def made(chosen: list[tuple[str, object]], is_negative: bool, is_list: bool) -> Sample:
        wanted = {value for _, value in chosen} if is_list else {chosen[0][1]}
        right = f"({', '.join(text for text, _ in chosen)})" if is_list else chosen[0][0]
        operator = {(False, False): "=", (True, False): "!=", (False, True): "IN", (True, True): "nOt In"}
        jql = f"{field} {operator[is_negative, is_list]} {right}"

        def says(row: sqlite3.Row) -> Truth:
            is_neither = read(row) is None and None not in wanted
            return None if is_neither else (read(row) in wanted) != is_negative

        return Sample(jql, says)

    chosen = st.lists(st.sampled_from(values), min_size=1, max_size=4)
    return st.builds(made, chosen, st.booleans(), st.booleans())


def emptiness(field: str, read: Callable[[sqlite3.Row], object]) -> st.SearchStrategy[Sample]:
    return st.sampled_from(
        [
            Sample(f"{field} is EMPTY", lambda row: read(row) is None),
            Sample(f"{field} IS NOT null", lambda row: read(row) is not None),
            Sample(f"{field} = empty", lambda row: read(row) is None),
            Sample(f"{field} != empty", lambda row: read(row) is not None),
        ]
    )


def label_clauses() -> st.SearchStrategy[Sample]:
    def made(chosen: list[str], is_negative: bool) -> Sample:
        jql = f"labels {'not in' if is_negative else 'in'} ({', '.join(chosen)})"
        return Sample(
            jql,
            lambda row: (
                None
                if row["labels"] is None
                else bool({*labels_of(row["labels"])} & {*chosen}) != is_negative
            ),
        )

    return st.builds(made, st.lists(st.sampled_from(LABELS), min_size=1, max_size=3), st.booleans())


def key_clauses() -> st.SearchStrategy[Sample]:
    def made(operator: str, key: str) -> Sample:
        project, number = key.split("-")
        compare = COMPARISONS[operator]

        def says(row: sqlite3.Row) -> Truth:
            if operator in ("=", "!="):
                return compare(key_of(row), key)
            own, _, own_number = key_of(row).partition("-")
            return compare(int(own_number), int(number)) if own == project else None

        return Sample(f"key {operator} {key}", says)

    return st.builds(
        made, st.sampled_from([*COMPARISONS]), st.sampled_from(["DEMO-3", "WEB-10", "APP-5", "DESK-1"])
    )


def date_clauses(field: str) -> st.SearchStrategy[Sample]:
    def made(operator: str, moment: tuple[str, int]) -> Sample:
        compare = COMPARISONS[operator]
        return Sample(f"{field} {operator} {moment[0]}", lambda row: compare(row[field], moment[1]))

    years = st.integers(0, 12).map(lambda n: (f"-{n}y", NOW - n * 365 * DAY))
    hours = st.integers(0, 99_999).map(lambda n: (f'"-{n}h"', NOW - n * 3600))
    days = (
        st.integers(-4000, 0)
        .map(lambda n: time.gmtime(NOW + n * DAY))
        .map(lambda t: (time.strftime("'%Y/%m/%d %H:%M'", t), calendar.timegm(t) - t.tm_sec))
    )
    return st.builds(made, st.sampled_from([*COMPARISONS]), st.one_of(years, hours, days))


COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,  # type: ignore[operator]
    "<=": lambda one, other: one <= other,  # type: ignore[operator]
    ">": lambda one, other: one > other,  # type: ignore[operator]
    ">=": lambda one, other: one >= other,  # type: ignore[operator]
}
NONE = ("empty", None)
CLAUSES = st.one_of(
    one_of(
        "project", lambda row: row["project"], [(f"'{project.name}'", project.id) for project in PROJECTS]
    ),
    one_of("Status", lambda row: row["status"], [(f'"{status.name}"', status.id) for status in STATUSES]),
    one_of("type", lambda row: row["type"], [(str(kind.id), kind.id) for kind in ISSUE_TYPES]),
    one_of("reporter", lambda row: row["reporter"], [(user.account_id, user.id) for user in USERS] + [NONE]),
    one_of(
        "assignee",
        lambda row: row["assignee"],
        [("currentUser()", MEMBER.id), (ADMIN.account_id, ADMIN.id), NONE],
    ),
    emptiness("reporter", lambda row: row["reporter"]),
    emptiness("labels", lambda row: row["labels"]),
    label_clauses(),
    key_clauses(),
    date_clauses("created"),
    date_clauses("updated"),
)


def joined(word: str, one: Sample, other: Sample) -> Sample:
    if word in ("AND", "&&"):
        return Sample(f"({one.jql} {word} {other.jql})", lambda row: both(one.says(row), other.says(row)))
    return Sample(
        f"({one.jql} {word} {other.jql})",
        lambda row: negated(both(negated(one.says(row)), negated(other.says(row)))),
    )


def inverted(word: str, sample: Sample) -> Sample:
    return Sample(f"{word}{sample.jql}", lambda row: negated(sample.says(row)))


QUERIES = st.recursive(
    CLAUSES,
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from(["AND", "or", "&&", "||"]), inner, inner),
        st.builds(inverted, st.sampled_from(["NOT ", "!"]), inner),
    ),
    max_leaves=7,
)


@given(QUERIES)
def test_a_query_agrees_with_a_plain_reading_of_it(
    world: World, visible: list[sqlite3.Row], sample: Sample
) -> None:
    assert counted(world, sample.jql) == sum(sample.says(row) is True for row in visible)
