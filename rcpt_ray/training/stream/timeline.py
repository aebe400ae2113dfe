"""Both pools over time: what the engines and the trainer were doing, a row every second, kept through kills.

stream/timeline.jsonl   written by the driver (records.TIMELINE)
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.training.stream.record import Record
from rcpt_ray.training.stream.work import StreamWork

_EVERY_S = 1.0


class Timeline:
    """Looks at both pools for the length of a block."""

    def __init__(self, work: StreamWork, steps: Iterable[dict[str, Any]], bar: Bar) -> None:
        """`steps` are the rows of steps that an earlier command left."""
        self._work, self._bar, self._words = work, bar, ""
        self._record, self._num_batches = Record(work.folder), 0
        self._step_seconds = {row["step"]: row["seconds"] for row in steps}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def step(self, row: dict[str, Any]) -> None:
        """Count a step that was trained; one that is trained again after a failure counts once."""
        self._step_seconds[row["step"]] = row["seconds"]

    def say(self, words: str) -> None:
        """What stands on the bar behind the pools' state from now on."""
        self._words = words

    def __enter__(self) -> "Timeline":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> dict[str, Any]:
        """A row of the timeline (records.TIMELINE)."""
        # All engines that ever worked on these thoughts: what was made before this command counts as made.
        readings = read_meters(self._work.thoughts_folder)
        alive = [reading for reading in readings if reading.is_alive(self._work.session)]
        self._num_batches = self._record.num_batches(self._num_batches)
        return {
            "time_s": time.time(),
            "session": self._work.session,
            "engines_up": len(alive),
            "engines_busy": sum(reading.num_in_flight > 0 for reading in alive),
            "engines_most": self._work.generation.spec.pool.max_engines,
            "num_thoughts": sum(reading.num_rows for reading in readings),
            "num_thought_tokens": sum(reading.num_thought_tokens for reading in readings),
            "num_batches": self._num_batches,
            "num_steps": len(self._step_seconds),
            "step_seconds": sum(self._step_seconds.values()),
        }

    def _run(self) -> None:
        file = timeline_file(self._work.folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as rows:
            while True:
                ended = self._ended.wait(_EVERY_S)
                with contextlib.suppress(OSError):  # a disk that is full for a while ends the show, not the work
                    self._write(rows)
                if ended:
                    return

    def _write(self, rows: TextIO) -> None:
        row = self.look()
        rows.write(json.dumps(row) + "\n")
        rows.flush()
        pools = pools_words(row)
        self._bar.note(f"{pools}; {self._words}" if self._words else pools)


def pools_words(row: Mapping[str, Any]) -> str:
    """What a row says of engines and batches."""
    return (
        f"{row['engines_busy']} of {row['engines_up']} engines write, {row['num_thoughts']:,} thoughts, "
        f"{row['num_batches']:,} batches"
    )


def timeline_file(folder: Path) -> Path:
    """Where the rows are, in the folder of the record."""
    return folder / "timeline.jsonl"


def read_timeline(folder: Path) -> list[dict[str, Any]]:
    """The rows of all commands; none before the first; a line that a kill cut off is left out."""
    rows, file = [], timeline_file(folder)
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
