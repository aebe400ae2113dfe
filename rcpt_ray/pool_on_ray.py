"""Actors on Ray Data: items go in, rows come back.

A pool of engines is asked for whole at the start, so that machines come up together, and shrinks to `min_engines` as
items run out; each engine works on several items at once, which hides the tail of one. Workers take one item at a time.
An actor that dies, alone or with its machine, is started again by Ray and gets its items again. The first machines work
while the others come, and nothing here limits how long they take. With the last row, nothing is held or asked for.
"""

import gc
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import ray

from rcpt_ray import cluster
from rcpt_ray.blocks import block_ends
from rcpt_ray.errors import UserError
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.thoughts.spec import PoolSpec

# Names that Ray Data 2.60 gives its threads: rows of a dataset pass through the first two.
_RAY_DATA_THREADS = ("iter_threaded", "Prefetcher", "StreamingExecutor", "ray-data-metadata-prefetch")
_RAY_DATA_ENDS_S = 30.0


def run_on_pool(
    items: Sequence[dict[str, Any]],
    actor: type,
    arguments: dict[str, Any],
    pool: PoolSpec,
    on_row: Callable[[dict[str, Any]], None],
) -> None:
    """Give each item to an actor made with `arguments`; `on_row` hears of each row as it comes.

    An actor's row has a column `failure`, empty unless the job cannot go on: an exception would lose its type and its
    message's place on its way through Ray Data.

    Raises:
        UserError: with the first failure's words.
    """
    for row in _rows(through_pool(_dataset_of(items), len(items), actor, arguments, pool)):
        on_row(row)


def through_pool(dataset: Any, num_items: int, actor: type, arguments: dict[str, Any], pool: PoolSpec) -> Any:
    """The dataset of what a pool of engine actors yields for each of a dataset's items."""
    num_actors = min(pool.max_engines, num_items)
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=min(pool.min_engines, num_actors),
            max_size=num_actors,
            initial_size=num_actors,
            max_tasks_in_flight_per_actor=2 * pool.shards_in_flight,
            max_concurrent_calls_per_actor=pool.shards_in_flight,
        ),
        num_cpus=pool.cpus_per_engine,
        num_gpus=pool.gpus_per_engine or None,
        resources=cluster.of_machines(pool.machines) or None,
    )


def run_on_workers(
    work: Callable[[Any], Any], items: Sequence[Any], num_workers: int | None, machines: str | None = None
) -> Iterator[Any]:
    """The result of `work` for each item as it comes, by so many workers of one CPU, None for one on each CPU there is.

    Raises:
        UserError: the first that `work` raised.
    """
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    num_actors = min(num_workers or num_cpus, len(items))
    dataset = _dataset_of([{"item": pickle.dumps(item)} for item in items]).map_batches(
        _Worker,
        fn_constructor_kwargs={"work": work},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            # All that are wanted, though the CPUs may still be on their way.
            min_size=1,
            max_size=num_actors,
            initial_size=num_actors,
            max_tasks_in_flight_per_actor=2,
        ),
        num_cpus=1,
        resources=cluster.of_machines(machines) or None,
    )
    for row in _rows(dataset):
        yield pickle.loads(row["result"])


class _Worker:
    """One process that does items."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        # One CPU is what it asked for; native code would take all there are.
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            load_secrets()
            return {"result": [pickle.dumps(self._work(pickle.loads(batch["item"][0])))], "failure": [""]}
        except UserError as error:
            return {"result": [b""], "failure": [str(error)]}


def _dataset_of(items: Sequence[dict[str, Any]]) -> Any:
    """The items in order, a block each or, of very many, a few together (blocks.py)."""
    bounds = pairwise([0, *block_ends(len(items))])
    # Not from_arrow, which sends a task for each block to find its schema, before there may be a machine to run it.
    return ray.data.from_blocks([pa.Table.from_pylist(list(items[start:stop])) for start, stop in bounds])


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    rows = iter(dataset.iter_rows())
    try:
        for row in rows:
            if row["failure"]:
                raise UserError(row["failure"])
            yield row
    finally:
        del rows
        _wait_for_ray_data()


def _wait_for_ray_data() -> None:
    """Wait until Ray Data's threads have ended: one that still runs when Ray is shut down ends the whole process."""
    gc.collect()
    deadline = time.monotonic() + _RAY_DATA_ENDS_S
    while time.monotonic() < deadline:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(_RAY_DATA_THREADS)]
        if not threads:
            return
        # The thread that reads rows owns the executor, so others may outlive it.
        threads[0].join(deadline - time.monotonic())
