"""What a JQL query means: its fields, values and functions, as an SQL condition on the table of issues."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_archival.sandbox.database import Database
from airflow_provider_archival.sandbox.jira_catalog import (
    ISSUE_TYPES,
    LABELS,
    PROJECT_BY_KEY,
    PROJECTS,
    STATUSES,
    USER_BY_ACCOUNT,
    IssueType,
    Project,
    Status,
    User,
)
from airflow_provider_archival.sandbox.jql import (
    Clause,
    Condition,
    Empty,
    Function,
    JqlError,
    Not,
    Operand,
    Query,
    Text,
    parse,
)
from airflow_provider_archival.sandbox.jql_dates import date_function, point_in_time

_INVERSE = {"=": "!=", "<": ">=", ">": "<=", "IN": "NOT IN", "IS": "IS NOT"}
_INVERSE |= {inverse: operator for operator, inverse in _INVERSE.items()}
_NEGATIVE = ("!=", "NOT IN", "IS NOT")
_EQUALITY = ("=", "!=", "IN", "NOT IN")
_EMPTINESS = ("IS", "IS NOT")
_ORDER = ("<", "<=", ">", ">=")
# SQLite's depth of an expression is bounded, so a long chain is cut into chains of chains.
_LONGEST_CHAIN = 30
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_]*)-([0-9]{1,15})")
# No user's number.
_NOBODY = 0
_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Reader:
    """Who asks, when, and of which issues: what the meaning of a query depends on."""

    database: Database
    now: float
    user: User | None = None


Read = Callable[[Reader, str, Operand], Sequence[int]]


@dataclass(frozen=True)
class Sql:
    """An SQL condition on ``issues`` with its bound parameters."""

    text: str
    parameters: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Field:
    """
    A field that can be searched.

    :param name: as messages call it.
    :param column: the SQL expression that it is kept in; NULL is empty.
    :param read: turns an operand into the values of the column that it stands for.
    :param operators: those that it supports.
    :param is_set: whether the column is a set of bits.
    :param empty_word: a value that means EMPTY, in lower case.
    """

    name: str
    column: str
    read: Read
    operators: tuple[str, ...] = _EQUALITY + _EMPTINESS
    is_set: bool = False
    empty_word: str = ""

    def is_empty(self, operand: Operand) -> bool:
        """Whether the operand asks for issues where the field is not set."""
        return isinstance(operand, Empty) or (
            isinstance(operand, Text) and self.empty_word != "" and operand.text.lower() == self.empty_word
        )


def translate(jql: str, reader: Reader, *, must_be_bounded: bool = True) -> Sql:
    """Return the SQL condition that a query stands for; raises :class:`JqlError`, in Jira's words."""
    query = parse(jql)
    _check_order(query)
    if query.where is None:
        if must_be_bounded:
            raise JqlError(
                "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."
            )
        return Sql("1")
    return _condition(query.where, reader, negated=False)


def find_issue(database: Database, id_or_key: str) -> int | None:
    """Return the id of the issue with this id or key, archived or not."""
    if key := _KEY.fullmatch(id_or_key):
        project = PROJECT_BY_KEY.get(key[1].upper())
        if project is None:
            return None
        found = database.value(
            "SELECT id FROM issues WHERE project = ? AND number = ?", (project.id, int(key[2]))
        )
    elif _ID.fullmatch(id_or_key):
        found = database.value("SELECT id FROM issues WHERE id = ?", (int(id_or_key),))
    else:
        return None
    return None if found is None else int(found)


def _check_order(query: Query) -> None:
    for name in query.order_by:
        if name.lower() not in _FIELDS and name.lower() != "summary":
            raise _no_field(name)


def _no_field(name: str) -> JqlError:
    return JqlError(f"Field '{name}' does not exist or you do not have permission to view it.")


def _condition(condition: Condition, reader: Reader, negated: bool) -> Sql:
    """Translate a tree; negation goes down to the operators, because in Jira ``NOT a = b`` is ``a != b``."""
    if isinstance(condition, Not):
        return _condition(condition.term, reader, not negated)
    if isinstance(condition, Clause):
        return _clause(
            condition, reader, _INVERSE.get(condition.operator, "") if negated else condition.operator
        )
    parts = [_condition(term, reader, negated) for term in condition.terms]
    return _chained("AND" if (condition.operator == "AND") != negated else "OR", parts)


