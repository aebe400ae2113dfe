"""One optimizer step of one worker.

    B rows, T tokens

The loss is the weighted mean over the targets of the whole global batch, whatever the number of workers and
accumulations: each micro-batch adds (weighted sum of its losses) / (weights of the global batch). Packed documents do
not see each other: positions restart at each, and transformers builds the block-diagonal mask from them.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rcpt_ray.records import SEGMENT_KINDS
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.losses import token_losses
from rcpt_ray.training.plan import learning_rate


def run_step(engine: Any, optimizer: Any, batches: Sequence[Batch], job: TrainingJob, step: int) -> dict[str, Any]:
    """Train on this rank's micro-batches; returns what the step's row (records.STEP) says of the global batch.

    `compute_seconds` is the time of forward, backward, their exchange and the optimizer: the rest of a step is ours.
    """
    import torch

    weight_of_kind = torch.tensor([0.0, *job.spec.loss_weights.model_dump().values()])
    kinds = np.concatenate([batch.target_kind_BT.ravel() for batch in batches])
    tokens_of_kind = torch.bincount(torch.from_numpy(kinds).long(), minlength=len(SEGMENT_KINDS)).double()
    losses_of_kind = torch.zeros(len(SEGMENT_KINDS), dtype=torch.float64)
    torch.distributed.all_reduce(tokens_of_kind)
    weight_of_batch = float((tokens_of_kind * weight_of_kind).sum())
    rate = learning_rate(job.spec, job.plan, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    # DeepSpeed divides by the accumulations and averages over the workers; we divide by weights instead.
    scale = job.plan.num_accumulations * job.plan.num_workers / max(weight_of_batch, 1e-12)
    started = time.monotonic()
    for batch in batches:
        losses_BT, kind_BT = token_losses(engine, batch)
        engine.backward((losses_BT * weight_of_kind.to(losses_BT.device)[kind_BT]).sum() * scale)
        engine.step()
        losses_of_kind.index_add_(0, kind_BT.flatten().cpu(), losses_BT.detach().flatten().double().cpu())
    compute_seconds = time.monotonic() - started
    torch.distributed.all_reduce(losses_of_kind)
    means = losses_of_kind / tokens_of_kind.clamp(min=1)
    return {
        "step": step,
        "loss": float((losses_of_kind * weight_of_kind).sum()) / max(weight_of_batch, 1e-12),
        **{
            f"loss_{name}": float(means[kind]) if tokens_of_kind[kind] else None
            for kind, name in enumerate(SEGMENT_KINDS)
            if name != "padding"
        },
        "grad_norm": float(engine.get_global_grad_norm() or 0.0),
        "learning_rate": rate,
        "num_tokens": int(tokens_of_kind[1:].sum()),
        "compute_seconds": compute_seconds,
    }
