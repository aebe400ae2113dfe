"""What an engine actor does with a shard: try it, restart an engine that died, corner a poison request, write the part.

Shards that were never in flight when an engine ended share the engine; one that was is tried by itself, so that an
engine's end is never again put down to an innocent neighbour.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rcpt_ray.thoughts.engine import Engine, EngineCannotStart, EngineDied
from rcpt_ray.thoughts.generate import Generation, Row, Wanted, generate_rows, rejected_row, wanted_again, wanted_of
from rcpt_ray.thoughts.meter import Meter, num_dead_starters
from rcpt_ray.thoughts.parts import Receipt, read_receipt, write_part
from rcpt_ray.thoughts.tries import Span, Tries
from rcpt_ray.thoughts.turns import Turns

_MOST_DEAD_STARTERS = 3


@dataclass(frozen=True)
class Shard:
    """A shard to do: its file, and in a later round the part whose rejected rows are tried again."""

    digest: str
    path: str
    round: int = 0
    earlier_part: str | None = None


class EngineWork:
    """One engine and the shards that it works on: `pool.shards_in_flight` at most, the others wait their turn.

    Ray Data may hand over more: all calls that it allows, each with four rows of a block that holds several.
    """

    def __init__(self, engine: Engine, generation: Generation, folder: Path, session: str, meter: Meter) -> None:
        self._engine, self._generation, self._folder, self._session = engine, generation, folder, session
        self._meter, self._turns, self._starting = meter, Turns(), asyncio.Lock()
        self._in_flight = asyncio.Semaphore(generation.spec.pool.shards_in_flight)
        self._is_up, self._num_starts = False, 0
        self._beat: asyncio.Future[None] | None = None

    async def make_part(self, shard: Shard) -> Receipt:
        """Complete a shard, write its part, then its receipt.

        Raises:
            EngineCannotStart: the engine does not come up.
        """
        async with self._in_flight:
            return await self._make_part(shard)

    async def _make_part(self, shard: Shard) -> Receipt:
        started = time.monotonic()
        found = read_receipt(self._folder, shard.digest, self._generation.key)
        if found is not None and found.round >= shard.round:
            return found  # an earlier actor was lost between its receipt and its answer
        if self._beat is None:
            self._beat = asyncio.ensure_future(self._meter.beat())
        kept, wanted = self._read(shard)
        tries = Tries(self._folder, f"{shard.digest}-{shard.round}", len(wanted), self._session)
        plan = tries.plan()
        done: dict[Span, list[Row]] = {}
        while (span := next((piece for piece, verdict in plan if verdict == "try"), None)) is not None:
            rows = await self._try(wanted, span, tries)
            if rows is not None and len(span) == len(wanted):
                done[span] = rows
                break
            if rows is not None:
                tries.finish(span, rows)
            plan = tries.plan()
        pieces = [done[span] if span in done else self._piece(span, verdict, wanted, tries) for span, verdict in plan]
        rows = [row for piece in pieces for row in piece]
        receipt = write_part(
            self._folder,
            shard.digest,
            self._generation.key,
            shard.round,
            _merged(kept, rows),
            time.monotonic() - started,
        )
        tries.clear()
        self._meter.part_done()
        return receipt

    def _read(self, shard: Shard) -> tuple[list[Row], list[Wanted]]:
        """Rows that stay as they are, and what is to be generated."""
        if shard.earlier_part is None:
            documents = pq.read_table(shard.path).to_pylist()
            return [], wanted_of(documents, self._generation.spec.sampling.num_samples)
        rows: list[dict[str, Any]] = pq.read_table(self._folder / shard.earlier_part).to_pylist()
        return rows, wanted_again(rows)

    async def _try(self, wanted: list[Wanted], span: Span, tries: Tries) -> list[Row] | None:
        """Rows of a piece of a shard, None if its engine died."""
        num_deaths = tries.num_deaths(span)
        async with self._turns.alone() if num_deaths else self._turns.together():
            start = await self._bring_up()
            tries.begin(span)
            pieces = wanted[span.start : span.stop]
            try:
                with self._meter.at_work():
                    return await generate_rows(pieces, self._engine, self._generation, num_deaths, self._meter.count)
            except EngineDied as death:
                logging.getLogger(__name__).warning("engine died of %s: %s", span, death)
                if start == self._num_starts:
                    self._is_up = False
                return None

    async def _bring_up(self) -> int:
        """Start the engine if it is down; returns the number of its start."""
        async with self._starting:
            if not self._is_up:
                if not self._num_starts and num_dead_starters(self._folder, self._session) >= _MOST_DEAD_STARTERS:
                    raise EngineCannotStart(
                        f"its process ended {_MOST_DEAD_STARTERS} times while it started; see the log, and the memory"
                    )
                self._meter.say("starting")
                await self._engine.start()
                self._is_up = True
                self._num_starts += 1
                self._meter.say("running")
            return self._num_starts

    def _piece(self, span: Span, verdict: str, wanted: list[Wanted], tries: Tries) -> list[Row]:
        if verdict == "finished":
            return tries.rows(span)
        (one,) = wanted[span.start : span.stop]
        attempts = one.num_rejected + tries.num_deaths(span)
        return [rejected_row(one, self._engine, self._generation, attempts, "engine_died")]


def _merged(kept: list[Row], new: list[Row]) -> list[Row]:
    """Earlier rows with those that were generated again in their places."""
    if not kept:
        return new
    by_key = {(row["doc_id"], row["sample_index"]): row for row in new}
    return [by_key.get((row["doc_id"], row["sample_index"]), row) for row in kept]
