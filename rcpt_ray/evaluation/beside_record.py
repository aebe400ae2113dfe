"""Which checkpoints of a training are to be evaluated and what has become of each, in files that outlive a kill.

    evaluated.jsonl      a line a step, written when it is evaluated: its rows, or the sentence why there are none
    evaluated.parquet    made of it at the training's end (records.EVALUATED)

Invariants: a step is evaluated once under one definition, killed commands or not; a checkpoint that waits is evaluated
or counted as skipped (training/saved.py says which stay). Lines of another definition are cut off.
Price: a line a checkpoint.
"""

from collections.abc import Container
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rcpt_ray.artifacts import write_table
from rcpt_ray.evaluation.beside import Point, Row
from rcpt_ray.records import EVALUATED
from rcpt_ray.training.row_file import RowFile, read_rows
from rcpt_ray.training.saved import CHECKPOINTS, release, skipped_steps, take, whole_checkpoints
from rcpt_ray.training.watch import STEPS

if TYPE_CHECKING:
    from rcpt_ray.training.job import TrainingJob

_FILE = "evaluated.jsonl"


class BesideRecord:
    """The evaluations of one training; one command at a time holds it."""

    def __init__(self, training: "TrainingJob") -> None:
        assert training.beside is not None
        self.training, self._key = training, training.beside.key
        self._file = RowFile(training.folder / _FILE, lambda line: line["key"] == self._key)
        # What failed in an earlier command is tried again, as long as there is a model of that step.
        self._done = {line["step"] for line in self._file.kept if not line["failure"]}

    def waiting(self, under_way: Container[int] = ()) -> list[Point]:
        """What can be evaluated now and is not, in the order of steps."""
        folder = self.training.folder
        points = {0: Point(0)}
        points |= {
            saved.steps_done: Point(saved.steps_done, saved) for saved in whole_checkpoints(folder / CHECKPOINTS)
        }
        if (folder / "model").exists():
            points[self._num_steps] = Point(self._num_steps)
        return [points[step] for step in sorted(points) if step not in self._done and step not in under_way]

    @property
    def student(self) -> tuple[object, ...]:
        """What step 0 depends on."""
        return self._key, self.training.model_path, self.training.special_tokens

    @property
    def has_steps(self) -> bool:
        """Whether the training has done a step."""
        return (self.training.folder / STEPS).exists()

    @cached_property
    def _num_steps(self) -> int:
        """Steps of a training that has left its model; a stream's plan does not know them."""
        return len(read_rows(self.training.folder / STEPS))

    def has(self, step: int) -> bool:
        """Whether a step is done."""
        return step in self._done

    def take(self, point: Point) -> bool:
        """Keep a point's checkpoint until it is evaluated; False where it has made room meanwhile."""
        return point.saved is None or take(point.saved)

    def end(self, point: Point, rows: list[Row], failure: str) -> None:
        """A point is evaluated, or has failed for the reason given; its checkpoint may go."""
        self._write(point.step, rows, failure)
        if point.saved is not None:
            release(point.saved)

    def close(self) -> None:
        """Nothing more is evaluated; what made room is written down."""
        for step in skipped_steps(self.training.folder / CHECKPOINTS):
            if step not in self._done:
                self._write(step, [], "", is_skipped=True)
        self._file.close()

    def _write(self, step: int, rows: list[Row], failure: str, *, is_skipped: bool = False) -> None:
        line = {"key": self._key, "step": step, "rows": rows, "failure": failure, "is_skipped": is_skipped}
        self._file.append([line])
        self._file.flush()
        self._done.add(step)


def finish_record(training: "TrainingJob") -> dict[str, Any]:
    """Write evaluated.parquet; returns what the manifest's details tell, nothing where nothing was to be evaluated."""
    if training.beside is None:
        return {}
    by_step = {int(line["step"]): line for line in read_rows(training.folder / _FILE)}  # the last of a step counts
    lines = [by_step[step] for step in sorted(by_step)]
    rows = [row for line in lines for row in line["rows"]]
    write_table(training.folder / "evaluated.parquet", pa.Table.from_pylist(rows, schema=EVALUATED))
    return {
        "beside": {
            "steps": [line["step"] for line in lines if line["rows"]],
            "skipped": [line["step"] for line in lines if line["is_skipped"]],
            "failures": {str(line["step"]): line["failure"] for line in lines if line["failure"]},
            "seconds": sum(line["rows"][0]["seconds"] for line in lines if line["rows"]),
            "evaluation": training.beside.job.spec.defining(),
            "digests": dict(training.beside.digests),
        }
    }
