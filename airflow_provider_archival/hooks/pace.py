"""How fast requests are sent to a service that refuses more than so many a second."""

from __future__ import annotations

import functools

from pyrate_limiter import Duration, Limiter, Rate, SingleBucketFactory, StateBucket


@functools.cache
def limiter(conn_id: str, per_second: int) -> Limiter:
    """
    Return this process's limiter for a connection.

    :param conn_id: the Airflow connection
    :param per_second: how many requests a second it lets through, evenly but for a tenth of them at once
    """
    rate = Rate(per_second, Duration.SECOND, burst=per_second // 10)
    # This kind of bucket keeps one number: there is nothing to be tidied up by a thread.
    return Limiter(SingleBucketFactory(StateBucket([rate]), schedule_leak=False), buffer_ms=0)
