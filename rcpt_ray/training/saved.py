"""Checkpoints on disk: which are whole, what is in them, which are kept.

    checkpoints/step-000012-3fa9c1d2/rank-0-of-2.safetensors   a rank's fragments of weights and optimizer state
    checkpoints/step-000012-3fa9c1d2/whole.json                written by rank 0 when every rank's part is there
    checkpoints/step-000012-3fa9c1d2/waiting (or taken)        it is to be evaluated beside the training (is being so)
    checkpoints/skipped-000012                                 it was to be evaluated and had to make room
    checkpoints/attempt                                        the attempt that may write whole.json: the last one

The last word of a folder's name is its attempt's own, so parts of two attempts never make one checkpoint; workers that
outlive their killed command for some seconds find another attempt named, and make none whole any more. A part's tensors
are named `<state>/<parameter>`; its metadata says where in the parameter each begins. Without whole.json a folder is a
leftover, which the next start removes.

A checkpoint that is to be evaluated stays beyond those that are kept: all that are being evaluated, and of the waiting
ones a few. Renaming `waiting` decides who comes first, the evaluation that takes it or the training that needs room.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcpt_ray.training.fragments import WEIGHT, Fragment

CHECKPOINTS = "checkpoints"
"""Their folder in that of the training."""
MARKER = "whole.json"
ATTEMPT = "attempt"
WAITING, TAKEN, SKIPPED = "waiting", "taken", "skipped"


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint."""

    path: Path
    steps_done: int
    num_ranks: int
    score: float | None
    """Held-out bits per byte where it was taken; None where they were not measured."""
    precision: str
    """The number format that the training computes in."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is to be evaluated."""
        return (self.path / WAITING).exists()

    @property
    def is_taken(self) -> bool:
        """Whether it is being evaluated."""
        return (self.path / TAKEN).exists()

    def parts(self, first: int = 0) -> list[Path]:
        """The ranks' parts, that of rank `first` before the others."""
        ranks = sorted(range(self.num_ranks), key=lambda rank: (rank != first, rank))
        return [self.path / part_name(rank, self.num_ranks) for rank in ranks]


def part_name(rank: int, num_ranks: int) -> str:
    """The file of a rank."""
    return f"rank-{rank}-of-{num_ranks}.safetensors"


def checkpoint_name(steps_done: int, attempt: str) -> str:
    """The folder of a checkpoint."""
    return f"step-{steps_done:06d}-{attempt}"


def whole_checkpoints(folder: Path) -> list[Saved]:
    """The whole ones by the steps done, the newest last."""
    found = []
    for marker in folder.glob(f"step-*/{MARKER}"):
        try:
            told = json.loads(marker.read_text(encoding="utf-8"))
        except FileNotFoundError:  # removed by a worker meanwhile
            continue
        found.append(Saved(marker.parent, told["steps_done"], told["num_ranks"], told["score"], told["precision"]))
    return sorted(found, key=lambda saved: saved.steps_done)


def latest_checkpoint(folder: Path) -> int | None:
    """Steps done in the newest whole checkpoint, None where there is none."""
    return max((saved.steps_done for saved in whole_checkpoints(folder)), default=None)


def best_checkpoint(folder: Path) -> Saved | None:
    """The whole one with the fewest held-out bits per byte, the earliest of equals."""
    scored = [saved for saved in whole_checkpoints(folder) if saved.score is not None]
    return min(scored, key=lambda saved: (saved.score, saved.steps_done), default=None)


def remove_older(folder: Path, keep_last: int, keep_best: bool, most_waiting: int = 0) -> None:
    """Remove whole checkpoints but the last ones, the best where it is wanted, and `most_waiting` for an evaluation.

    Of more waiting ones those stay that are spread over the steps; the others leave word that they were skipped.
    """
    best = best_checkpoint(folder) if keep_best else None
    older = [saved for saved in whole_checkpoints(folder)[:-keep_last] if saved != best]
    waiting = [saved for saved in older if saved.is_waiting]
    while len(waiting) > most_waiting:
        crowded = _most_crowded([saved.steps_done for saved in waiting])
        skip(folder, waiting.pop(crowded))
    for saved in older:
        if not saved.is_waiting and not saved.is_taken:
            (saved.path / MARKER).unlink()  # first, so that a half removed one does not count
            shutil.rmtree(saved.path, ignore_errors=True)


