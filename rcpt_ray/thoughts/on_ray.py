"""Generate thoughts on Ray Data: a pool of engine actors turns shards into parts; receipts return to the driver.

The driver sends paths and gets receipts, so its memory stays flat.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rcpt_ray.errors import UserError
from rcpt_ray.pool_on_ray import run_on_pool
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.thoughts.engine import Engine, EngineCannotStart
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Meter
from rcpt_ray.thoughts.parts import Receipt
from rcpt_ray.thoughts.work import EngineWork, Shard


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
    run_on_pool(
        [{"shard": json.dumps(asdict(shard))} for shard in shards],
        EngineActor,
        {"folder": str(folder), "generation": generation, "session": session},
        generation.spec.pool,
        lambda row: on_receipt(Receipt.from_json(row["receipt"])),
    )


class EngineActor:
    """One engine of the pool."""

    def __init__(self, folder: str, generation: Generation, session: str) -> None:
        self._engine = make_engine(generation)
        self._meter = Meter(Path(folder), session)
        self._work = EngineWork(self._engine, generation, Path(folder), session, self._meter)
        self._kind = generation.spec.engine

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Turn the one shard of the batch into a part; yields its receipt, or why there can be none."""
        shard = Shard(**json.loads(batch["shard"][0]))
        try:
            load_secrets()
            receipt = await self._work.make_part(shard)
        except (EngineCannotStart, UserError) as error:
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
