"""Runs any plan: recall; attach, take the result, or submit; remember; wait; settle; finish; forget."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Generic, TypeVar

from airflow_provider_archival.api.flow import Flow, Pause
from airflow_provider_archival.api.http import ApiError, Busy, NotFound
from airflow_provider_archival.api.polling import (
    ENDED,
    GONE,
    REFUSED,
    SECONDS_BEFORE_GONE,
    TIMEOUT,
    UNWATCHED,
    Job,
    Outcome,
)
from airflow_provider_archival.engine.driver import BLOCKED, FAILED, PAUSED, TOO_LATE, BadEnd, Driver
from airflow_provider_archival.engine.state import Doubt, Run
from airflow_provider_archival.plans.base import (
    PAUSES,
    Answered,
    Ended,
    Finish,
    Lost,
    Plan,
    Send,
    Sent,
    Started,
    Submit,
    Take,
    Waited,
)

S = TypeVar("S")
W = TypeVar("W")
J = TypeVar("J", bound=Job)

log = logging.getLogger(__name__)


class Engine(Generic[S, W, J]):
    """
    One try of a run, or what is left of it after a deferral.

    :param plan: says what comes next
    :param driver: does it
    :param run: how far it has come
    """

    def __init__(self, plan: Plan[S, W, J], driver: Driver, run: Run[S, J]) -> None:
        self.plan, self.driver, self.run = plan, driver, run

    def go_on(self, outcome: Outcome[J] | None = None) -> Any:
        """
        Go on until the run is over, and return its result.

        :param outcome: how the wait ended for which the run was left
        """
        while True:
            try:
                if self.run.paused_for is not None:
                    self._after_a_pause()
                elif outcome is not None:
                    self._take_in(outcome)
                outcome = None
                if self.run.state is None:
                    self._begin()
                elif self._advance():
                    return self._finish()
            except ApiError as error:
                self.run = replace(self.run, paused_for=self.driver.words_of(error))
                self.driver.pause(self.run, error)

    # --- attach, take the result, or begin ---

    def _begin(self) -> None:
        """Take up what an earlier try left behind, or begin anew."""
        known: Run[S, J] = self.driver.recall(self.run)
        if known.state is None:
            self.driver.prepare()
            since = known.since(self.driver.now())
            self.run = replace(known, state=self.driver.follow(self.plan.begin(since)))
            return
        run = replace(known, pending=())
        for job in known.pending:
            run = self._with_earlier(run, job) if self.plan.keeps(job) else run
        assert run.state is not None
        kept = frozenset(job.id for job in run.jobs)
        state = self.plan.after(run.state, Lost(kept)) if len(run.jobs) < len(known.jobs) else run.state
        self.run = replace(run, state=self.driver.follow(self.plan.take_up(state)))
        self.driver.remember(self.run)
        for job in self.run.jobs[-1:]:
            self.driver.published(self.plan.kind_of(job), job)

    def _with_earlier(self, run: Run[S, J], job: J) -> Run[S, J]:
        """Look at a job of an earlier try: attach to it, take its result, or leave it out."""
        kind, seen = self.plan.kind_of(job), self._look_twice(job)
        name = kind.name_of(job.id)
        if seen is None:
            log.warning("%s of an earlier try is gone: submitting anew", name)
            self.driver.counted("terminal_resubmit")
            return run.suspecting(job.id)
        if seen.succeeded:
            log.info("%s of an earlier try has ended well: taking its result", name)
            self.driver.counted("already_succeeded")
        elif seen.is_final:
            log.warning("%s of an earlier try is %s: submitting anew", name, seen.status)
            self.driver.counted("terminal_resubmit")
            return run
        else:
            log.info("Reconnecting to %s of an earlier try: %s", name, seen.status)
            self.driver.counted("reconnect_success")
        return replace(run, pending=(*run.pending, seen), taken_up=(*run.taken_up, job.id))

    def _look_twice(self, job: J) -> J | None:
        """Look at a job that the service has known; it is gone when the service says so twice."""
        kind = self.plan.kind_of(job)
        try:
            try:
                return kind.updated(job, self.driver.follow(kind.looker(job)()))
            except NotFound as error:
                log.warning("%s Looking once more before that is believed.", error)
                self.driver.follow(_pause(SECONDS_BEFORE_GONE))
                return kind.updated(job, self.driver.follow(kind.looker(job)()))
        except NotFound:
            return None
        except ApiError as error:
            if error.can_repeat:
                raise
            raise BadEnd(REFUSED, job, error=error) from None

    # --- the loop ---

    def _advance(self) -> bool:
        """Do the next thing; True when there is nothing more to do."""
        run = self.run
        assert run.state is not None
        if run.blocker is not None:
            self._unblock(self.driver.wait_for_other(run))
        elif run.pending and run.pending[0].is_final:
            self._settle(Outcome(ENDED, run.pending[0]))
        elif run.pending:
            if not self.driver.waits and self.plan.is_last(run.state):
                return True
            self._settle(self.driver.wait(run, run.pending[0]))
        else:
            state, step = self.driver.follow(self.plan.next(run.state))
            self.run = replace(run, state=state)
            if isinstance(step, Finish):
                return True
            self._take(step)
        return False

    def _take(self, step: Submit[W] | Send[W] | Take[W]) -> None:
        """Do what a plan wants next."""
        if isinstance(step, Submit):
            self._submit(step.what)
        elif isinstance(step, Take):
            name = self.plan.kind_of(step.job).name_of(step.job.id)
            log.info("%s did what was to be done: taking its result", name)
            self._note(Started(step.what, self._look_at(step.job.id) or step.job), job_is_done=True)
        else:
            flows = ((what, self.plan.send(what)) for what in step.whats)
            for what, value in self.driver.send_all(flows, step.at_once):
                assert self.run.state is not None
                state = self.plan.after(self.run.state, Answered(what, value))
                self.run = replace(self.run, state=state)
                if step.is_kept:
                    self.driver.remember(self.run)

    def _take_in(self, outcome: Outcome[J]) -> None:
        """Take in how the wait ended for which the run was left."""
        if self.run.blocker is not None:
            self._unblock(outcome)
        elif self.run.pending:
            self._settle(outcome)

    def _settle(self, outcome: Outcome[J]) -> None:
        """Take in how the wait for our first job ended."""
        run = self.run
        assert run.state is not None
        first, rest = run.pending[0], run.pending[1:]
        kind = self.plan.kind_of(first)
        job = first if outcome.job is None else kind.updated(first, outcome.job)
        if outcome.how != ENDED:
            raise BadEnd(outcome.how, job, outcome.message, outcome.error)
        if job.succeeded:
            log.info("%s ended well: %s", kind.name_of(job.id), job.status)
            state = self.plan.after(run.state, Ended(job))
            self.run = replace(run, state=state, done=(*run.done, job), pending=rest)
        elif job.id in run.taken_up and job.status in kind.cancelled:
            # Whoever ended the earlier try has cancelled it, perhaps after this one had begun.
            log.warning("%s of an earlier try ended %s: submitting anew", kind.name_of(job.id), job.status)
            kept = frozenset(one.id for one in (*run.done, *rest))
            self.run = replace(run, state=self.plan.after(run.state, Lost(kept)), pending=rest)
        else:
            self.run = replace(run, pending=(job, *rest))
            if (stop := self.plan.failure(run.state, job)) is not None:
                raise stop
            raise BadEnd(FAILED, job)
        self.driver.remember(self.run)

    def _unblock(self, outcome: Outcome[J]) -> None:
        """Take in how the wait for another's job ended."""
        run = self.run
        assert run.state is not None
        if outcome.how in (TIMEOUT, UNWATCHED):
            how = BLOCKED if outcome.how == TIMEOUT else UNWATCHED
            raise BadEnd(how, outcome.job, outcome.message)
        if outcome.how in (REFUSED, GONE):
            # It is another's, so perhaps not to be seen: ask again after a pause.
            name = self.plan.kinds[0].name_of(run.blocker or "")
            log.info("%s can't be watched: %s", name, outcome.message)
            self.run = replace(run, blocker="")
            return
        state, job = run.state, outcome.job
        if job is None and run.last_blocker in run.suspects:
            job = self._look_at(run.last_blocker)
        if run.is_suspect and job is not None:
            state = self.plan.after(state, Waited(job))
        self.run = replace(run, state=state, blocker=None, is_suspect=False)

    # --- submit ---

    def _submit(self, what: W) -> None:
        """Start a job, unless it can be found; remembered before, and after."""
        if self.driver.left(self.run) <= 0:
            raise BadEnd(BLOCKED if self.run.blocked else TOO_LATE)
        for attempt in range(len(PAUSES) + 1):
            before = self.run
            if self._was_ours_all_along(what) or (before.is_unsure and self._find(what, attempt)):
                return
            doubt = before.doubt or Doubt(self.driver.now(), self.driver.served_at())
            self.run = replace(before, doubt=doubt)
            self.driver.remember(self.run, must=True)
            try:
                sent: Sent[J] = self.driver.follow(self.plan.send(what), may_start=True)
            except Busy as busy:
                return self._make_way(what, busy, before)
            except ApiError as error:
                if error.surely_undone:
                    return self._refused(what, error, before)
                if attempt == len(PAUSES) or error.retry_after:
                    # What it asks for is waited for first; the doubt stays.
                    raise
                log.warning("Nobody knows whether that was done; looking again: %s", error)
            else:
                return self._note(Started(what, sent.job, sent.told), may_be_second=before.is_unsure)

    def _find(self, what: W, attempt: int) -> bool:
        """Look for a job that may have been started before; True when that settles it."""
        assert self.run.state is not None
        since = self.run.since(self.driver.now())
        found = self.driver.follow(self.plan.find(self.run.state, what, since, attempt))
        if found is None:
            return False
        name = f": {self.plan.kind_of(found.job).name_of(found.job.id)}" if found.job else ""
        log.info("It was submitted before%s", name or ", and nothing is left to do")
        self._note(Started(what, found.job))
        return True

    def _was_ours_all_along(self, what: W) -> bool:
        """Take what was in the way where it is ours and could not be seen; True when that settles it."""
        run, kind = self.run, self.plan.kinds[0]
        id = run.last_blocker
        # What is ours has to be seen: a fault that passes is no reason for a second one.
        seen = self._look_at(id, must=True) if id in run.suspects else None
        if seen is None or (seen.is_final and not seen.succeeded):
            return False
        log.info("%s was submitted by an earlier attempt: attaching", kind.name_of(seen.id))
        self._note(Started(what, seen))
        return True

    def _refused(self, what: W, error: ApiError, before: Run[S, J]) -> None:
        """Take in that a submit surely started nothing; one that can't be mended says so of all before it."""
        self.run = replace(self.run, doubt=before.doubt if error.can_repeat else None)
        self.driver.remember(self.run)
        if error.can_repeat:
            raise error
        assert self.run.state is not None
        state = self.driver.follow(self.plan.refused(self.run.state, what, error))
        self.run = replace(self.run, state=state)

    def _note(self, event: Started[W], *, may_be_second: bool = False, job_is_done: bool = False) -> None:
        """Take in that a job was started or found, and tell: first in the log, whatever happens then."""
        run, job = self.run, event.job
        assert run.state is not None
        if job is not None:
            self.driver.started(self.plan.kind_of(job), job, is_new=not job_is_done)
            if may_be_second and self.plan.word_of_second is not None:
                log.warning("%s", self.plan.word_of_second.format(self.plan.kind_of(job).name_of(job.id)))
            done, pending = (
                ((*run.done, job), run.pending) if job_is_done else (run.done, (*run.pending, job))
            )
            # A service that has taken another job runs none of those: none is to be taken for the next.
            run = replace(run, done=done, pending=pending, suspects=())
        self.run = replace(run, state=self.plan.after(self.run.state, event), doubt=None)  # type: ignore[arg-type]
        if job is not None:
            self.driver.remember(self.run)
            self.driver.published(self.plan.kind_of(job), job)

    # --- another job is in the way ---

    def _make_way(self, what: W, busy: Busy, before: Run[S, J]) -> None:
        """Attach to the job that is in the way where it is surely ours; otherwise it has to end first."""
        running, kind = busy.running_task_id, self.plan.kinds[0]
        was_ours = running in before.suspects
        seen = self._look_at(running) if running and (was_ours or before.is_unsure) else None
        if seen is not None and was_ours and (seen.succeeded or not seen.is_final):
            log.info("%s was submitted by an earlier attempt: attaching", kind.name_of(seen.id))
            self._note(Started(what, seen))
            return
        since = before.since(self.driver.now())
        # One that was there before our attempt has blocked that as it blocks this one: nothing was started.
        is_older = seen is not None and before.doubt is not None and self.plan.is_older(seen, since)
        run = replace(
            self.run,
            doubt=None if is_older else before.doubt,
            is_suspect=was_ours
            or before.tried_before is not None
            or (before.doubt is not None and not is_older),
            blocked=before.blocked + 1,
        )
        other = kind.name_of(running) if running else f"a {kind.word} that it does not name"
        if running and running == run.last_blocker:
            # It was waited for, and is over: there is nothing to watch.
            log.info("%s names %s again, though it was waited for", kind.service, other)
            self.run = replace(run, blocker="")
        else:
            log.info("%s is busy with %s: waiting for its end", kind.service, other)
            self.run = replace(run, blocker=running or "", last_blocker=running or "")
        self.driver.remember(self.run)

    def _look_at(self, job_id: str, *, must: bool = False) -> J | None:
        """Look at a job that may be another's; None where it can't be seen, or not now (unless ``must``)."""
        kind = self.plan.kinds[0]
        try:
            seen: J = self.driver.follow(kind.looker(kind.unseen(job_id))())
        except ApiError as error:
            if must and error.can_repeat:
                raise
            log.info("%s can't be looked at: %s", kind.name_of(job_id), error)
            return None
        return seen

    # --- pauses, and the end ---

    def _after_a_pause(self) -> None:
        """Go on after a pause that the service asked for, if there is time left."""
        why = self.run.paused_for or ""
        if self.driver.left(self.run) <= 0:
            raise BadEnd(PAUSED, message=why)
        self.run = replace(self.run, paused_for=None)

    def _finish(self) -> Any:
        """Return the result: it is handed over before anything is forgotten."""
        run = self.run
        assert run.state is not None
        self.driver.finishing(run)
        for number, job in enumerate(run.done):
            # One after the other: a pause in between begins none of them again.
            if self.plan.kind_of(job).is_bare(job):
                done = (*run.done[:number], self._whole(job), *run.done[number + 1 :])
                self.run = run = replace(run, done=done)
        result = self.driver.follow(self.plan.result(run.state, run.jobs))  # type: ignore[arg-type]
        result = self.driver.finish(run, result)
        self.driver.forget()
        return result

    def _whole(self, job: J) -> J:
        """Look once more at a job of which little was kept, so that the result tells of it."""
        kind = self.plan.kind_of(job)
        try:
            return kind.updated(job, self.driver.follow(kind.looker(job)()))
        except ApiError as error:
            if error.can_repeat:
                raise
            # It has ended well, and the service knows no more of it.
            return job


def _pause(seconds: float) -> Flow[None]:
    yield Pause(seconds)
