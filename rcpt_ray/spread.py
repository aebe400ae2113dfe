"""Work that falls into independent items, done here or by workers on Ray; what it makes does not depend on which.

Here, a few threads take the items in turn: while one is in a library's native code, the other runs Python. On Ray, Ray
Data gives the items to tasks, and small results come back to the driver, whose memory stays flat.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rcpt_ray.cluster import ClusterSpec

Item = TypeVar("Item")
Result = TypeVar("Result")
_MUCH_BYTES = 64 * 2**20
_FILES_AT_ONCE = 8
_WORKERS_ON_DEMAND = 32


@dataclass(frozen=True)
class Spread:
    """How work is spread."""

    num_workers: int | None
    """Workers on Ray; None decides by the size of the work."""
    connect: Callable[[], None]
    """Joins or starts Ray."""
    is_on_demand: bool = False
    """Whether machines come when they are asked for, so that the CPUs there are now say nothing."""
    machines: str | None = None
    """The machines of the workers, None for any."""

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item], num_bytes: int, num_threads: int = 3
    ) -> Iterator[Result]:
        """The result of each item, in any order; `num_bytes` is what all of them read.

        Raises:
            UserError: the first that `work` raised.
        """
        if len(items) < 2 or (self.num_workers is None and num_bytes < _MUCH_BYTES) or self.num_workers == 1:
            yield from _here(work, items, num_threads)
            return
        self.connect()
        from rcpt_ray.pool_on_ray import run_on_workers

        num_workers = self.num_workers or (_WORKERS_ON_DEMAND if self.is_on_demand else None)
        yield from run_on_workers(work, items, num_workers, self.machines)


def spread_on(spec: "ClusterSpec", num_workers: int | None) -> Spread:
    """Work on a recipe's cluster, on its machines for CPUs."""
    from rcpt_ray import cluster

    def connect() -> None:
        cluster.connect(spec)
        cluster.require("cluster.cpu_machines", 1, 0, spec, spec.cpu_machines)

    return Spread(num_workers, connect, spec.autoscales, spec.cpu_machines)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The result of each item, in order, by a few threads: for many small files, where each waits for a disk."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        yield from threads.map(work, items)


def here() -> Spread:
    """Everything in this process."""
    return Spread(1, lambda: None)


def _here(work: Callable[[Item], Result], items: Sequence[Item], num_threads: int) -> Iterator[Result]:
    if num_threads < 2 or len(items) < 2 or (os.cpu_count() or 1) < 2:
        yield from map(work, items)
        return
    waiting: list[Any] = []
    with ThreadPoolExecutor(num_threads) as threads:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) > num_threads:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