def _chained(operator: str, parts: list[Sql]) -> Sql:
    while len(parts) > _LONGEST_CHAIN:
        cuts = range(0, len(parts), _LONGEST_CHAIN)
        parts = [_chained(operator, parts[cut : cut + _LONGEST_CHAIN]) for cut in cuts]
    text = f" {operator} ".join(part.text for part in parts)
    return Sql(f"({text})", tuple(parameter for part in parts for parameter in part.parameters))


def _clause(clause: Clause, reader: Reader, operator: str) -> Sql:
    field = _FIELDS.get(clause.field.lower())
    if field is None:
        raise _no_field(clause.field)
    _check(clause, field)
    wanted = [operand for operand in clause.operands if not field.is_empty(operand)]
    values = [value for operand in wanted for value in field.read(reader, clause.field, operand)]
    if operator in _ORDER:
        return _comparison(field, reader, operator, values[0])
    return _membership(field, values, len(wanted) < len(clause.operands), operator in _NEGATIVE)


def _check(clause: Clause, field: Field) -> None:
    """Refuse an operator that the field has not, and an operand that the operator has not."""
    operator, name, first = clause.operator, clause.field, clause.operands[0]
    shown = operator.lower()
    if operator not in field.operators:
        raise JqlError(f"The operator '{shown}' is not supported by the '{name}' field.")
    if operator in _EMPTINESS and (clause.is_list or not isinstance(first, Empty)):
        raise JqlError(f"The operator '{shown}' for the field '{name}' takes EMPTY only.")
    takes_list = operator in ("IN", "NOT IN")
    if clause.is_list and not takes_list:
        raise JqlError(f"Operator '{shown}' does not support the list value for field '{name}'.")
    if takes_list and not clause.is_list and not isinstance(first, Function):
        value = first.text if isinstance(first, Text) else "EMPTY"
        raise JqlError(
            f"Operator '{shown}' does not support the non-list value '{value}' for field '{name}'."
        )
    if any(map(field.is_empty, clause.operands)) and (operator in _ORDER or "IS" not in field.operators):
        raise JqlError(f"The field '{name}' does not support EMPTY with the operator '{shown}'.")


def _comparison(field: Field, reader: Reader, operator: str, value: int) -> Sql:
    if field.name != "key":
        return Sql(f"{field.column} {operator} ?", (value,))
    # Keys are ordered within their project only.
    issue = reader.database.row("SELECT project, number FROM issues WHERE id = ?", (value,))
    assert issue is not None
    return Sql(f"(project = ? AND number {operator} ?)", (issue["project"], issue["number"]))


def _membership(field: Field, values: list[int], with_empty: bool, negative: bool) -> Sql:
    parts, parameters = list[str](), tuple[int | str, ...]()
    if values and field.is_set:
        mask = 0
        for value in values:
            mask |= value
        parts, parameters = [f"{field.column} & ? {'=' if negative else '<>'} 0"], (mask,)
    elif values or not with_empty:
        word = "NOT IN" if negative else "IN"
        parts = [f"{field.column} {word} (SELECT value FROM json_each(?))"]  # noqa: S608 - our own names
        parameters = (json.dumps(values),)
    if with_empty:
        parts.append(f"{field.column} IS {'NOT NULL' if negative else 'NULL'}")
    return Sql(f"({(' AND ' if negative else ' OR ').join(parts)})", parameters)


def _read_named(
    names: Mapping[str, Sequence[int]], functions: Mapping[str, Sequence[int]] | None = None
) -> Read:
    """Return a reader of values that have a name or an id; ``names`` and ``functions`` are in lower case."""

    def read(reader: Reader, field: str, operand: Operand) -> Sequence[int]:
        if isinstance(operand, Function):
            found = (functions or {}).get(operand.name.lower())
            if found is None or operand.arguments:
                raise _no_function(operand)
            return found
        return _known(names.get(_text(operand).lower()), field, operand)

    return read


def _read_user(reader: Reader, field: str, operand: Operand) -> Sequence[int]:
    if isinstance(operand, Function):
        if operand.name.lower() != "currentuser" or operand.arguments:
            raise _no_function(operand)
        return (reader.user.id if reader.user else _NOBODY,)
    user = USER_BY_ACCOUNT.get(_text(operand))
    return _known((user.id,) if user else None, field, operand)


