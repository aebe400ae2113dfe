"""Generate thoughts on Ray Data: a pool of engine actors turns shards into parts; receipts return to the driver.

The driver sends paths and gets receipts, so its memory stays flat. Each actor works on several shards at once, which
hides the tail of a shard. The whole pool is asked for at the start, so that machines come up together; it shrinks to
`min_engines` as shards run out. An actor that dies is started again by Ray and gets its shards again.
"""

import gc
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from rcpt_ray.errors import UserError
from rcpt_ray.thoughts.engine import Engine, EngineCannotStart
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Meter
from rcpt_ray.thoughts.parts import Receipt
from rcpt_ray.thoughts.work import EngineWork, Shard

_EXECUTOR_ENDS_S = 30.0


def generate_on_ray(
    shards: Sequence[Shard],
    folder: Path,
    generation: Generation,
    session: str,
    on_receipt: Callable[[Receipt], None],
) -> None:
    """Make a part for each shard in `folder`; `on_receipt` hears of each as it is finished.

    Raises:
        UserError: the engine cannot start.
    """
    pool = generation.spec.pool
    num_engines = min(pool.max_engines, len(shards))
    dataset = ray.data.from_items(
        [{"shard": json.dumps(asdict(shard))} for shard in shards], override_num_blocks=len(shards)
    ).map_batches(
        EngineActor,
        fn_constructor_kwargs={"folder": str(folder), "generation": generation, "session": session},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=min(pool.min_engines, num_engines),
            max_size=num_engines,
            initial_size=num_engines,
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
            on_receipt(Receipt.from_json(row["receipt"]))
    finally:
        del rows
        wait_for_executor()


def wait_for_executor() -> None:
    """Wait until Ray Data's threads have ended: one that still runs when Ray is shut down ends the whole process."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            thread.join(_EXECUTOR_ENDS_S)


class EngineActor:
    """One engine of the pool."""

    def __init__(self, folder: str, generation: Generation, session: str) -> None:
        self._engine = make_engine(generation)
        self._meter = Meter(Path(folder), session)
        self._work = EngineWork(self._engine, generation, Path(folder), session, self._meter)
        self._kind = generation.spec.engine

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Turn the one shard of the batch into a part; yields its receipt, or why there can be none.

        An exception would lose its type and its message's place on its way through Ray Data.
        """
        shard = Shard(**json.loads(batch["shard"][0]))
        try:
            receipt = await self._work.make_part(shard)
        except EngineCannotStart as error:
            yield {"receipt": [""], "failure": [f"thoughts.engine={self._kind} cannot start: {error}"]}
        else:
            yield {"receipt": [receipt.to_json()], "failure": [""]}

    def __del__(self) -> None:
        if hasattr(self, "_work"):
            self._meter.say("ended")
            self._engine.close()


def make_engine(generation: Generation) -> Engine:
    """The engine that a recipe names, not started yet."""
    spec = generation.spec
    match spec.engine:
        case "fake":
            from rcpt_ray.thoughts.fake_engine import FakeEngine

            return FakeEngine(spec.sampling.max_thought_tokens, spec.fake, spec.max_model_tokens)
        case "vllm":
            from rcpt_ray.thoughts.vllm_engine import VllmEngine

            return VllmEngine(generation.model_path, spec, generation.seed)
        case "http":
            from rcpt_ray.thoughts.http_engine import HttpEngine

            return HttpEngine(generation.model_path, generation.model, spec)
