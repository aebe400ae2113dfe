"""Score thoughts on Ray Data: a pool of actors, each with its scorers; only paths travel."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rcpt_ray.errors import UserError
from rcpt_ray.pool_on_ray import run_on_pool
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.thoughts.engine import EngineCannotStart
from rcpt_ray.thoughts.scores import Scoring, score_part


def score_on_ray(parts: Mapping[Path, Path], scoring: Scoring, on_part: Callable[[], None]) -> None:
    """Score each part into its target; `on_part` hears of each.

    Raises:
        UserError: an engine cannot start.
    """
    items = [{"part": str(part), "target": str(target)} for part, target in parts.items()]
    run_on_pool(items, ScoreActor, {"scoring": scoring}, scoring.spec.pool, lambda row: on_part())


class ScoreActor:
    """The scorers of one actor; with both kinds, two engines share its GPUs (set pool.engine_args accordingly)."""

    def __init__(self, scoring: Scoring) -> None:
        self._scorers = {kind: scoring.scorer(kind) for kind in scoring.kinds}
        self._are_up = False
        # Of blocks that hold several parts Ray Data hands over four at once, in each call.
        self._in_flight = asyncio.Semaphore(scoring.spec.pool.shards_in_flight)

    async def __call__(self, batch: dict[str, Any]) -> Any:
        """Score one part; yields nothing but whether it failed."""
        try:
            load_secrets()
            if not self._are_up:
                for scorer in self._scorers.values():
                    scorer.start()
                self._are_up = True
            async with self._in_flight:
                await score_part(Path(batch["part"][0]), Path(batch["target"][0]), self._scorers)
        except (EngineCannotStart, UserError) as error:
            yield {"failure": [f"thoughts.scores: the engine cannot start: {error}"]}
        else:
            yield {"failure": [""]}

    def __del__(self) -> None:
        for scorer in getattr(self, "_scorers", {}).values():
            scorer.close()
