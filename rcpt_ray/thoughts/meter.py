"""What an engine has done, as a small file that anyone may read while it runs.

    engines/<engine>.json   written by its actor once a second and when its state changes

The files of all commands of a stage together give its engine-hours; the youngest give its speed now.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from rcpt_ray.artifacts import write_atomic

_EVERY_S = 1.0
_WINDOW_S = 20.0
FRESH_S = 15.0


@dataclass
class Reading:
    """An engine's figures; times are seconds since the epoch."""

    session: str
    state: str
    machine: str
    pid: int
    started_s: float
    seen_s: float
    ready_s: float | None = None
    num_rows: int = 0
    num_rejected: int = 0
    num_prompt_tokens: int = 0
    num_thought_tokens: int = 0
    tokens_per_s_now: float = 0.0
    num_in_flight: int = 0
    """Shards, or pieces of them, that are being worked on."""

    def is_of(self, session: str) -> bool:
        """Whether the engine belongs to this command, or to an attempt of it (`<command>-<attempt>`)."""
        return self.session == session or self.session.startswith(f"{session}-")

    def is_alive(self, session: str) -> bool:
        """Whether the engine belongs to this command and gave a sign of life a moment ago."""
        return self.is_of(session) and self.state == "running" and self.seen_s > time.time() - FRESH_S

    def words(self) -> str:
        """One line about the engine."""
        return (
            f"engine on {self.machine}: {self.num_rows:,} rows, {self.num_thought_tokens:,} thought tokens, "
            f"{self.tokens_per_s_now:,.0f} tokens/s now"
        )

    @property
    def hours(self) -> float:
        """Time from the actor's start to its last sign of life."""
        return (self.seen_s - self.started_s) / 3600


class Meter:
    """Counts one actor's rows and writes its reading."""

    def __init__(self, folder: Path, session: str) -> None:
        now_s = time.time()
        self._file = folder / "engines" / f"{uuid.uuid4().hex[:12]}.json"
        self._reading = Reading(session, "asleep", _machine(), os.getpid(), now_s, now_s)
        self._window: deque[tuple[float, int]] = deque([(now_s, 0)])
        self._write(now_s)

    def count(self, row: dict[str, Any]) -> None:
        """Count a row that is done."""
        reading = self._reading
        reading.num_rows += 1
        reading.num_rejected += row["status"] != "ok"
        reading.num_prompt_tokens += row["num_prompt_tokens"]
        reading.num_thought_tokens += row["num_thought_tokens"]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The engine works on a shard for the length of the block."""
        self._reading.num_in_flight += 1
        try:
            yield
        finally:
            self._reading.num_in_flight -= 1

    def part_done(self) -> None:
        """Write the reading now, so that what a finished part took is not lost with its engine."""
        self._write(time.time())

    def say(self, state: str) -> None:
        """Note what the engine is doing: asleep, starting, running or ended."""
        self._reading.state = state
        now_s = time.time()
        if state == "running" and self._reading.ready_s is None:
            self._reading.ready_s = now_s
        self._write(now_s)

    async def beat(self) -> None:
        """Write the reading once a second for ever, so that an engine that is silent over a long row is not lost."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self._write(time.time())

    def _write(self, now_s: float) -> None:
        reading = self._reading
        reading.seen_s = now_s
        self._window.append((now_s, reading.num_thought_tokens))
        while self._window[0][0] < now_s - _WINDOW_S and len(self._window) > 2:
            self._window.popleft()
        then_s, then_tokens = self._window[0]
        elapsed_s = now_s - then_s
        reading.tokens_per_s_now = (reading.num_thought_tokens - then_tokens) / elapsed_s if elapsed_s > 0 else 0.0
        write_atomic(self._file, json.dumps(asdict(reading)))


def num_dead_starters(folder: Path, session: str) -> int:
    """Actors of this session that ended on this machine while their engines were starting."""
    readings = [reading for reading in read_meters(folder) if (reading.session, reading.state) == (session, "starting")]
    return sum(reading.machine == _machine() and not psutil.pid_exists(reading.pid) for reading in readings)


def _machine() -> str:
    """A name of this machine that tells nothing about it."""
    return hashlib.sha256(f"{uuid.getnode()}{platform.node()}".encode()).hexdigest()[:12]


def read_meters(folder: Path) -> list[Reading]:
    """The readings of all engines that ever worked on a stage."""
    return [Reading(**json.loads(file.read_text(encoding="utf-8"))) for file in folder.glob("engines/*.json")]
