"""Operations that are awaited together: what a list of operations says of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import MOST_NAMED, OperationBatch, latest_of, time_before
from airflow_provider_archival.api.http import Response, UnreadableAnswer
from airflow_provider_archival.api.toloka import Pages, TolokaOperation

BATCH = OperationBatch("POOL.ARCHIVE", "7", "2026-01-01T00:00:00.000", 3)
STATUSES = ("PENDING", "RUNNING", "SUCCESS", "FAIL")


def operation(pool_id: Any, status: str = "SUCCESS", submitted: str = "2026-01-01", **more: Any) -> Any:
    parameters = {"pool_id": str(pool_id)}
    return TolokaOperation(
        f"of-{pool_id}-{submitted}", "POOL.ARCHIVE", status, None, parameters, submitted=submitted, **more
    )


@pytest.mark.parametrize(
    ("statuses", "status", "progress"),
    [
        ([], "PENDING", 0),
        (["PENDING", "PENDING", "PENDING"], "RUNNING", 0),
        (["SUCCESS", "SUCCESS"], "RUNNING", 200 / 3),
        (["SUCCESS", "FAIL", "RUNNING"], "RUNNING", 200 / 3),
        (["SUCCESS", "SUCCESS", "SUCCESS"], "SUCCESS", 100),
        (["SUCCESS", "FAIL", "SUCCESS"], "FAIL", 100),
        (["SUCCESS"] * 4, "SUCCESS", 100),
        (["SUCCESS", "SUCCESS", "SUCCESS", "PAUSED"], "RUNNING", 75),
    ],
)
def test_a_batch_is_over_when_all_of_it_is(statuses: list[str], status: str, progress: float) -> None:
    listed = [operation(number, one) for number, one in enumerate(statuses)]
    seen = BATCH.seen(listed, {str(number) for number in range(9)})
    assert (seen.status, seen.progress) == (status, pytest.approx(progress))
    assert seen.is_final is (status in ("SUCCESS", "FAIL"))
    assert seen.succeeded is (status == "SUCCESS")
    assert seen.is_documented is ("PAUSED" not in statuses)


def test_operations_on_pools_of_other_projects_do_not_count() -> None:
    listed = [operation(1), operation(2), operation(3, "FAIL"), operation(4, "RUNNING")]
    seen = BATCH.seen([*listed, TolokaOperation("x", "POOL.ARCHIVE", "FAIL")], {"1", "2", "5"})
    assert dict(seen.counts) == {"SUCCESS": 2}


@given(st.permutations([operation(1, "FAIL", f"2026-01-0{day}") for day in range(1, 5)]))
def test_of_several_operations_on_a_pool_the_latest_counts(listed: list[TolokaOperation]) -> None:
    assert latest_of(listed, "POOL.ARCHIVE", {"1"})["1"].submitted == "2026-01-04"


def test_those_that_failed_are_named_with_the_services_words() -> None:
    seen = BATCH.seen(
        [operation(1), operation(2, "FAIL", details={"code": "LOCKED"}), operation(3)], set("123")
    )
    assert seen.said == "pool 2 (operation of-2-2026-01-01): {'code': 'LOCKED'}"
    many = BATCH.seen([operation(n, "FAIL") for n in range(100)], {str(n) for n in range(100)})
    assert len(many.failed) == MOST_NAMED
    assert many.said.endswith(f"; and {100 - MOST_NAMED} more")


@given(st.lists(st.sampled_from(STATUSES), max_size=5))
def test_a_batch_comes_back_from_its_dict_through_json(statuses: list[str]) -> None:
    seen = BATCH.seen([operation(n, one) for n, one in enumerate(statuses)], set("01234"))
    assert OperationBatch.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen


def test_a_batch_of_any_size_is_small() -> None:
    listed = [operation(n, "FAIL", details="x" * 50) for n in range(5000)]
    seen = BATCH.seen(listed, {str(n) for n in range(5000)})
    assert len(json.dumps(seen.to_dict())) < 4000


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0.0, "1969-12-31T23:59:55.000"),
        (1.25, "1969-12-31T23:59:56.250"),
        ("2026-01-01T00:00:03.902000+00:00", "2025-12-31T23:59:58.902"),
        ("2026-01-01T01:00:00+01:00", "2025-12-31T23:59:55.000"),
    ],
)
def test_a_time_for_tolokas_filters_is_utc_without_a_zone(moment: float | str, text: str) -> None:
    assert time_before(moment, 5) == text


# --- pages ---


def items_of(answers: Iterable[tuple[Iterable[str], bool]]) -> tuple[list[str], list[str]]:
    """Go through pages, each some ids and whether there are more; return the ids, and what was asked for."""
    pages: Pages[TolokaOperation] = toloka.all_operations(type="POOL.ARCHIVE")
    found, asked, served = [], [], iter(answers)
    while pages.next is not None:
        asked.append(pages.next.target.partition("id_gt=")[2].partition("&")[0])
        ids, has_more = next(served)
        items = [{"id": id, "type": "POOL.ARCHIVE", "status": "SUCCESS"} for id in ids]
        body = json.dumps({"items": items, "has_more": has_more}).encode()
        found += [one.id for one in pages.take(pages.next.read(Response(200, {}, body)))]
    return found, asked


def test_each_page_begins_behind_the_last() -> None:
    assert items_of([("ab", True), ("cd", True), ("e", False)]) == (list("abcde"), ["", "b", "d"])
    assert items_of([("ab", True), ("", False)]) == (list("ab"), ["", "b"])


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (("", True), "an empty page"),
        (("b", True), "in a circle"),
        (("ab", True), "in a circle"),
        (("ab", False), "in a circle"),
        (("ca", True), "in a circle"),
    ],
)
def test_a_page_that_leads_nowhere_is_unreadable_and_no_end(last: tuple[str, bool], why: str) -> None:
    with pytest.raises(UnreadableAnswer, match=why):
        items_of([("ab", True), last])


def test_pages_that_go_in_a_circle_are_no_list() -> None:
    with pytest.raises(UnreadableAnswer, match="in a circle"):
        items_of((ids, True) for ids in itertools.cycle(["ab", "cd", "ef"]))


def test_a_list_that_never_ends_comes_to_an_end() -> None:
    asked = 0

    def served() -> Iterator[tuple[list[str], bool]]:
        nonlocal asked
        for asked in itertools.count(1):
            yield [str(asked)], True

    with pytest.raises(UnreadableAnswer, match=f"a list of more than {toloka.MOST_PAGES} pages"):
        items_of(served())
    assert asked == toloka.MOST_PAGES


def test_a_page_may_be_read_twice() -> None:
    """An answer with a secret in it is read again without the secret."""
    pages: Pages[TolokaOperation] = toloka.all_operations()
    assert pages.next is not None
    item = {"id": "1", "type": "POOL.ARCHIVE", "status": "SUCCESS"}
    response = Response(200, {}, json.dumps({"items": [item], "has_more": False}).encode())
    assert pages.next.read(response) == pages.next.read(response)