def skip(folder: Path, saved: Saved) -> None:
    """A waiting checkpoint will not be evaluated; nothing where it has been taken meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        (saved.path / WAITING).rename(folder / f"{SKIPPED}-{saved.steps_done:06d}")


def take(saved: Saved) -> bool:
    """Keep a checkpoint for its evaluation; False where it had to make room."""
    if saved.is_taken:
        return True
    try:
        if saved.is_waiting:
            (saved.path / WAITING).rename(saved.path / TAKEN)
        else:  # by an attempt that evaluated nothing
            (saved.path / TAKEN).touch()
    except FileNotFoundError:
        return False
    return True


def release(saved: Saved) -> None:
    """A checkpoint is evaluated; it goes when the next one comes."""
    for name in (WAITING, TAKEN):
        (saved.path / name).unlink(missing_ok=True)


def skipped_steps(folder: Path) -> list[int]:
    """The checkpoints that made room before they were evaluated, by their steps done."""
    return sorted(int(file.name.rpartition("-")[2]) for file in folder.glob(f"{SKIPPED}-*"))


def _most_crowded(steps: list[int]) -> int:
    """The place of the step whose neighbours (0 and the other steps) are nearest to each other; the last one stays.

    >>> _most_crowded([100, 200, 250, 300])
    2
    """
    if len(steps) == 1:
        return 0
    around = [0, *steps]
    return min(range(len(steps) - 1), key=lambda place: around[place + 2] - around[place])


def remove_leftovers(folder: Path) -> None:
    """Remove what killed attempts left half written; only where nobody writes."""
    whole = {saved.path for saved in whole_checkpoints(folder)}
    for path in folder.iterdir() if folder.exists() else ():
        if path not in whole and re.match(r"step-\d+", path.name):
            shutil.rmtree(path, ignore_errors=True)


def read_told(part: Path) -> dict[str, Any]:
    """What a part says of itself besides tensors."""
    from safetensors import safe_open

    with safe_open(part, "pt") as tensors:
        told: dict[str, Any] = json.loads(tensors.metadata()["checkpoint"])
    return told


def read_tensor(part: Path, name: str) -> Any:
    """One tensor of a part, None where it has none of that name."""
    from safetensors import safe_open

    with safe_open(part, "pt") as tensors:
        return tensors.get_tensor(name) if name in tensors.keys() else None  # noqa: SIM118 (no mapping)


def read_stretches(parts: Iterable[Path], wanted: Sequence[Fragment]) -> Iterator[tuple[Fragment, int, dict[str, Any]]]:
    """For each wanted fragment, piece by piece, where in it a piece begins and the piece's tensors by state.

    Parts are read until all is found, so that a rank whose own part comes first reads no other with equal workers.
    AssertionError where a parameter is not wholly there.
    """
    from safetensors import safe_open

    missing = {fragment.name: fragment.numel for fragment in wanted}
    for part in parts:
        if not any(missing.values()):
            return
        with safe_open(part, "pt") as tensors:
            told = json.loads(tensors.metadata()["checkpoint"])
            for fragment in wanted:
                begin, numel = told["fragments"].get(fragment.name, (0, 0))
                first, end = max(begin, fragment.start), min(begin + numel, fragment.start + fragment.numel)
                if first < end:
                    names = {state: f"{state}/{fragment.name}" for state in told["states"]}
                    slices = {state: tensors.get_slice(name) for state, name in names.items()}
                    piece = {state: one[first - begin : end - begin] for state, one in slices.items()}
                    missing[fragment.name] -= end - first
                    yield fragment, first - fragment.start, piece
    assert not any(missing.values()), f"not in the checkpoint: {[name for name, numel in missing.items() if numel]}"


def read_weights(saved: Saved) -> dict[str, Any]:
    """The fp32 weights of each trained parameter, flat, by name; needs neither DeepSpeed nor other ranks."""
    import torch
    from safetensors import safe_open

    stretches: dict[str, list[tuple[int, Any]]] = {}
    for part in saved.parts():
        begins = read_told(part)["fragments"]
        with safe_open(part, "pt") as tensors:
            for name, (begin, _) in begins.items():
                stretches.setdefault(name, []).append((begin, tensors.get_tensor(f"{WEIGHT}/{name}")))
    return {
        name: torch.cat([values for _, values in sorted(found, key=lambda one: one[0])])
        for name, found in stretches.items()
    }
