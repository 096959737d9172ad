"""Holds a plan's talks with answers that the test gives, by the request's path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_archival.api.flow import Flow, hold
from airflow_provider_archival.api.http import Request


class Talk:
    """
    Answers what a flow asks for.

    :param answers: by a part of the path: a value, an error to be raised, or a list of these, one after
        the other
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = {part: list(one) if isinstance(one, list) else [one] for part, one in answers.items()}
        self.asked: list[Request[Any]] = []
        self.pauses: list[float] = []

    def hold(self, flow: Flow[Any]) -> Any:
        return hold(flow, self._send, self.pauses.append)

    def _send(self, request: Request[Any]) -> Any:
        self.asked.append(request)
        for part, answers in self._answers.items():
            if part in request.path:
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise AssertionError(f"nobody said what {request} is answered")
