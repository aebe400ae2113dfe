"""Generate thoughts on Ray Data: a pool of engine actors turns shards into parts; receipts return to the driver.

The driver sends paths and gets receipts, so its memory stays flat. Each actor works on several shards at once, which
hides the tail of a shard; the pool grows to `max_engines` while shards wait.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from rcpt_ray.thoughts.engine import Engine, FakeEngine
from rcpt_ray.thoughts.generate import Generation, Receipt, make_part


def generate_on_ray(
    shards: dict[str, Path], folder: Path, generation: Generation, on_receipt: Callable[[Receipt], None]
) -> None:
    """Make a part for each shard (digest -> file) in `folder`; `on_receipt` hears of each as it is finished."""
    pool = generation.spec.pool
    dataset = ray.data.from_items(
        [{"digest": digest, "shard": str(path)} for digest, path in shards.items()], override_num_blocks=len(shards)
    ).map_batches(
        EngineActor,
        fn_constructor_kwargs={"folder": str(folder), "generation": generation},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=min(pool.min_engines, len(shards)),
            max_size=min(pool.max_engines, len(shards)),
            initial_size=min(pool.max_engines, len(shards)),
            max_tasks_in_flight_per_actor=2 * pool.shards_in_flight,
            max_concurrent_calls_per_actor=pool.shards_in_flight,
        ),
        num_cpus=pool.cpus_per_engine,
        num_gpus=pool.gpus_per_engine or None,
    )
    for row in dataset.iter_rows():
        on_receipt(Receipt(**row["receipt"]))


class EngineActor:
    """One engine of the pool."""

    def __init__(self, folder: str, generation: Generation) -> None:
        self._folder, self._generation = Path(folder), generation
        self._engine: Engine
        match generation.spec.engine:
            case "fake":
                self._engine = FakeEngine(generation.spec.sampling.max_thought_tokens, generation.spec.fake_delay_s)
            case "vllm":
                from rcpt_ray.thoughts.vllm_engine import VllmEngine

                self._engine = VllmEngine(generation.model_path, generation.spec, generation.seed)

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Turn the one shard of the batch into a part; yields its receipt."""
        (digest,), (shard,) = batch["digest"], batch["shard"]
        receipt = await make_part(Path(shard), str(digest), self._folder, self._engine, self._generation)
        yield {"receipt": [asdict(receipt)]}

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
