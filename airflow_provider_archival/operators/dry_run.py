"""Lets ``dry_run`` be a parameter, a template field and, as in every operator, a method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

_NAME = "dry_run"


class _Flag:
    """What was given for ``dry_run``, which can be called as the method of that name can."""

    def __init__(self, given: Any, method: Callable[[], None]) -> None:
        self.given, self._method = given, method

    def __call__(self) -> None:
        self._method()

    def __bool__(self) -> bool:
        return bool(self.given)

    def __eq__(self, other: object) -> bool:
        return bool(self.given == DryRun.given(other))

    def __hash__(self) -> int:
        return hash(self.given)

    def __repr__(self) -> str:
        return repr(self.given)


class _Text(str):
    """A text that can be called: Airflow renders nothing else than texts."""

    method: Callable[[], None]

    def __call__(self) -> None:
        self.method()


class DryRun:
    """
    Keeps what ``dry_run`` is given under that name, so that Airflow finds what it depends on.

    ``airflow tasks test --dry-run`` calls ``task.dry_run()``, a method that every operator has: so what is
    given can be called, once it is rendered.
    """

    def __get__(self, operator: Any, owner: type[Any]) -> Any:
        if operator is None:
            return BaseOperator.dry_run
        given = vars(operator).get(_NAME, False)

        def method() -> None:
            BaseOperator.dry_run(operator)

        if isinstance(given, str):
            text = _Text(given)
            text.method = method
            return text
        # Of anything else, such as an XCom to come, Airflow wants to see what it is.
        return _Flag(given, method) if given is None or isinstance(given, (bool, int, float)) else given

    def __set__(self, operator: Any, value: Any) -> None:
        vars(operator)[_NAME] = DryRun.given(value)

    @staticmethod
    def given(value: Any) -> Any:
        """Return what was given, without what makes it callable."""
        if isinstance(value, _Flag):
            return value.given
        return str(value) if isinstance(value, _Text) else value
