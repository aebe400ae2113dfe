"""What is seen of a training: a row a step on disk, from which everything else is drawn."""

import json
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.job import TrainingJob


class Watch:
    """Records steps; only rank 0 writes."""

    def __init__(self, job: TrainingJob, rank: int, steps_done: int) -> None:
        self._rows = _StepRows(job.folder / "steps.jsonl", steps_done) if rank == 0 else None

    def step(self, row: dict[str, Any]) -> None:
        """Record a finished step (records.STEP)."""
        if self._rows is not None:
            self._rows.append(row)

    def close(self) -> None:
        """Everything recorded is on disk."""
        if self._rows is not None:
            self._rows.close()


class _StepRows:
    """steps.jsonl: one row a step; rows after the checkpoint that training goes on from are cut off."""

    def __init__(self, path: Path, steps_done: int) -> None:
        kept = path.read_text(encoding="utf-8").splitlines()[:steps_done] if path.exists() else []
        assert len(kept) == steps_done, f"{path} has {len(kept)} rows but {steps_done} steps are done"
        write_atomic(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