def _read_issue(reader: Reader, field: str, operand: Operand) -> Sequence[int]:
    if isinstance(operand, Function):
        raise _no_function(operand)
    issue = find_issue(reader.database, _text(operand))
    if issue is None:
        raise JqlError(f"An issue with key '{_text(operand)}' does not exist for field '{field}'.")
    return (issue,)


def _read_label(reader: Reader, field: str, operand: Operand) -> Sequence[int]:
    if isinstance(operand, Function):
        raise _no_function(operand)
    label = _text(operand).lower()
    return (1 << LABELS.index(label) if label in LABELS else 0,)


def _read_date(reader: Reader, field: str, operand: Operand) -> Sequence[int]:
    if isinstance(operand, Function):
        moment = date_function(operand.name.lower(), operand.arguments, reader.now)
        if moment is None:
            raise _no_function(operand)
        return (moment,)
    moment = point_in_time(_text(operand), reader.now)
    if moment is None:
        raise JqlError(
            f"Date value '{_text(operand)}' for field '{field}' is invalid. Valid formats include:"
            " 'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd',"
            " or a period format e.g. '-5d', '4w 2d'."
        )
    return (moment,)


def _text(operand: Operand) -> str:
    assert isinstance(operand, Text)
    return operand.text


def _known(values: Sequence[int] | None, field: str, operand: Operand) -> Sequence[int]:
    if values is None:
        raise JqlError(f"The value '{_text(operand)}' does not exist for the field '{field}'.")
    return values


def _no_function(function: Function) -> JqlError:
    return JqlError(f"Unable to find JQL function '{function.name}({', '.join(function.arguments)})'.")


def _by_name(entries: Iterable[Status | IssueType | Project]) -> dict[str, tuple[int]]:
    return {alias: (entry.id,) for entry in entries for alias in (entry.name.lower(), str(entry.id))}


def _in_category(name: str) -> tuple[int, ...]:
    return tuple(status.id for status in STATUSES if status.category == name)


_ISSUE_TYPE_FUNCTIONS = {
    "standardissuetypes": tuple(kind.id for kind in ISSUE_TYPES if not kind.is_subtask),
    "subtaskissuetypes": tuple(kind.id for kind in ISSUE_TYPES if kind.is_subtask),
}
_PROJECT_NAMES = _by_name(PROJECTS) | {project.key.lower(): (project.id,) for project in PROJECTS}
_CATEGORY_NAMES = {
    alias: _in_category(name)
    for name, aliases in (("To Do", ("new", "2")), ("In Progress", ("indeterminate", "4")), ("Done", ("3",)))
    for alias in (name.lower(), *aliases)
}
_RESOLUTION = "CASE WHEN resolved IS NULL THEN NULL ELSE 1 END"

_KEY_FIELD = Field("key", "id", _read_issue, _EQUALITY + _ORDER)
_TYPE_FIELD = Field("issuetype", "type", _read_named(_by_name(ISSUE_TYPES), _ISSUE_TYPE_FUNCTIONS))
_DATE_OPERATORS = _EQUALITY + _EMPTINESS + _ORDER
_CREATED_FIELD = Field("created", "created", _read_date, _DATE_OPERATORS)
_UPDATED_FIELD = Field("updated", "updated", _read_date, _DATE_OPERATORS)
_RESOLVED_FIELD = Field("resolved", "resolved", _read_date, _DATE_OPERATORS)
_FIELDS = {
    "project": Field("project", "project", _read_named(_PROJECT_NAMES)),
    "key": _KEY_FIELD,
    "id": _KEY_FIELD,
    "issuekey": _KEY_FIELD,
    "issue": _KEY_FIELD,
    "parent": Field("parent", "parent", _read_issue),
    "issuetype": _TYPE_FIELD,
    "type": _TYPE_FIELD,
    "status": Field("status", "status", _read_named(_by_name(STATUSES))),
    "statuscategory": Field("statusCategory", "status", _read_named(_CATEGORY_NAMES)),
    "resolution": Field("resolution", _RESOLUTION, _read_named({"done": (1,)}), empty_word="unresolved"),
    "labels": Field("labels", "labels", _read_label, is_set=True),
    "reporter": Field("reporter", "reporter", _read_user),
    "assignee": Field("assignee", "assignee", _read_user),
    "created": _CREATED_FIELD,
    "createddate": _CREATED_FIELD,
    "updated": _UPDATED_FIELD,
    "updateddate": _UPDATED_FIELD,
    "resolved": _RESOLVED_FIELD,
    "resolutiondate": _RESOLVED_FIELD,
}
