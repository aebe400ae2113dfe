"""How far the generate stage is: what a person sees while it runs, here and from another terminal.

progress.json   written by the driver once a second: rows, prices, times
engines/*.json  written by the engines (meter.py)
"""

import contextlib
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.terminal import Bar, duration
from rcpt_ray.thoughts.meter import FRESH_S, Reading, read_meters
from rcpt_ray.thoughts.parts import Receipt
from rcpt_ray.thoughts.spec import ThoughtsSpec

_EVERY_S = 1.0


@dataclass(frozen=True)
class Prices:
    """What the work costs; None where nothing was said."""

    gpus_per_engine: float
    per_engine_hour: float | None
    per_million_prompt_tokens: float | None
    per_million_thought_tokens: float | None

    @classmethod
    def of(cls, spec: ThoughtsSpec) -> "Prices":
        """The prices in a recipe; those of a server count only where one is used."""
        gpus, per_hour = spec.pool.gpus_per_engine, spec.pool.price_per_engine_hour
        if spec.engine != "http":
            return cls(gpus, per_hour, None, None)
        http = spec.http
        return cls(gpus, per_hour, http.price_per_million_prompt_tokens, http.price_per_million_thought_tokens)

    def cost(self, engine_hours: float, num_prompt_tokens: float, num_thought_tokens: float) -> float | None:
        """The sum, None where no price is known."""
        terms = (
            (self.per_engine_hour, engine_hours),
            (self.per_million_prompt_tokens, num_prompt_tokens / 1e6),
            (self.per_million_thought_tokens, num_thought_tokens / 1e6),
        )
        known = [price * amount for price, amount in terms if price is not None]
        return sum(known) if known else None


@dataclass
class Progress:
    """The driver's figures; times are seconds since the epoch."""

    session: str
    num_rows: int
    num_found: int
    prices: Prices
    started_s: float
    seen_s: float
    num_done: int = 0
    num_rejected: int = 0

    def add(self, receipt: Receipt) -> None:
        """Count a part that was made now."""
        self.num_done += receipt.num_rows
        self.num_rejected += receipt.rejected.total()

    def words(self, readings: list[Reading]) -> str:
        """One line: engines, speed now and over the run, rejected, hours, cost, time left."""
        now_s = max([self.seen_s, *(reading.seen_s for reading in readings)])
        own = [reading for reading in readings if reading.is_of(self.session)]
        running = [reading for reading in own if reading.state == "running" and reading.seen_s > now_s - FRESH_S]
        elapsed_s = max(now_s - self.started_s, 1e-9)
        if not running and not any(reading.num_rows for reading in own):
            waited = f", since {duration(elapsed_s)}" if elapsed_s >= 1 else ""
            return (f"{len(own)} engines start" if own else "engines are asked for") + waited
        tokens = sum(reading.num_thought_tokens for reading in own)
        overall = tokens / elapsed_s
        said = [
            f"{len(running)} engines",
            f"{sum(reading.tokens_per_s_now for reading in running):,.0f} tokens/s now, {overall:,.0f} over all",
            f"{tokens:,} thought tokens, {sum(reading.num_prompt_tokens for reading in own):,} prompt tokens",
            f"{self.num_rejected:,} rejected",
        ]
        hours = sum(reading.hours for reading in readings)
        if self.prices.gpus_per_engine:
            said.append(f"{hours * self.prices.gpus_per_engine:.2f} GPU-hours")
        if (cost := self.cost(readings)) is not None:
            said.append(f"cost {cost:,.2f}")
        if self.num_done:
            left_s = (self.num_rows - self.num_found - self.num_done) * elapsed_s / self.num_done
            said.append(f"{duration(left_s)} left")
        return ", ".join(said)

    def first_engine_s(self, readings: list[Reading]) -> float | None:
        """Seconds from when this command asked for engines to when the first was ready, its machine and Ray included.

        None where none was.
        """
        ready = [one.ready_s for one in readings if one.is_of(self.session) and one.ready_s is not None]
        return min(ready) - self.started_s if ready else None

    def cost(self, readings: list[Reading]) -> float | None:
        """What all commands of this stage have cost so far."""
        return self.prices.cost(
            sum(reading.hours for reading in readings),
            sum(reading.num_prompt_tokens for reading in readings),
            sum(reading.num_thought_tokens for reading in readings),
        )

    def write(self, folder: Path) -> None:
        """Leave the figures for `rcpt show`."""
        self.seen_s = time.time()
        write_atomic(folder / "progress.json", json.dumps(asdict(self)))


def read_progress(folder: Path) -> Progress | None:
    """The driver's figures of a stage that is in the making, None where there are none."""
    try:
        values = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Progress(**values | {"prices": Prices(**values["prices"])})


class Ticker:
    """Writes the figures and shows them on a bar, once a second or less often, for the length of a block."""

    def __init__(self, progress: Progress, folder: Path, bar: Bar) -> None:
        self._progress, self._folder, self._bar = progress, folder, bar
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            with contextlib.suppress(OSError):  # a disk that is full for a while ends the show, not the work
                self._progress.write(self._folder)
                self._bar.note(self._progress.words(read_meters(self._folder)))
            # A thousand engines' files on a shared disk take a while to read: a tenth of the time at most.
            if self._ended.wait(max(_EVERY_S, 9 * (time.monotonic() - began_s))):
                return
