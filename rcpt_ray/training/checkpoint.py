"""Checkpoints of a training: every rank writes its part beside the training, and one counts only when all are there.

A checkpoint holds the fp32 weights and the optimizer's state of what is trained (frozen weights are the student's), the
generators of random numbers, the number format and the number of steps done; the feed needs nothing else, since the
plan gives a step's rows by index. DeepSpeed's own checkpoints were not taken: 0.19.8 refuses another number of workers
(its elastic ones too), its universal ones need a conversion in between, and training waits while either is written.

Invariants: a step is taken back wholly or not at all; no other collective is called than two broadcasts in `load`; at
most one upload is under way. Price: the time of a copy in memory (see upload.py), no waiting for the disk.
"""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.errors import UserError
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.training.attempt import Attempt
from rcpt_ray.training.fragments import (
    counters_of,
    held_fragments,
    make_states,
    own_fragments,
    round_weights,
    scaler_numbers,
    set_scaler_numbers,
    state_names,
    tensors_of,
)
from rcpt_ray.training.saved import (
    MARKER,
    WAITING,
    Saved,
    checkpoint_name,
    part_name,
    read_stretches,
    read_tensor,
    read_told,
    remove_leftovers,
    remove_older,
    whole_checkpoints,
)
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.upload import Snapshot, Upload, make_durable, write_part

