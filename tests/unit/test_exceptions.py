"""Every exception of the package can be sent to another process, copied, and made again by Airflow."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_archival import exceptions
from airflow_provider_archival.api import http
from airflow_provider_archival.api.portable import Portable
from airflow_provider_archival.exceptions import BadInput, JiraTaskFailed, ServiceFault, ServiceRefusal
from airflow_provider_archival.plans import windows

HALF = "\ud83d"


def _declared(module: Any) -> list[type[Exception]]:
    """Return the exceptions that a module defines."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == module.__name__
    ]


def _api_error(kind: type[http.ApiError] = http.Conflict) -> http.ApiError:
    error = kind("GET /x", ("One.", f"Two {HALF}."), 409, 7.5)
    error.served_at = 1_700_000_000.0
    error.surely_undone = False
    return error


# What to call a parameter with, by its type; a new type needs a line here.
_BY_TYPE: dict[str, Callable[[], Any]] = {
    "str": lambda: f"What happened {HALF}. What to do.",
    "ApiError": _api_error,
    "dict": lambda: {"task_id": "1", "status": "FAILED", "result": {"a": [1, None]}},
    "list": lambda: [{"pool_id": "1", "status": "OPEN"}],
    "tuple": lambda: ("One.", f"Two {HALF}."),
    "int": lambda: 409,
    "float": lambda: 7.5,
    "bool": lambda: True,
}


def made(kind: type[Exception]) -> Exception:
    """Call an exception's class with something for each of its parameters."""
    if "__init__" not in {name for one in kind.__mro__[: kind.__mro__.index(Portable)] for name in vars(one)}:
        return kind(f"What happened {HALF}. What to do.")
    values = {}
    for parameter in inspect.signature(kind).parameters.values():
        first = str(parameter.annotation).partition("|")[0].partition("[")[0].strip()
        values[parameter.name] = _BY_TYPE[first]()
    return kind(**values)


API_ERRORS, OURS = _declared(http), _declared(exceptions)
EVERY = [*API_ERRORS, *OURS, *_declared(windows)]


def state(error: BaseException) -> Any:
    """Return all that an exception is."""
    known = {
        name: state(value) if isinstance(value, Portable) else value for name, value in vars(error).items()
    }
    return type(error), str(error), error.args, known


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "again",
    [
        *[lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)) for protocol in range(6)],
        copy.copy,
        copy.deepcopy,
    ],
)
def test_an_exception_is_made_again_whole(kind: type[Exception], again: Callable[[Any], Any]) -> None:
    error = made(kind)
    assert state(again(error)) == state(error)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_an_exceptions_text_encodes(kind: type[Exception]) -> None:
    error = made(kind)
    for text in (str(error), *map(str, error.args), getattr(error, "said", "")):
        text.encode()
    if isinstance(error, http.ApiError):
        " ".join(error.messages).encode()


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_airflow_makes_an_exception_again(kind: type[Exception]) -> None:
    error = made(kind)
    through = json.loads(json.dumps(BaseSerialization.serialize(error, strict=True)))
    again = BaseSerialization.deserialize(through)
    assert state(again) == state(error)


@pytest.mark.parametrize("kind", API_ERRORS, ids=lambda kind: kind.__name__)
def test_a_fault_keeps_the_services_error_of_any_kind_through_airflow(kind: type[http.ApiError]) -> None:
    fault = ServiceFault("Not now.", _api_error(kind))
    again = BaseSerialization.deserialize(BaseSerialization.serialize(fault, strict=True))
    assert (type(again.error), again.error.messages) == (kind, ("One.", "Two \ufffd."))
    assert (again.error.served_at, again.error.surely_undone) == (1_700_000_000.0, False)


def test_what_is_no_plain_data_is_left_out_where_airflow_makes_an_error_again() -> None:
    error = _api_error()
    error.seen = object()  # type: ignore[attr-defined]
    again = BaseSerialization.deserialize(
        BaseSerialization.serialize(ServiceFault("No.", error), strict=True)
    )
    assert not hasattr(again.error, "seen")
    assert again.error.status == 409


def test_an_exception_that_says_more_later_says_it_again() -> None:
    error = _api_error(http.Forbidden)
    error.messages = ("Mended.",)
    error.add_note("A note.")
    again = pickle.loads(pickle.dumps(ServiceRefusal("No.", error)))
    assert (again.error.messages, again.error.__notes__) == (("Mended.",), ["A note."])


def test_airflow_still_tells_which_exceptions_are_worth_a_retry() -> None:
    for kind in OURS:
        assert issubclass(kind, Portable)
        assert issubclass(kind, AirflowException)
    assert issubclass(BadInput, AirflowFailException)
    assert not issubclass(JiraTaskFailed, AirflowFailException)
