"""Tries of a shard: which of its requests ended an engine, and what is to be tried next.

    tries/<shard>.jsonl                    a line for each try that began, of this command
    tries/<shard>-<start>-<stop>.parquet   rows of a finished span of the shard's requests

A try that began and left no rows ended its engine, whether the engine alone died or the process with it. The whole
shard is tried twice, then halves of it, halves of those, until one request is alone; when that has ended two engines
it is rejected. A piece that is finished stays so for later commands too. Price: a poisoned shard of n requests costs
about 2 log2(n) starts of an engine.

    >>> plan_spans(Span(0, 4), finished=set(), deaths={Span(0, 4): 2, Span(0, 2): 1, Span(0, 1): 2})
    [(Span(start=0, stop=1), 'reject'), (Span(start=1, stop=2), 'try'), (Span(start=2, stop=4), 'try')]
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import write_table
from rcpt_ray.records import THOUGHT

Verdict = Literal["finished", "try", "reject"]
_TOLERATED = 2


@dataclass(frozen=True, order=True)
class Span:
    """Requests `start` to `stop` (not included) of a shard."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, other: "Span") -> bool:
        return self.start <= other.start and other.stop <= self.stop

    def halves(self) -> tuple["Span", "Span"]:
        """Two spans that together are this one."""
        middle = (self.start + self.stop) // 2
        return Span(self.start, middle), Span(middle, self.stop)


def plan_spans(whole: Span, finished: Set[Span], deaths: Mapping[Span, int]) -> list[tuple[Span, Verdict]]:
    """What becomes of each piece of a shard, in order; the pieces cover it without overlap."""

    def walk(span: Span) -> Iterator[tuple[Span, Verdict]]:
        tolerated = _TOLERATED if span == whole or len(span) == 1 else 1
        was_split = len(span) > 1 and any(done in span for done in finished)
        if span in finished:
            yield span, "finished"
        elif len(span) == 0 or (deaths.get(span, 0) < tolerated and not was_split):
            yield span, "try"
        elif len(span) == 1:
            yield span, "reject"
        else:
            for half in span.halves():
                yield from walk(half)

    return list(walk(whole))


class Tries:
    """The record of a shard's tries; `session` is the command's, and deaths of earlier commands do not count.

    An earlier command may have been killed from outside, which is no fault of the requests then in flight.
    """

    def __init__(self, folder: Path, name: str, num_requests: int, session: str) -> None:
        self._folder, self._name, self._session = folder / "tries", name, session
        self._whole = Span(0, num_requests)
        self._file = self._folder / f"{name}.jsonl"

    def plan(self) -> list[tuple[Span, Verdict]]:
        """The pieces of the shard as its record says."""
        return plan_spans(self._whole, set(self._finished()), self._deaths())

    def num_deaths(self, span: Span) -> int:
        """Engines that ended with these requests in flight."""
        return sum(number for tried, number in self._deaths().items() if span in tried)

    def begin(self, span: Span) -> None:
        """Record that a span is tried now."""
        self._folder.mkdir(exist_ok=True)
        line = json.dumps({"session": self._session, "start": span.start, "stop": span.stop})
        whole_lines = self._whole_lines()
        with self._file.open("a", encoding="utf-8") as lines:
            lines.truncate(len(whole_lines.encode()))
            lines.write(line + "\n")

    def finish(self, span: Span, rows: list[dict[str, Any]]) -> None:
        """Keep the rows of a piece until the whole shard is done."""
        write_table(self._rows_file(span), pa.Table.from_pylist(rows, schema=THOUGHT))

    def rows(self, span: Span) -> list[dict[str, Any]]:
        """Rows of a finished piece."""
        rows: list[dict[str, Any]] = pq.read_table(self._rows_file(span)).to_pylist()
        return rows

    def clear(self) -> None:
        """Forget a shard that is done."""
        for span in self._finished():
            self._rows_file(span).unlink()
        self._file.unlink(missing_ok=True)

    def _rows_file(self, span: Span) -> Path:
        return self._folder / f"{self._name}-{span.start}-{span.stop}.parquet"

    def _finished(self) -> list[Span]:
        if not self._file.exists():
            return []
        names = [file.stem.removeprefix(f"{self._name}-") for file in self._folder.glob(f"{self._name}-*.parquet")]
        return [Span(*map(int, name.split("-"))) for name in names]

    def _whole_lines(self) -> str:
        """The record; what follows the last line's end was cut off with its process."""
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        return text[: text.rfind("\n") + 1]

    def _deaths(self) -> Counter[Span]:
        begun: Counter[Span] = Counter()
        for line in self._whole_lines().splitlines():
            entry = json.loads(line)
            if entry["session"] == self._session:
                begun[Span(entry["start"], entry["stop"])] += 1
        finished = self._finished()
        return Counter({span: number - finished.count(span) for span, number in begun.items()})
