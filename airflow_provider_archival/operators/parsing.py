"""Reads what people give to operators: lists in any form that a template or an XCom can have, and dates."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import pendulum
from jinja2 import Undefined

from airflow_provider_archival.api.clean import is_fit
from airflow_provider_archival.api.http import checked_id
from airflow_provider_archival.exceptions import BadInput

log = logging.getLogger(__name__)

DEFAULT_JIRA_CONN_ID, DEFAULT_TOLOKA_CONN_ID = "jira_cloud_default", "toloka_default"

_NAME = re.compile(r"[\w-]+")
# What a template makes of None (Python's, or JSON's) and of nothing.
_NOTHING = frozenset({"", "None", "none", "null"})
# No id or key of Jira's has these; str() of a mapped task's XComs has, and would match nothing.
_NO_NAME = re.compile(r"[<>()\[\]{}'\"]")
_DEEPEST = 20


def is_given(value: Any) -> bool:
    """Say whether a parameter has a value: not None, nor what a template makes of None or of nothing."""
    if isinstance(value, str):
        return _bare(value) not in _NOTHING
    return not (value is None or isinstance(value, Undefined))


def required(value: Any, parameter: str, advice: str = "") -> Any:
    """Return a parameter that has to have a value, or raise ``BadInput`` that asks what upstream gave."""
    if is_given(value):
        return value
    raise BadInput(
        f"{parameter} is empty: {advice}got {_shown(value)}. What did upstream give? A template renders the"
        " XCom of a task that returned nothing to 'None', and nothing at all to ''. Mend what gives it, then"
        " clear this task."
    )


def id_text_of(value: Any, parameter: str) -> str:
    """Return an id, which a task may give as a number, as text; not checked otherwise."""
    if isinstance(required(value, parameter), (str, int)) and not isinstance(value, bool):
        return _digits(value, parameter) if isinstance(value, int) else str(value).strip()
    raise BadInput(f"{parameter} must be one id; got {_shown(value)}")


def id_of(value: Any, parameter: str) -> str:
    """Return a parameter that is an id, or raise ``BadInput``."""
    try:
        return checked_id(id_text_of(value, parameter), parameter)
    except ValueError as error:
        raise BadInput(str(error)) from None


def text_of(value: Any, parameter: str) -> str | None:
    """Return a text without blanks around it, such as a path; None where none is given."""
    if not is_given(value):
        return None
    # Airflow 3's own path is no PathLike.
    if not isinstance(value, (str, os.PathLike)) and not hasattr(value, "joinpath"):
        raise BadInput(f"{parameter} must be a text; got {_shown(value)}")
    return _fit(_bare(str(value)), parameter)


def conn_id_of(value: Any, parameter: str) -> str | None:
    """Return a connection's id; None for None, but an error for what a template made of nothing."""
    return None if value is None else text_of(required(value, parameter), parameter)


def names_of(value: Any, parameter: str, *, is_required: bool = False) -> list[str]:
    """
    Return a list of names without repeats, order kept.

    A None in a list is left out, with a warning.

    :param value: None, a string (names between commas or white space, a JSON list, or what a Python list
        renders to), or any collection of such, as an XCom or a mapped task gives it
    :param parameter: the operator's parameter, for the error
    :param is_required: whether it has to be given: a list may be empty, but the text "None" is no list; and
        whether such a text in a list is a name as any other, instead of being left out as well
    :raises BadInput: for anything else, and for a list that contains itself
    """
    reader = _Names(parameter, () if is_required else _NOTHING)
    found = list(dict.fromkeys(reader.read(required(value, parameter) if is_required else value)))
    if reader.nothing:
        log.warning(
            "%s: %d of what it lists is None: left out. Did an upstream task return nothing?",
            *(parameter, reader.nothing),
        )
    return found


