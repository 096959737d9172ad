"""Lets ``dry_run`` be a parameter, a template field and, as in every operator, a method."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

_NAME = "dry_run"


class _Call:
    """
    What a call of a given value does: Airflow calls it for two reasons.

    :param operator: whose it is
    :param given: what was given
    """

    def __init__(self, operator: Any, given: Any) -> None:
        self.operator, self.given = operator, given

    def __call__(self, context: Any = None, jinja_env: Any = None) -> Any:
        if context is None:
            return BaseOperator.dry_run(self.operator)
        # A template field that can be called is rendered by a call.
        return self.operator.render_template(self.given, context, jinja_env)


class _Flag(_Call):
    """A flag that can be called as the method of that name can."""

    def serialize(self) -> Any:
        """Return what Airflow shows and keeps of it."""
        return self.given

    def __bool__(self) -> bool:
        return bool(self.given)

    def __eq__(self, other: object) -> bool:
        return bool(self.given == DryRun.given(other))

    def __hash__(self) -> int:
        return hash(self.given)

    def __repr__(self) -> str:
        return repr(self.given)


class _Text(str):
    """A text that can be called; it stays a text for whoever looks for a template."""

    call: _Call

    def __call__(self, context: Any = None, jinja_env: Any = None) -> Any:
        return self.call(context, jinja_env)


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

        if isinstance(given, str):
            text = _Text(given)
            text.call = _Call(operator, str(given))
            return text
        # Of anything else, such as an XCom to come, Airflow wants to see what it is.
        return _Flag(operator, given) if given is None or isinstance(given, (bool, int, float)) else given

    def __set__(self, operator: Any, value: Any) -> None:
        vars(operator)[_NAME] = DryRun.given(value)

    @staticmethod
    def given(value: Any) -> Any:
        """Return what was given, without what makes it callable."""
        if isinstance(value, _Flag):
            return value.given
        return str(value) if isinstance(value, _Text) else value
