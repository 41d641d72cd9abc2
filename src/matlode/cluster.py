"""The engine of a Dask cluster. Dask repeats the calls of lost workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, final
from uuid import uuid4

from matlode.engine import SHARED, Engine, Shared, Task, get_shared
from matlode.errors import InputError
from matlode.version import __version__

try:
    from distributed import Client, WorkerPlugin
    from distributed.scheduler import KilledWorker
except ImportError as error:
    raise InputError(
        'a Dask cluster needs the package distributed: run pip install "matlode[cluster]".'
    ) from error

if TYPE_CHECKING:
    from distributed import Future, Worker

Result = TypeVar("Result")
Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")

CONNECTION_S = 30
"""Time within which the scheduler must answer."""


@final
class Cluster(Engine):
    """Computes on the workers of a Dask scheduler, which may come and go.

    Raises InputError if the scheduler does not answer, or for workers with another version.

    >>> from matlode import search
    >>> with Cluster("tcp://host:8786") as engine:  # doctest: +SKIP
    ...     search(maximize="bulk_modulus", engine=engine)
    """

    def __init__(self, address: str) -> None:
        try:
            self._client = Client(address, timeout=CONNECTION_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address} ({error}); start one with "
                "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`."
            ) from None
        self._keys: list[str] = []
        for worker, found in dict(self._client.run(_get_version)).items():
            if found != __version__:
                raise InputError(
                    f"the worker {worker} has matlode {found}, not {__version__}; install the same "
                    "version everywhere."
                )

    @property
    def n_workers(self) -> int:
        """See Engine; at least 1, since workers may join later."""
        return max(1, sum(self._client.nthreads().values()))

    def submit(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """See Engine."""
        future = self._client.submit(function, *arguments, pure=False)
        return Task(partial(_wait, future), future.cancel)

    def share(self, value: Value) -> Shared[Value]:
        """See Engine. The scheduler keeps the value for workers that join later."""
        self._keys.append(f"matlode-{uuid4().hex}")
        self._client.register_plugin(_Sharing(self._keys[-1], value), name=self._keys[-1])
        return partial(get_shared, self._keys[-1])

    def close(self) -> None:
        """See Engine; the cluster stays."""
        for key in self._keys:
            self._client.unregister_worker_plugin(key)
        self._client.close()


def _wait(future: Future[Result]) -> Result:
    try:
        return future.result()
    except KilledWorker as error:
        raise InputError(
            f"several workers were lost in the same calculation ({error}); it may need more "
            "memory than a worker has."
        ) from error


@dataclass(frozen=True)
class _Sharing(WorkerPlugin):
    """Gives a value to workers, also to those that join later."""

    key: str
    value: Any

    def setup(self, worker: Worker) -> None:
        """See WorkerPlugin."""
        SHARED[self.key] = self.value

    def teardown(self, worker: Worker) -> None:
        """See WorkerPlugin."""
        SHARED.pop(self.key, None)


def _get_version() -> str:
    return __version__