MOST_WAITING = 2
"""Checkpoints that wait for their evaluation beyond those that are kept anyway."""
_BYTES_PER_PARAMETER = 12
_LOOK_EVERY_S = 0.1


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the ones before it are as they were."""


class Checkpoints:
    """Saves and loads a DeepSpeed engine's training in a folder that all ranks see."""

    def __init__(
        self,
        folder: Path,
        engine: Any,
        rank: int,
        spec: TrainingSpec,
        beside: Sequence[Path] = (),
        *,
        are_evaluated: bool = False,
    ) -> None:
        """`beside` are files that grow with the steps: what they hold is on the disk before a checkpoint counts.

        Checkpoints that `are_evaluated` stay some time longer, as far as the disk has room.
        """
        import torch

        self._folder, self._engine, self._rank, self._spec, self._beside = folder, engine, rank, spec, beside
        self._num_ranks, self._are_evaluated = torch.distributed.get_world_size(), are_evaluated
        self._attempt: Attempt | None = None
        self._snapshot = Snapshot()
        self._upload: Upload | None = None
        self._last_steps: int | None = None
        self._safe_steps: int | None = None
        self._num_bytes = 0
        """Of a checkpoint of all ranks; known from `load` on."""

    @property
    def attempt(self) -> Attempt:
        """The attempt that `load` has begun; the same on every rank."""
        assert self._attempt is not None, "load comes first"
        return self._attempt

    def load(self) -> int:
        """Go on from the newest whole checkpoint; returns the steps done, 0 where there is none. All ranks call it.

        What killed attempts left half written is removed.

        Raises:
            UserError: the disk has no room for a checkpoint.
        """
        import torch

        told: list[Any] = [None]
        if self._rank == 0:
            attempt = Attempt.begin(self._folder)
            remove_leftovers(self._folder)
            told = [(attempt, max(whole_checkpoints(self._folder), key=_steps, default=None))]
        torch.distributed.broadcast_object_list(told, src=0)
        self._attempt, saved = told[0]
        if saved is not None:
            self._restore(saved)
        self._last_steps = self._safe_steps = saved.steps_done if saved is not None else None
        numel = sum(one.numel for one in own_fragments(self._engine, self._rank, self._num_ranks))
        self._num_bytes = numel * self._num_ranks * _BYTES_PER_PARAMETER
        problem = [self._no_room() if self._rank == 0 else None]
        torch.distributed.broadcast_object_list(problem, src=0)
        if problem[0] is not None:
            raise UserError(problem[0])
        return saved.steps_done if saved is not None else 0

    def save(self, steps_done: int, score: float | None = None) -> None:
        """Take a checkpoint; it is whole some time after. All ranks call it between the same steps.

        `score` are held-out bits per byte, fewer being better. Waits for the upload before this one, if it is still
        under way; where there is a checkpoint of this step already, nothing is done.

        Raises:
            CheckpointError: the one before could not be written.
        """
        self.wait()
        if steps_done == self._last_steps:
            return
        self._last_steps = steps_done
        copies, told = self._copies()
        self._upload = Upload(lambda: self._write(steps_done, score, copies, {"checkpoint": json.dumps(told)}))

    def wait(self) -> None:
        """Wait until the last checkpoint is whole (rank 0) or this rank's part of it is there (others).

        Raises:
            CheckpointError: it could not be written.
        """
        upload, self._upload = self._upload, None
        if upload is None:
            return
        try:
            upload.finish()
        except Exception as error:
            raise CheckpointError(
                f"the checkpoint of step {self._last_steps} could not be written in {self._folder} ({error}); "
                f"training goes on from step {self._safe_steps or 0} when that is mended"
            ) from error
        self._safe_steps = self._last_steps

    def close(self) -> None:
        """Wait for what is under way."""
        self.wait()

    def _copies(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """This rank's tensors by name, and what is told of them."""
        import torch

        fragments = own_fragments(self._engine, self._rank, self._num_ranks)
        tensors = {
            f"{state}/{fragment.name}": view
            for fragment in fragments
            for state, view in tensors_of(self._engine, fragment).items()
        }
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        told = {
            "fragments": {fragment.name: (fragment.start, fragment.numel) for fragment in fragments},
            "states": state_names(self._engine),
            "counters": counters_of(self._engine),
            "scalers": scaler_numbers(self._engine),
        }
        return self._snapshot.take(tensors), told

    def _write(self, steps_done: int, score: float | None, copies: dict[str, Any], metadata: dict[str, str]) -> None:
        """In the upload's thread: write this rank's part; rank 0 then waits for all parts and says that it is whole."""
        self.attempt.require_newest()
        path = self._folder / checkpoint_name(steps_done, self.attempt.name)
        write_part(path / part_name(self._rank, self._num_ranks), copies, metadata)
        if self._rank > 0:
            return
        end = time.monotonic() + self._spec.collective_timeout_s
        parts = {path / part_name(rank, self._num_ranks) for rank in range(self._num_ranks)}
        while missing := {part.name for part in parts if not part.exists()}:
            if time.monotonic() > end:
                waited = f"after training.collective_timeout_s={self._spec.collective_timeout_s}"
                raise TimeoutError(f"{waited} there is no {', '.join(sorted(missing))}")
            time.sleep(_LOOK_EVERY_S)
        for file in self._beside:
            if file.exists():
                make_durable(file)
        self.attempt.require_newest()
        if self._are_evaluated:
            (path / WAITING).touch()
        precision = fast_number_format(self._spec.precision)
        whole = {"steps_done": steps_done, "num_ranks": self._num_ranks, "score": score, "precision": precision}
        write_atomic(path / MARKER, json.dumps(whole), durable=True)
        most_waiting = MOST_WAITING if self._are_evaluated and self._no_room() is None else 0
        remove_older(self._folder, self._spec.keep_last_checkpoints, self._spec.keep_best_checkpoint, most_waiting)

    def _restore(self, saved: Saved) -> None:
        import torch

        engine, parts = self._engine, saved.parts(first=self._rank)
        told = read_told(parts[0])
        held = held_fragments(engine, self._rank)
        for fragment in held:
            make_states(engine, fragment, told["states"], told["counters"])
        for fragment, start, piece in read_stretches(parts, held):
            tensors = tensors_of(engine, fragment)
            for state, values in piece.items():
                tensors[state][start : start + len(values)].copy_(values)
        round_weights(engine)
        set_scaler_numbers(engine, told["scalers"])
        if self._rank < saved.num_ranks:  # further workers keep the seed's
            torch.set_rng_state(read_tensor(parts[0], "random/cpu"))
            cuda = read_tensor(parts[0], "random/cuda")
            if cuda is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(cuda)

    def _no_room(self) -> str | None:
        """What to tell where the disk cannot hold one more checkpoint of all ranks."""
        free = shutil.disk_usage(self._folder).free
        if self._num_bytes <= free:
            return None
        return (
            f"run: a checkpoint of this training takes {self._num_bytes / 1e9:.3g} GB but {self._folder} has "
            f"{free / 1e9:.3g} GB free; make room there or give a run folder on a larger disk"
        )


def _steps(saved: Saved) -> int:
    return saved.steps_done
