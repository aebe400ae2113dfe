"""A pool of actors on Ray Data: items go in, rows come back, and the pool grows and shrinks as the settings say.

The whole pool is asked for at the start, so that machines come up together; it shrinks to `min_engines` as items run
out. Each actor works on several items at once, which hides the tail of one. An actor that dies is started again by Ray
and gets its items again.
"""

import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray

from rcpt_ray.errors import UserError
from rcpt_ray.thoughts.spec import PoolSpec

_EXECUTOR_ENDS_S = 30.0


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
    num_actors = min(pool.max_engines, len(items))
    dataset = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
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
    )
    rows = iter(dataset.iter_rows())
    try:
        for row in rows:
            if row["failure"]:
                raise UserError(row["failure"])
            on_row(row)
    finally:
        del rows
        _wait_for_executor()


def _wait_for_executor() -> None:
    """Wait until Ray Data's threads have ended: one that still runs when Ray is shut down ends the whole process."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            thread.join(_EXECUTOR_ENDS_S)
