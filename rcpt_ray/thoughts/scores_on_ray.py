"""Score thoughts on Ray Data: a pool of actors, each with its scorers; only paths travel."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray

from rcpt_ray.errors import UserError
from rcpt_ray.thoughts.engine import EngineCannotStart
from rcpt_ray.thoughts.on_ray import wait_for_executor
from rcpt_ray.thoughts.scores import Scoring, score_part


def score_on_ray(parts: Mapping[Path, Path], scoring: Scoring, on_part: Callable[[], None]) -> None:
    """Score each part into its target; `on_part` hears of each.

    Raises:
        UserError: an engine cannot start.
    """
    pool = scoring.spec.pool
    num_actors = min(pool.max_engines, len(parts))
    items = [{"part": str(part), "target": str(target)} for part, target in parts.items()]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ScoreActor,
        fn_constructor_kwargs={"scoring": scoring},
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
            on_part()
    finally:
        del rows
        wait_for_executor()


class ScoreActor:
    """The scorers of one actor; with both kinds, two engines share its GPUs (set pool.engine_args accordingly)."""

    def __init__(self, scoring: Scoring) -> None:
        self._scorers = {kind: scoring.scorer(kind) for kind in scoring.kinds}
        self._are_up = False

    async def __call__(self, batch: dict[str, Any]) -> Any:
        """Score one part; yields nothing but whether it failed."""
        try:
            if not self._are_up:
                for scorer in self._scorers.values():
                    scorer.start()
                self._are_up = True
            await score_part(Path(batch["part"][0]), Path(batch["target"][0]), self._scorers)
        except EngineCannotStart as error:
            yield {"failure": [f"thoughts.scores: the engine cannot start: {error}"]}
        else:
            yield {"failure": [""]}

    def __del__(self) -> None:
        for scorer in getattr(self, "_scorers", {}).values():
            scorer.close()
