"""What is counted and timed while the bot works. docs/metrics.md has a line for each.

A bot counts what it did itself: with several, their sum is the whole. What only the store knows is
`bot.web.standing`'s. All times are seconds.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from bot.metrics.labels import Few
from bot.metrics.limits import Limits

_SHORT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAIT = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)
_WORK = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 2400, 3600)
_MOST = {"pool": 50, "reason": 150, "event": 40}  # values that a label has at most


class Instruments:
    """Those of one bot, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.limits = Limits()
        self.registry.register(self.limits)
        ProcessCollector(registry=self.registry)
        self._few = {label: Few(most) for label, most in _MOST.items()}
        self._define_intake()
        self._define_jobs()
        self._define_outside()
        self._define_drains()
        self._define_own()

    # -- deliveries -------------------------------------------------------------------------------------

    def _define_intake(self) -> None:
        self._received = self._counter(
            "deliveries_received", "Webhook requests, by how they were answered", "event", "outcome"
        )
        self._receiving = self._histogram("delivery_receive", "From a webhook request to its answer", _SHORT)
        self._decided = self._counter(
            "deliveries_decided", "Decisions about deliveries, by what came of them", "event", "outcome"
        )
        self._deciding = self._histogram("decision", "One decision, with what GitHub is asked for it", _WAIT)
        self._known = self._histogram(
            "delivery_wait", "From a delivery's receipt to the commit of what follows from it", _WAIT
        )

    def received(self, event: str, outcome: str, seconds: float) -> None:
        """A webhook request was answered after `seconds`."""
        self._received.labels(self._bounded("event", event), outcome).inc()
        self._receiving.observe(seconds)

    def deciding(self) -> AbstractContextManager[object]:
        """Around one decision."""
        return self._deciding.time()

    def decided(self, event: str, outcome: str, since: float | None = None) -> None:
        """A decision came to `outcome`; `since`: seconds from receipt to now, where that was the last one."""
        self._decided.labels(self._bounded("event", event), outcome).inc()
        if since is not None:
            self._known.observe(max(0.0, since))

    # -- jobs -------------------------------------------------------------------------------------------

    def _define_jobs(self) -> None:
        self._offers = self._counter("job_offers", "Jobs that were offered to their pools, again too", "kind")
        self._dispatched = self._histogram(
            "job_dispatch_wait", "From when a job that needs no other may start to its offer", _WAIT, "kind"
        )
        self._queued = self._histogram(
            "job_queue_wait", "From a job's offer to its grant to a worker", _WAIT, "kind"
        )
        self._jobs = self._counter("jobs_ended", "Jobs, by how they ended", "kind", "state", "reason")
        self._attempts = self._counter(
            "attempts_ended",
            "Attempts, by how they ended: a job may have several",
            "kind",
            "outcome",
            "reason",
        )
        self._attempt = self._histogram("attempt", "From an attempt's grant to its end", _WORK, "kind")
        self._step = self._histogram("step", "A step of an attempt", _WORK, "step", "outcome")
        self._builds = self._counter("builds", "Images, made or found made by an earlier build", "result")
        self._layers = self._counter(
            "build_layers", "Layers of images that were built, by where they came from", "source"
        )
        self._deploys = self._counter(
            "deploys_ended", "Deploys, by what they were for and how they ended", "place", "outcome"
        )
        self._switches = self._counter("switches", "Routes that were to switch to another release", "outcome")
        self._lost = self._counter("leases_lost", "Attempts whose worker had gone or fell silent")

    def dispatched(self, kind: str, waited: float | None) -> None:
        """A job was offered after it `waited`, where that is known."""
        self._offers.labels(kind).inc()
        if waited is not None:
            self._dispatched.labels(kind).observe(max(0.0, waited))

    def granted(self, kind: str, waited: float) -> None:
        self._queued.labels(kind).observe(max(0.0, waited))

    def attempt_ended(self, kind: str, outcome: str, reason: str, seconds: float) -> None:
        self._attempts.labels(kind, outcome, self._bounded("reason", reason)).inc()
        self._attempt.labels(kind).observe(max(0.0, seconds))

    def job_ended(self, kind: str, state: str, reason: str, environment: str | None) -> None:
        """`environment`: of a deploy, None for anything else."""
        self._jobs.labels(kind, state, self._bounded("reason", reason)).inc()
        if environment is not None:
            self._deploys.labels(_place(environment), state).inc()

    def step_ended(self, step: str, ok: bool, seconds: float) -> None:
        self._step.labels(step, "succeeded" if ok else "failed").observe(max(0.0, seconds))

    def built(self, layers: int, cached: int, *, reused: bool) -> None:
        """A build has its image, whose layers count where it was made."""
        self._builds.labels("reused" if reused else "built").inc()
        if not reused:
            self._layers.labels("cache").inc(cached)
            self._layers.labels("built").inc(max(0, layers - cached))

    def switched(self, outcome: str) -> None:
        self._switches.labels(outcome).inc()

    def lease_lost(self) -> None:
        self._lost.inc()

    # -- what is asked and told outside -----------------------------------------------------------------

    def _define_outside(self) -> None:
        self._reports = self._counter("reports", "Reports, by what GitHub did with them", "kind", "outcome")
        self._reported = self._histogram(
            "report_delay", "From when a report was owed until GitHub took it", _WAIT, "kind"
        )
        self._outgoing = self._counter(
            "outgoing", "What channels and webhooks were owed, by what came of it", "kind", "outcome"
        )
        self._asked_github = self._histogram(
            "github_request", "Requests to GitHub, by what it answered", _SHORT, "method", "answer"
        )
        self._statement = self._histogram("store_statement", "A statement of the store's", _SHORT, "kind")
        self._commit = self._histogram("store_commit", "A commit of the store's", _SHORT)
        self._asked_queue = self._histogram("queue", "What the queue is asked to do", _SHORT, "operation")
        self._queue_down = self._counter("queue_failures", "What the queue did not do", "operation")
        self._request = self._histogram("worker_request", "A request of a worker's", _SHORT, "kind")
        self._event = self._histogram("worker_event", "What a worker tells of an attempt", _SHORT, "kind")
        self._shells = self._gauge("shells", "Shells in what runs that are open here")
        self._shells_over = self._counter("shells_ended", "Shells in what runs, by why they ended", "why")

    def reported(self, kind: str, outcome: str, since: float | None = None) -> None:
        """`since`: seconds since it was owed, where GitHub took it."""
        self._reports.labels(kind, outcome).inc()
        if since is not None:
            self._reported.labels(kind).observe(max(0.0, since))

    def outgoing(self, kind: str, outcome: str, many: int) -> None:
        """So much that a channel or a webhook was owed came to `outcome`."""
        self._outgoing.labels(kind, outcome).inc(many)

    def github_answered(self, method: str, status: int | None, seconds: float) -> None:
        """`status` is None where there was no answer."""
        answer = "none" if status is None else f"{status // 100}xx"
        self._asked_github.labels(method, answer).observe(seconds)

    def statement(self, seconds: float, *, writes: bool) -> None:
        self._statement.labels("write" if writes else "read").observe(seconds)

    def committing(self) -> AbstractContextManager[object]:
        """Around a commit."""
        return self._commit.time()

    @contextmanager
    def queue_asked(self, operation: str) -> Iterator[None]:
        """Around what the queue is to do."""
        begun = time.perf_counter()
        try:
            yield
        except Exception:
            self._queue_down.labels(operation).inc()
            raise
        finally:
            self._asked_queue.labels(operation).observe(time.perf_counter() - begun)

    def request(self, kind: str) -> AbstractContextManager[object]:
        """Around the answer to a worker."""
        return self._request.labels(kind).time()

    def event(self, kind: str) -> AbstractContextManager[object]:
        """Around what a worker tells."""
        return self._event.labels(kind).time()

    def shell(self) -> AbstractContextManager[object]:
        """Around a shell in what runs."""
        return self._shells.track_inprogress()

    def shell_over(self, why: str) -> None:
        self._shells_over.labels(why).inc()

    # -- log drains -------------------------------------------------------------------------------------

    def _define_drains(self) -> None:
        self._drained = self._counter("log_drain_lines", "Lines that log drains took", "scope")
        self._left_out = self._counter("log_drain_dropped_lines", "Lines left out for log drains", "scope")
        self._failing = self._gauge("log_drains_failing", "Log drains that take nothing now", "scope")
        self._behind = self._gauge(
            "log_drain_lag_seconds", "Age of the oldest line that a log drain has not taken", "scope"
        )

    def drained(self, scope: str, lines: int) -> None:
        self._drained.labels(scope).inc(lines)

    def drain_dropped(self, scope: str, lines: int) -> None:
        self._left_out.labels(scope).inc(lines)

    def draining(self, scope: str, failing: int, lag: float) -> None:
        """How those of a scope do: told at each look, by the bot that leads."""
        self._failing.labels(scope).set(failing)
        self._behind.labels(scope).set(lag)

    # -- the bot itself ---------------------------------------------------------------------------------

    def _define_own(self) -> None:
        self._swept = self._histogram("sweep", "A sweep that came to its end", _WORK, "sweep")
        self._found = self._counter("sweep_found", "What sweeps found and did something about", "sweep")
        self._broken = self._counter("sweep_failures", "Sweeps that broke", "sweep")
        self._last = self._gauge(
            "sweep_last_run_timestamp_seconds", "When a sweep last came to its end, since 1970", "sweep"
        )
        self._lag = self._histogram("loop_lag", "How much later than asked for the loop wakes", _SHORT)
        self._leading = self._gauge("leading", "Whether this bot does the work that one does at a time")
        self._wanted = self._gauge("pool_workers_wanted", "Workers that scaling wants in a pool", "pool")
        self._actual = self._gauge("pool_workers_actual", "Workers that scaling has in a pool", "pool")

    def swept(self, sweep: str, seconds: float) -> None:
        """A sweep came to its end."""
        self._swept.labels(_word(sweep)).observe(seconds)
        self._last.labels(_word(sweep)).set_to_current_time()

    def found(self, sweep: str, many: int = 1) -> None:
        """A sweep found so many things, and did something about them."""
        self._found.labels(_word(sweep)).inc(many)

    def sweep_broke(self, sweep: str) -> None:
        self._broken.labels(_word(sweep)).inc()

    def lagged(self, seconds: float) -> None:
        self._lag.observe(seconds)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Around the work that only one bot does at a time."""
        self._leading.set(1)
        try:
            yield
        finally:
            self._leading.set(0)

    def scaled(self, pool: str, *, wanted: int, actual: int) -> None:
        """What scaling wants of a pool, and what there is: told at each look, by whoever scales."""
        pool = self._bounded("pool", pool)
        self._wanted.labels(pool).set(wanted)
        self._actual.labels(pool).set(actual)

    # -- how they are made ------------------------------------------------------------------------------

    def _bounded(self, label: str, value: str) -> str:
        return self._few[label](value)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"blacktree_{name}_total", says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"blacktree_{name}", says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        says = f"{says}, in seconds"
        return Histogram(f"blacktree_{name}_seconds", says, labels, buckets=buckets, registry=self.registry)


def _word(name: str) -> str:
    return name.replace(" ", "_")


def _place(environment: str) -> str:
    """What an environment is for, in few words."""
    if environment in ("production", "staging"):
        return environment
    return "preview" if environment.startswith("pr-") else "other"
