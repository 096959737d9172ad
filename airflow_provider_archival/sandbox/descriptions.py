"""Reading what the control is sent: JSON objects whose keys have rules, and what is said of a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

# For each key of a description: what a good value is, and how to say so.
Rules = Mapping[str, tuple[Callable[[Any], bool], str]]


class BadDescription(ValueError):
    """A description that makes no sense; ``field`` is the key that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def checked(description: object, rules: Rules) -> dict[str, Any]:
    """Return a description whose keys are all known and good; raises :class:`BadDescription`."""
    if not isinstance(description, dict):
        raise BadDescription("body", "want a JSON object")
    for key, value in description.items():
        if key not in rules:
            raise BadDescription(key, "unknown; known are " + ", ".join(rules))
        is_good, wanted = rules[key]
        if not is_good(value):
            raise BadDescription(key, f"{wanted}, not {json.dumps(value)}")
    return description


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(*choices: str) -> tuple[Callable[[Any], bool], str]:
    """Return the rule for a value that is one of these."""
    return (lambda value: value in choices), "want " + " or ".join(map(repr, choices))


def seconds_up_to(most: float) -> tuple[Callable[[Any], bool], str]:
    """Return the rule for a duration."""
    return (
        lambda value: is_number(value) and 0 < value <= most
    ), f"want seconds, more than 0 and up to {most:g}"
