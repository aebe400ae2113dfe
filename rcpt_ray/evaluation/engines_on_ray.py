"""A pool of vLLM engines on Ray that outlives one list of work.

Ray Data's pools end with their dataset: letters, texts and generated answers of one model would start its engines
three times. Here the engines are actors, started when the first work comes (as many as there is work for) and kept
until `close`. Each has several shards at once; the least busy one that is up gets the next. Where an actor dies, Ray
starts it again with its shards. Whoever asks holds no CPU meanwhile: Ray takes it back while a task waits.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import ray

from rcpt_ray import cluster
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.engine_work import EngineWork, Piece, Result
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.thoughts.engine import EngineCannotStart
from rcpt_ray.thoughts.spec import ThoughtsSpec

_MOST_PIECES_A_SHARD = 64
_MOST_RESTARTS = 3
_GOODBYE_S = 30.0


class EnginePool:
    """The engines of one model."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        self._arguments, self._pool = (model_path, spec, seed), spec.pool
        self._actors: list[Any] = []
        self._starting: dict[Any, int] = {}
        self._started_s: list[float] = []

    def ask(self, pieces: Sequence[Piece]) -> list[Result]:
        """The result of each piece, in order.

        Raises:
            UserError: vLLM cannot start.
        """
        shards = shards_of(len(pieces), self._pool.max_engines * self._pool.shards_in_flight)
        self._grow(min(self._pool.max_engines, len(shards)))
        results: list[Any] = [None] * len(pieces)
        waiting, running = shards[::-1], dict[Any, tuple[int, range]]()
        while waiting or running:
            for engine in self._free(running, len(waiting)):
                shard = waiting.pop()
                reference = self._actors[engine].answer.remote([pieces[number] for number in shard])
                running[reference] = engine, shard
            (done,), _ = ray.wait([*self._starting, *running], num_returns=1)
            if done in self._starting:
                del self._starting[done]
                if failure := ray.get(done):
                    raise UserError(f"evaluation: vLLM cannot start: {failure}")
                continue
            _, shard = running.pop(done)
            for number, result in zip(shard, ray.get(done), strict=True):
                results[number] = result
        return results

    @property
    def engine_seconds(self) -> float:
        """Seconds since each engine was asked for, summed over engines."""
        now = time.monotonic()
        return sum(now - started for started in self._started_s)

    def close(self) -> None:
        """End all engines and their processes."""
        for actor in self._actors:
            # One that never came up has nothing to end, and would not answer.
            up = actor.close.remote()
            ray.wait([up], timeout=_GOODBYE_S if not self._starting else 0)
            ray.kill(actor)
        self._actors, self._starting = [], {}

    def _grow(self, num_engines: int) -> None:
        actor = ray.remote(EngineActor).options(
            num_cpus=self._pool.cpus_per_engine,
            num_gpus=self._pool.gpus_per_engine or None,
            resources=cluster.of_machines(self._pool.machines),
            max_restarts=_MOST_RESTARTS,
            max_task_retries=_MOST_RESTARTS,
            max_concurrency=self._pool.shards_in_flight + 2,
        )
        while len(self._actors) < num_engines:
            self._actors.append(actor.remote(*self._arguments))
            self._starting[self._actors[-1].start.remote()] = len(self._actors) - 1
            self._started_s.append(time.monotonic())

    def _free(self, running: dict[Any, tuple[int, range]], num_waiting: int) -> list[int]:
        """Engines that take a shard now, the least busy first, one more than once."""
        coming = set(self._starting.values())
        busy = [engine for engine, _ in running.values()]
        slots = [
            (load, engine)
            for engine in range(len(self._actors))
            if engine not in coming
            for load in range(busy.count(engine), self._pool.shards_in_flight)
        ]
        return [engine for _, engine in sorted(slots)][:num_waiting]


class EngineActor:
    """One engine of the pool."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        self._work = EngineWork(model_path, spec, seed)

    async def start(self) -> str:
        """Bring vLLM up; why it cannot, or nothing."""
        try:
            load_secrets()
            await self._work.start()
        except (EngineCannotStart, UserError) as error:
            return str(error)
        return ""

    async def answer(self, pieces: Sequence[Piece]) -> list[Result]:
        """The result of each piece."""
        return await self._work.answer(pieces)

    async def close(self) -> None:
        """End vLLM's processes."""
        self._work.close()


def shards_of(num_pieces: int, num_places: int) -> list[range]:
    """Pieces in shards of like size, so many that every place gets one, none above 64 pieces.

    >>> shards_of(10, 4)
    [range(0, 3), range(3, 6), range(6, 9), range(9, 10)]
    """
    size = max(1, min(_MOST_PIECES_A_SHARD, math.ceil(num_pieces / num_places)))
    return [range(start, min(start + size, num_pieces)) for start in range(0, num_pieces, size)]
