"""Reads what people give to operators: lists in any form that a template or an XCom can have, and dates."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import pendulum

from airflow_provider_archival.exceptions import BadInput

_NAME = re.compile(r"[\w-]+")


def names_of(value: Any, parameter: str) -> list[str]:
    """
    Return a list of names without repeats, order kept.

    :param value: None, a string (names between commas or white space, a JSON list, or what a Python list
        renders to), or any collection of such, as an XCom or a mapped task gives it
    :param parameter: the operator's parameter, for the error
    :raises BadInput: for anything else
    """
    return list(dict.fromkeys(_names(value, parameter)))


def _names(value: Any, parameter: str) -> Iterable[str]:
    if value is None:
        return
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("[", "(", "{")):
            yield from _names(_literal(text, parameter), parameter)
        else:
            yield from (name.strip("'\"") for name in re.split(r"[\s,;]+", text) if name.strip("'\""))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        for item in value:
            # A name by itself is what nearly all are, of perhaps a hundred thousand.
            if isinstance(item, str) and _NAME.fullmatch(item):
                yield item
            else:
                yield from _names(item, parameter)
    else:
        raise BadInput(f"{parameter} must be a list of names or a string of them; got {_shown(value)}")


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
    if value is None or (isinstance(value, str) and not value.strip()):
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
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    try:
        limit = -1 if isinstance(value, (bool, float)) else int(value)
    except (TypeError, ValueError):
        limit = -1
    if limit < 0:
        raise BadInput(f"{parameter} must be a whole number from 0 on, or None; got {_shown(value)}")
    return limit


def flag_of(value: Any, parameter: str) -> bool:
    """Return a flag, which a template renders to text."""
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise BadInput(f"{parameter} must be true or false; got {_shown(value)}")
    return text == "true"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:199] + "…"