class _Names:
    """Reads names from lists in lists."""

    def __init__(self, parameter: str, nothing: Collection[str]) -> None:
        self._parameter, self._nothing = parameter, nothing
        self._within: list[int] = []
        self.nothing = 0

    def read(self, value: Any) -> Iterator[str]:
        if value is None or isinstance(value, Undefined):
            self.nothing += bool(self._within)
        elif isinstance(value, str):
            yield from self._in_text(_fit(_bare(value), self._parameter))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield _digits(value, self._parameter)
        elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
            yield from self._in_list(value)
        else:
            raise BadInput(
                f"{self._parameter} must be a list of names or a string of them; got {_shown(value)}"
            )

    def _in_text(self, text: str) -> Iterator[str]:
        if text.startswith(("[", "(", "{")):
            yield from self.read(_literal(text, self._parameter))
            return
        for name in (name.strip("'\"") for name in re.split(r"[\s,;]+", text)):
            if name and name in self._nothing:
                self.nothing += bool(self._within) or name != text
            elif self._nothing and _NO_NAME.search(name):
                raise BadInput(
                    f"{self._parameter} looks like what Python shows of an object, not like names:"
                    f" {_shown(text)}. A template that renders an XCom must give a list: append | list"
                )
            elif name:
                yield name

    def _in_list(self, values: Iterable[Any]) -> Iterator[str]:
        if id(values) in self._within:
            raise BadInput(f"{self._parameter} is a list that contains itself: give the names only")
        if len(self._within) == _DEEPEST:
            raise BadInput(
                f"{self._parameter} has lists in lists, more than {_DEEPEST} deep: give the names only"
            )
        self._within.append(id(values))
        # A set is another one in each process, but for what is in it.
        ordered = sorted(values, key=str) if isinstance(values, (set, frozenset)) else values
        for item in ordered:
            # A name by itself is what nearly all are, of perhaps a hundred thousand.
            if isinstance(item, str) and item not in self._nothing and _NAME.fullmatch(item):
                yield item
            else:
                yield from self.read(item)
        self._within.pop()


def _bare(text: str) -> str:
    """Return a text without what is around it: blanks, and the mark that some editors write first."""
    return text.strip().strip("\ufeff").strip()


def _fit(text: str, parameter: str) -> str:
    if is_fit(text):
        return text
    raise BadInput(
        f"{parameter} has half an emoji (a lone surrogate) or a NUL in it, which can't be sent or kept:"
        f" {_shown(text)}. See where it was cut, and mend that."
    )


def _digits(number: int, parameter: str) -> str:
    try:
        return str(number)
    except ValueError:
        raise BadInput(f"{parameter} has a number of thousands of digits, which is no name") from None


def _literal(text: str, parameter: str) -> Any:
    """Read ``["A-1"]`` (JSON) or ``['A-1']`` (what a list renders to)."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    raise BadInput(
        f"{parameter} looks like a list, but is neither JSON nor a Python list: {_shown(text)}. A template"
        " that renders an XCom must give the whole list."
    )


def date_of(value: Any, parameter: str) -> pendulum.Date | None:
    """
    Return a date given as a date, a time (in UTC: Jira's dates have no zone) or ISO 8601 text; None for
    nothing.

    :raises BadInput: for anything else
    """
    if not is_given(value):
        return None
    try:
        # pendulum takes "now" and "12:00" for today, which nobody means by a date.
        if isinstance(value, str) and not re.match(r"[0-9]{4}", value.strip()):
            raise ValueError
        parsed = pendulum.parse(value.strip()) if isinstance(value, str) else value
        if isinstance(parsed, pendulum.Duration | pendulum.Time) or not isinstance(parsed, date):
            raise ValueError
        if isinstance(parsed, datetime):
            parsed = pendulum.instance(parsed).in_timezone("UTC")
        return pendulum.date(parsed.year, parsed.month, parsed.day)
    except (ValueError, TypeError, OverflowError):
        raise BadInput(f"{parameter} must be a date such as 2024-01-31; got {_shown(value)}") from None


def limit_of(value: Any, parameter: str) -> int | None:
    """Return a whole number from 0 on, which a template renders to text; None for no limit."""
    if not is_given(value):
        return None
    try:
        limit = -1 if isinstance(value, (bool, float)) else int(value)
    except (TypeError, ValueError):
        limit = -1
    if limit < 0:
        raise BadInput(f"{parameter} must be a whole number from 0 on, or None; got {_shown(value)}")
    return limit


def flag_of(value: Any, parameter: str) -> bool:
    """Return a flag, which a template renders to text; False where none is given."""
    if not is_given(value):
        return False
    text = str(value).strip().lower() if isinstance(value, (bool, str)) else ""
    if text not in ("true", "false"):
        raise BadInput(f"{parameter} must be true or false; got {_shown(value)}")
    return text == "true"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:199] + "…"
