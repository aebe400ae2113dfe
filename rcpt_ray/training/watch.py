"""What is seen of a training: rows on disk, from which everything else is drawn, and the trackers' views of them.

    steps.jsonl    a row a step (records.STEP)         heldout.jsonl  a row a domain and measurement (HELDOUT_BITS)

All ranks make a Watch and call it alike: memory and held-out documents are the ranks' together; rank 0 alone writes.
A step is timed from the end of the one before, so what happens between steps is in its row: as overhead, as waiting for
rows, or, inside `pause`, as the pause before it.
"""

import contextlib
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.training.attempt import Attempt
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.flops import device_peak, model_size, operations_per_token
from rcpt_ray.training.heldout import HeldoutMeter, mean_bits
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.row_file import Row, RowFile
from rcpt_ray.training.trackers import Tracker, open_trackers

STEPS, HELDOUT, PEAK = "steps.jsonl", "heldout.jsonl", "peak.json"
_NOT_SHOWN = ("step", "num_tokens", "memory_bytes")


class Watch:
    """Records steps and measures held-out documents."""

    def __init__(self, job: TrainingJob, engine: Any, rank: int, steps_done: int, attempt: Attempt) -> None:
        """AttemptOver where another attempt than this has begun: the files of rows are cut anew."""
        import torch

        self._job, self._engine, self._steps_done = job, engine, steps_done
        self._size = model_size(engine.module)
        self._files: tuple[RowFile, RowFile] | None = None
        self._trackers: list[Tracker] = []
        self._peak: float | None = None
        _forget_memory_peak()
        recorded: list[Any] = [None]
        if rank == 0:
            attempt.require_newest()
            steps = RowFile(job.folder / STEPS, lambda row: row["step"] < steps_done)
            heldout = RowFile(job.folder / HELDOUT, lambda row: row["step"] <= steps_done)
            assert len(steps.kept) == steps_done, f"{len(steps.kept)} rows but {steps_done} steps are done"
            self._files, self._trackers = (steps, heldout), open_trackers(job, steps_done)
            precision = fast_number_format(job.spec.precision)
            peak = device_peak(precision)
            write_atomic(job.folder / PEAK, json.dumps({**dataclasses.asdict(peak), "precision": precision}))
            self._peak = peak.operations_per_s
            recorded = [([row["loss"] for row in steps.kept], heldout.kept)]
        torch.distributed.broadcast_object_list(recorded, src=0)
        self.losses: list[float] = recorded[0][0]
        """Of the steps that an earlier attempt has done."""
        self.heldout: list[Row] = recorded[0][1]
        """What was measured of held-out documents, by an earlier attempt too; the same on every rank."""
        every = job.spec.watch.heldout_every_steps
        self._meter = HeldoutMeter(job, rank) if every is not None and job.heldout_parts else None
        self._show_heldout([row for row in self.heldout if row["step"] == steps_done])
        self._last_lap_s, self._pause_s = time.monotonic(), 0.0

    def score_of(self, steps_done: int) -> float | None:
        """Held-out bits per byte after so many steps, the mean over the domains; None where they were not measured."""
        return mean_bits([row for row in self.heldout if row["step"] == steps_done])

    def step(self, row: Row, batches: Sequence[Batch], wait_s: float) -> None:
        """Record a finished step: what step.py said of it, and what this rank read after waiting for it."""
        now_s = time.monotonic()
        seconds = now_s - self._last_lap_s - wait_s
        self._last_lap_s = now_s
        memory = self._most_memory()
        if self._files is not None:
            assert self._peak is not None
            operations = row["num_tokens"] * operations_per_token(self._size, _mean_context(batches))
            whole = row | {
                "tokens_per_s": row["num_tokens"] / seconds,
                "mfu": operations / seconds / (self._peak * self._job.plan.num_workers),
                "memory_bytes": memory,
                "seconds": seconds,
                "overhead_seconds": seconds - row["compute_seconds"],
                "wait_seconds": wait_s,
                "pause_seconds": self._pause_s,
            }
            del whole["compute_seconds"]
            whole["grad_norm"] = row["grad_norm"] if row["grad_norm"] < float("inf") else None
            self._files[0].append([whole])
            figures = {name: value for name, value in whole.items() if name not in _NOT_SHOWN and value is not None}
            for tracker in self._trackers:
                tracker.log(row["step"], figures | {"memory_gib": memory / 2**30})
        self._pause_s = 0.0

    def measure_if_due(self, steps_done: int, *, is_end: bool) -> None:
        """Measure held-out bits per byte every so many steps, before the first one and at the end; once each."""
        every = self._job.spec.watch.heldout_every_steps
        is_due = every is not None and (steps_done % every == 0 or is_end)
        if self._meter is None or not is_due or any(row["step"] == steps_done for row in self.heldout):
            return
        with self.pause():
            rows = self._meter.measure(self._engine, steps_done)
            self.heldout += rows
            if self._files is not None:
                self._files[1].append(rows)
            self._show_heldout(rows)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time inside the block is not the next step's own; rows so far are durable, as a checkpoint relies on them."""
        started = time.monotonic()
        for shown in (*(self._files or ()), *self._trackers):
            shown.flush()
        yield
        paused_s = time.monotonic() - started
        self._pause_s += paused_s
        self._last_lap_s += paused_s

    def close(self) -> None:
        """Everything recorded is on disk, and sent."""
        for tracker in self._trackers:
            tracker.close()
        for file in self._files or ():
            file.close()

    def _show_heldout(self, rows: Sequence[Row]) -> None:
        for tracker in self._trackers:
            for row in rows:
                tracker.log(row["step"], {f"heldout_bits_per_byte/{row['domain']}": row["bits_per_byte"]})

    def _most_memory(self) -> int:
        """Bytes that the rank with the most has held at once since its training began."""
        import torch

        own = torch.tensor(_memory_peak(), dtype=torch.int64, device=self._engine.device)
        torch.distributed.all_reduce(own, op=torch.distributed.ReduceOp.MAX)
        return int(own)


def _mean_context(batches: Sequence[Batch]) -> float:
    """Tokens that a target's token looks at, itself included; the mean over what this rank read."""
    contexts = [batch.position_ids_BT[batch.target_kind_BT > 0] + 1 for batch in batches]
    total, number = sum(int(context.sum()) for context in contexts), sum(map(len, contexts))
    return total / max(1, number)


def _memory_peak() -> int:
    """Bytes of the GPU's memory, else of the process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # getrusage counts in bytes on macOS and in KiB elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_memory_peak() -> None:
    """Several trainings run in one process: each has its own peak, where the system lets a process forget it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
