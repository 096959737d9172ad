"""Exceptions that stay whole on the way to another process: by ``pickle``, ``copy``, or as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from airflow_provider_archival.api.clean import clean_text

E = TypeVar("E", bound="Portable")


class Portable(Exception):
    """An exception that is made again with all its attributes, whatever it was called with."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*map(encodable, args))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again by calling the class with args, which need not be what it was called with.
        return _remade, (type(self), self.args, dict(vars(self)))

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data; what is none is left out."""
        known = {name: plain(value) for name, value in vars(self).items() if is_plain(value)}
        return {"kind": type(self).__name__, "args": plain(self.args), "known": known}

    @classmethod
    def from_plain(cls: type[E], values: Mapping[str, Any]) -> E:
        """Return what :meth:`to_plain` was called on: of this class, or of one that derives from it."""
        kind = next((one for one in kinds_of(cls) if one.__name__ == values["kind"]), cls)
        return _remade(kind, tuple(values["args"]), dict(values["known"]))


def kinds_of(kind: type[E]) -> list[type[E]]:
    """Return a class and all that derive from it."""
    return [kind, *(one for below in kind.__subclasses__() for one in kinds_of(below))]


def is_plain(value: Any) -> bool:
    """Say whether a value is plain data, or an exception that can be made such."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    return value is None or isinstance(value, (str, int, float, bool, Portable))


def plain(value: Any) -> Any:
    """Return a value as plain data."""
    if isinstance(value, Portable):
        return value.to_plain()
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value if is_plain(value) else None


def encodable(value: Any) -> Any:
    """Return a text, or a tuple of texts, that encodes; anything else as it is."""
    if isinstance(value, str):
        return clean_text(value, len(value))
    return tuple(map(encodable, value)) if isinstance(value, tuple) else value


def _remade(kind: type[E], args: tuple[Any, ...], known: dict[str, Any]) -> E:
    made = kind.__new__(kind, *args)
    made.args = args
    vars(made).update(known)
    return made
