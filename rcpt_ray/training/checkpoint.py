"""Checkpoints of a training stage: every rank writes its part, and one counts only when all are there.

    checkpoints/step-000012/           DeepSpeed's files: weights, optimizer, generators of random numbers
    checkpoints/step-000012.complete   written by rank 0 after every rank has finished

A checkpoint holds the number of steps done; the feed needs nothing else, since the plan gives a step's rows by index.
"""

import shutil
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic


def latest_checkpoint(folder: Path) -> int | None:
    """Steps done in the newest whole checkpoint, None where there is none."""
    return max((_step(marker) for marker in folder.glob("step-*.complete")), default=None)


def save_checkpoint(engine: Any, folder: Path, steps_done: int, rank: int, *, frozen_weights: bool) -> None:
    """Write a checkpoint of a DeepSpeed engine; all ranks call it. Older ones are removed by rank 0."""
    import torch

    client_state = {"torch_rng": torch.get_rng_state()}
    engine.save_checkpoint(
        str(folder),
        tag=f"step-{steps_done:06d}",
        client_state=client_state,
        save_latest=False,
        exclude_frozen_parameters=frozen_weights,
    )
    torch.distributed.barrier()
    if rank == 0:
        write_atomic(folder / f"step-{steps_done:06d}.complete", "")
        for marker in folder.glob("step-*.complete"):
            if _step(marker) < steps_done:
                marker.unlink()
                shutil.rmtree(marker.with_suffix(""), ignore_errors=True)


def load_checkpoint(engine: Any, folder: Path, *, frozen_weights: bool) -> int:
    """Load the newest whole checkpoint into a DeepSpeed engine; returns the steps done, 0 where there is none."""
    import torch

    steps_done = latest_checkpoint(folder)
    if steps_done is None:
        return 0
    _, client_state = engine.load_checkpoint(
        str(folder), tag=f"step-{steps_done:06d}", load_module_strict=not frozen_weights
    )
    torch.set_rng_state(client_state["torch_rng"])
    return steps_done


def _step(marker: Path) -> int:
    return int(marker.name.removesuffix(".complete").removeprefix("step-"))
