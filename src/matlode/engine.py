"""Where calls are computed: in this process, in processes of this machine, or on a Dask cluster.

One coordinator submits calls and gathers their results in order, so nothing depends on the number
of workers or on which of them is faster. The call of a lost worker is repeated by another one.
"""

from __future__ import annotations

import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from queue import LifoQueue
from typing import Any, Generic, TypeAlias, TypeVar, TypeVarTuple, final
from uuid import uuid4

from matlode.errors import InputError

Result = TypeVar("Result")
Item = TypeVar("Item")
Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")

ATTEMPTS = 3
"""A call that loses this many workers is given up: it may be the cause."""
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Shared: TypeAlias = Callable[[], Value]
"""Returns a value that every worker has, such as models; it is sent once and not with each call."""
SHARED: dict[str, Any] = {}
"""Values that this process was sent as a worker, by key."""


def get_shared(key: str) -> Any:
    """A value that this process was sent as a worker."""
    return SHARED[key]


@dataclass(frozen=True)
class Task(Generic[Result]):
    """A submitted call."""

    result: Callable[[], Result]
    """Waits for the result; raises what the call raised."""
    cancel: Callable[[], object] = lambda: None
    """Keeps the call from beginning, if it has not begun."""


class Engine(ABC):
    """Computes calls of importable functions. As a context manager, it is closed at the end."""

    @property
    @abstractmethod
    def n_workers(self) -> int:
        """Calls that are computed at the same time."""

    @abstractmethod
    def submit(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """Submit a call; calls begin in the order of their submission."""

    @abstractmethod
    def share(self, value: Value) -> Shared[Value]:
        """Give a value to every worker, until the engine is closed."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what is left and end the workers."""

    def gather(
        self, tasks: Iterable[Task[Result]], *, n_ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield the results in the order of the tasks, of which ``n_ahead`` (default: all) are
        taken before a result; an error or the end of the iteration cancels the tasks that are
        left."""
        source = iter(tasks)
        left = deque(islice(source, n_ahead))
        try:
            while left:
                left.extend(islice(source, 1))
                # a result that was yielded is not kept
                yield left.popleft().result()
        finally:
            for task in left:
                task.cancel()

    def stream(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` for each item, in order; two items per worker are in memory."""
        tasks = (self.submit(function, item) for item in items)
        return self.gather(tasks, n_ahead=2 * self.n_workers - 1)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class Here(Engine):
    """Computes in this process, each call when its result is wanted."""

    n_workers = 1

    def submit(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """See Engine."""
        return Task(partial(function, *arguments))

    def share(self, value: Value) -> Shared[Value]:
        """See Engine."""
        return lambda: value

    def stream(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Engine; one item is in memory."""
        return map(function, items)

    def close(self) -> None:
        """See Engine."""


@final
class Processes(Engine):
    """Computes in processes of this machine, one thread each (default: one per core).

    A process starts with its first call. Each is a pool of its own, so that one that is killed
    takes only its own call with it.

    >>> from matlode import search
    >>> with Processes(4) as engine:  # doctest: +SKIP
    ...     search(maximize="bulk_modulus", engine=engine)
    """

    n_workers = 0

    def __init__(self, n_workers: int = 0) -> None:
        self.n_workers = n_workers or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self.n_workers, thread_name_prefix="matlode")
        self._workers = [_Worker() for _ in range(self.n_workers)]
        self._idle: LifoQueue[_Worker] = LifoQueue()  # the last one has been started already
        for worker in self._workers:
            self._idle.put(worker)
        self._values: dict[str, object] = {}

    def submit(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """See Engine."""

        def run() -> Result:
            worker = self._idle.get()
            try:
                return worker.run(self._values, partial(function, *arguments))
            finally:
                self._idle.put(worker)

        future = self._threads.submit(run)
        return Task(future.result, future.cancel)

    def share(self, value: Value) -> Shared[Value]:
        """See Engine."""
        key = uuid4().hex
        self._values = {**self._values, key: value}
        return partial(get_shared, key)

    def close(self) -> None:
        """See Engine."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, started when it is needed and again when it was lost."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0
        self._values: Mapping[str, object] = {}
        self._lock = threading.Lock()
        self._closed = False

    def run(self, values: Mapping[str, object], call: Callable[[], Result]) -> Result:
        """Call in the process, which has the shared ``values``."""
        for _ in range(ATTEMPTS):
            try:
                return self._start(values).submit(call).result()
            except BrokenProcessPool:
                if self._closed:
                    raise
                self._end()
        raise InputError(
            f"a worker process was lost {ATTEMPTS} times in the same calculation; it may need more "
            "memory than there is: use fewer --workers. (A script must start workers below "
            '`if __name__ == "__main__":`.)'
        )

    def close(self) -> None:
        """End the process and whatever it computes."""
        with self._lock:
            self._closed = True
            self._end()

    def _start(self, values: Mapping[str, object]) -> ProcessPoolExecutor:
        with self._lock:
            if self._closed:
                raise BrokenProcessPool("closed")
            if self._pool is None:
                self._pool, self._values = ProcessPoolExecutor(1, get_context("spawn")), {}
                self._pid = self._pool.submit(_begin_worker).result()
            if self._values is not values:
                self._pool.submit(_set_values, values)
                self._values = values
            return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            with suppress(OSError):  # it has ended already
                os.kill(self._pid, signal.SIGTERM)
            self._pool = None


def _begin_worker() -> int:
    """First call in a new process, before it imports what computes; returns its id."""
    from threadpoolctl import threadpool_limits

    # Ctrl-C reaches all processes of a terminal; the coordinator ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))  # read by libraries when imported
    threadpool_limits(1)  # of those that the script of the coordinator has imported
    threading.Thread(target=_end_with_coordinator, daemon=True).start()
    return os.getpid()


def _set_values(values: Mapping[str, object]) -> None:
    SHARED.clear()
    SHARED.update(values)


def _end_with_coordinator() -> None:
    """End this process when the one that started it is gone, killed for instance."""
    if coordinator := parent_process():
        coordinator.join()
        os._exit(1)


def count_threads() -> int:
    """Threads that this process may compute with: $OMP_NUM_THREADS (1 in a worker), by default one
    per core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else os.cpu_count() or 1
