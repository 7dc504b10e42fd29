"""Python threads that run the shards of a training loop.

One thread per shard, or fewer; kept between runs, asleep when idle. Native code runs without the
GIL, while the calling thread waits in short timeouts, so that Ctrl-C and callbacks work: an
exception in it (KeyboardInterrupt, or one out of `poll`) stops the shards at their next step, waits
for them and then goes on. Each pool has threads of its own: two sessions may train at the same
time. A fork leaves the threads behind; the child makes new ones when it needs them.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeAlias

from staticflow.native.memory import words_of
from staticflow.native.training.layout import Shard
from staticflow.native.training.tables import ShardTable

Run = Callable[[int], int]
_PENDING = object()
_POLL_SECONDS = 0.05


class _Job:
    """One run: what to call, and what came of it. Threads write results, the caller reads them."""

    def __init__(self, function: Run, addresses: Sequence[int]) -> None:
        self.function = function
        self.addresses = addresses
        self.results: list[object] = [_PENDING] * len(addresses)
        self.finished: SimpleQueue[int] = SimpleQueue()
        self.submitted = 0

    def is_done(self) -> bool:
        return _PENDING not in self.results

    def perform(self, shard: int) -> None:
        if self.results[shard] is not _PENDING:
            return  # submitted twice by an interrupted caller
        try:
            self.results[shard] = self.function(self.addresses[shard])
        except BaseException as error:
            self.results[shard] = error
        self.finished.put(shard)


_Tasks: TypeAlias = "SimpleQueue[tuple[_Job, int] | None]"


def _serve(tasks: _Tasks) -> None:
    while (task := tasks.get()) is not None:
        job, shard = task
        job.perform(shard)
        del task, job  # an idle thread keeps nothing alive


def _dismiss(queues: list[_Tasks]) -> None:
    for queue in queues:
        queue.put(None)


class ShardPool:
    """The threads of one session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: list[_Tasks] = []
        self._process = os.getpid()
        weakref.finalize(self, _dismiss, self._queues)

    def run(
        self,
        function: Run,
        tables: Sequence[ShardTable],
        poll: Callable[[], None] | None = None,
        inline: bool = False,
        threads: int | None = None,
    ) -> list[int]:
        """Call `function(address)` for the tables of the first `threads` shards, and give the
        results; those threads run the other shards as well.

        `poll` is called about every 50 ms by the calling thread while it waits. With `inline`, a
        run of one shard is made by the calling thread itself: no thread is woken, but Ctrl-C waits
        until it is over, so it is for runs that are known to be short.
        """
        self._forget_threads_of_parent()
        with self._lock:
            sync = tables[0].sync
            sync.reset()
            parties = self._parties(tables, threads or len(tables), inline)
            team = words_of(table.address for table in tables)
            for table in tables:
                table[Shard.PHASE] = 0
                table.point(Shard.TEAM, team)
                table[Shard.PARTIES] = max(1, parties)
            addresses = [table.address for table in tables[: max(1, parties)]]
            return self._finish(_Job(function, addresses), sync.stop, poll, parties == 0)

    def call(
        self,
        function: Run,
        addresses: Sequence[int],
        stop: Callable[[], None],
        poll: Callable[[], None] | None = None,
        inline: bool = False,
    ) -> list[int]:
        """Call `function(address)` for each address by a thread of its own, or for as many as there
        can be threads, at least one, and give the results; `stop` lets all of them end early.

        `poll` and `inline` are as for `run`.
        """
        self._forget_threads_of_parent()
        with self._lock:
            inline = inline and len(addresses) == 1
            there = 1 if inline else self.start(len(addresses))
            job = _Job(function, addresses[: max(1, there)])
            return self._finish(job, stop, poll, inline or there == 0)

    def _finish(
        self,
        job: _Job,
        stop: Callable[[], None],
        poll: Callable[[], None] | None,
        inline: bool,
    ) -> list[int]:
        """Complete a job, which the calling thread does itself if it is `inline`."""
        if inline:
            job.perform(0)
        else:
            self._complete(job, stop, poll)
        return _results(job)

    def _parties(self, tables: Sequence[ShardTable], wanted: int, inline: bool) -> int:
        """How many threads run the shards; 0 if the calling thread is to do it."""
        if tables[0][Shard.TIED]:
            wanted = len(tables)
        if wanted == 1 and inline:
            return 0
        there = self.start(wanted)
        if tables[0][Shard.TIED] and there < wanted > 1:
            raise RuntimeError(f"cannot start {wanted} threads")
        return there

    def _complete(
        self, job: _Job, stop: Callable[[], None], poll: Callable[[], None] | None
    ) -> None:
        failure: BaseException | None = None
        while not job.is_done():
            try:
                self._submit(job)
                _wait(job, poll if failure is None else None)
            except BaseException as error:
                stop()
                failure = failure or error
        if failure is not None:
            raise failure

    def _forget_threads_of_parent(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            self._queues.clear()

    def start(self, count: int) -> int:
        """See that there are threads for so many shards; how many of them there are."""
        self._forget_threads_of_parent()
        while len(self._queues) < count:
            tasks: _Tasks = SimpleQueue()
            name = f"staticflow-shard-{len(self._queues)}"
            thread = threading.Thread(target=_serve, args=(tasks,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more
                break
            self._queues.append(tasks)
        return min(count, len(self._queues))

    def _submit(self, job: _Job) -> None:
        while job.submitted < len(job.results):
            self._queues[job.submitted].put((job, job.submitted))
            job.submitted += 1


def _wait(job: _Job, poll: Callable[[], None] | None) -> None:
    """Until all are done. Shards that finish may be missed here; `is_done` is what counts."""
    polled = time.monotonic()
    while not job.is_done():
        try:
            job.finished.get(timeout=_POLL_SECONDS)
        except Empty:
            pass
        if poll is not None and time.monotonic() - polled >= _POLL_SECONDS:
            poll()
            polled = time.monotonic()


def _results(job: _Job) -> list[int]:
    results: list[int] = []
    for result in job.results:
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, int)
        results.append(result)
    return results
