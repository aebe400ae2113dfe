"""Losses of a micro-batch: cross-entropy of each target token, weighted by the kind of its segment.

B rows, T tokens, N targets, K kinds

Only positions that have a target get logits, and only those whose kind has a weight get a gradient; the others' losses
are computed for the eye. The logits of all positions are never held together (cross_entropy.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rcpt_ray.records import PADDING, SEGMENT_KINDS
from rcpt_ray.training.batch import Batch


@dataclass(frozen=True)
class BatchLosses:
    """What one forward pass gives."""

    total: Any
    """The sum of weight x loss over the targets, a scalar with gradient."""
    losses_N: Any
    """float32[N] on the engine's device, without gradient."""
    positions_N: npt.NDArray[np.int64]
    """Where each of them is in the flattened rows."""
    kinds_N: npt.NDArray[np.int64]
    """The kind of each target."""


def batch_losses(
    engine: Any, batch: Batch, weight_of_kind_K: npt.NDArray[np.float64], gradient_unit: float = 1.0
) -> BatchLosses:
    """The forward pass of a model with losses (head.py); targets of weight 0 have a loss and no gradient.

    `gradient_unit` is the loss scale of fp16.
    """
    import torch

    from rcpt_ray.training.head import Targets

    kind_BT = batch.target_kind_BT.ravel()
    trained_BT = (kind_BT != PADDING) & (weight_of_kind_K[kind_BT] != 0)
    watched_BT = (kind_BT != PADDING) & ~trained_BT
    positions_N = np.concatenate([np.flatnonzero(trained_BT), np.flatnonzero(watched_BT)])
    kinds_N = kind_BT[positions_N].astype(np.int64)
    weights_M = weight_of_kind_K[kinds_N[: int(trained_BT.sum())]].astype(np.float32)

    def on_device(array: npt.NDArray[Any]) -> Any:
        return torch.from_numpy(array).to(engine.device, non_blocking=True)

    total, losses_N = engine(
        input_ids=on_device(batch.input_ids_BT),
        position_ids=on_device(batch.position_ids_BT),
        use_cache=False,
        targets=Targets(
            on_device(positions_N),
            on_device(batch.target_ids_BT.ravel()[positions_N]),
            on_device(weights_M),
            gradient_unit,
        ),
    )
    return BatchLosses(total, losses_N, positions_N, kinds_N)


def token_losses(engine: Any, batch: Batch) -> tuple[Any, Any]:
    """Cross-entropy float32[B, T] of each target, 0 where there is none, and the targets' kinds int64[B, T].

    Without gradients; on the engine's device.
    """
    import torch

    with torch.no_grad():
        found = batch_losses(engine, batch, np.zeros(len(SEGMENT_KINDS)))
        kind_BT = torch.from_numpy(batch.target_kind_BT).long().to(engine.device)
        losses_BT = torch.zeros(kind_BT.numel(), dtype=torch.float32, device=engine.device)
        losses_BT[torch.from_numpy(found.positions_N).to(engine.device)] = found.losses_N
    return losses_BT.view_as(kind_BT), kind_BT
