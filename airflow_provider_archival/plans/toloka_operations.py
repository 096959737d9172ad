"""What the plans that start Toloka operations have in common: finding them again."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import latest_of, target_of, time_before
from airflow_provider_archival.api.flow import Flow, ask
from airflow_provider_archival.api.http import ApiError, Conflict
from airflow_provider_archival.api.toloka import TolokaOperation, all_of, all_operations
from airflow_provider_archival.plans.base import Found, Since, search

log = logging.getLogger(__name__)

CLOCK_DIFFERENCE = 300.0
"""How far Toloka's clock and ours may be apart, in seconds, when an operation is looked for by time."""
UNFINISHED = ("PENDING", "RUNNING")
# How often one operation of many is asked for, when answers get lost.
_ATTEMPTS = 3


def latest(type: str, members: set[str], begin: float | None) -> Flow[Mapping[str, TolokaOperation]]:
    """
    Return the latest operation on each of these pools, trainings or projects.

    That is: of those that were submitted since then, and of those that are not over, however old.

    :param begin: in epoch seconds; None for those that are not over only
    """
    found: list[TolokaOperation] = []
    for status in UNFINISHED:
        found += yield from all_of(all_operations(type=type, status=status))
    if begin is not None:
        since = time_before(begin, CLOCK_DIFFERENCE)
        found += yield from all_of(all_operations(type=type, submitted_gte=since))
    return latest_of(found, type, members)


def find(type: str, id: str, begin: float) -> Flow[Found[TolokaOperation] | None]:
    """Look for an operation that was submitted since then, and not in vain."""
    operation = (yield from latest(type, {id}, begin)).get(id)
    return Found(operation) if operation is not None and not is_in_vain(operation) else None


def sent(type: str, id: str) -> Flow[TolokaOperation | None]:
    """Ask for an operation once; where Toloka refuses it because one is running, that is ours as well."""
    try:
        return (yield from ask(toloka.start(type, id)))
    except Conflict:
        running = (yield from latest(type, {id}, None)).get(id)
        if running is None or running.is_final:
            raise
        log.info("%s on %s %s is running already", type, target_of(type), id)
        return running


def started(type: str, id: str, begin: float) -> Flow[TolokaOperation | None]:
    """
    Start an operation; where the answer is lost, look whether it was started before asking again.

    :param begin: what was submitted since then, in epoch seconds, is ours
    """
    for attempt in itertools.count(1):
        try:
            return (yield from (ask(toloka.start(type, id)) if attempt == 1 else sent(type, id)))
        except ApiError as error:
            if error.surely_undone or not error.can_repeat or attempt == _ATTEMPTS:
                raise
            log.warning("Nobody knows whether that was done; looking again: %s", error)
        found = yield from search(lambda: find(type, id, begin), 1, appears_late=Since(None, 0.0))
        if found is not None:
            log.info("The answer was lost, but the operation on %s %s is there", target_of(type), id)
            return found.job
    raise AssertionError("unreachable")


def is_in_vain(operation: TolokaOperation) -> bool:
    """Say whether an operation came to nothing."""
    return operation.is_final and not operation.succeeded
