"""One optimizer step of one worker.

The loss is the weighted mean over the targets of the whole global batch, whatever the number of workers and
accumulations: each micro-batch adds (weighted sum of its losses) / (weights of the global batch). Packed documents do
not see each other: positions restart at each, and transformers builds the block-diagonal mask from them.

Price beside the matrix products: two sums over the workers of five numbers each, and on a GPU one wait for the device
before the first micro-batch and one after the last.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rcpt_ray.records import PADDING, SEGMENT_KINDS
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.losses import batch_losses
from rcpt_ray.training.plan import learning_rate


def run_step(engine: Any, optimizer: Any, batches: Sequence[Batch], job: TrainingJob, step: int) -> dict[str, Any]:
    """Train on this rank's micro-batches; returns what the step's row (records.STEP) says of the global batch.

    `compute_seconds` is the time of forward, backward, their exchange and the optimizer: the rest of a step is ours.
    """
    import torch

    num_kinds = len(SEGMENT_KINDS)
    weight_of_kind_K = np.array([0.0, *job.spec.loss_weights.model_dump().values()])
    own_tokens_K = sum(np.bincount(batch.target_kind_BT.ravel(), minlength=num_kinds) for batch in batches)
    tokens_K = _sum_over_workers(torch.tensor(own_tokens_K, dtype=torch.float64, device=engine.device))
    tokens_K[PADDING] = 0
    weight_of_batch = float((tokens_K * weight_of_kind_K).sum())
    rate = learning_rate(job.spec, job.plan, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    # DeepSpeed takes the mean over the workers; we divide by weights instead.
    scaled_K = weight_of_kind_K * job.plan.num_workers / max(weight_of_batch, 1e-12)
    gradient_unit = float(optimizer.loss_scale) if engine.fp16_enabled() else 1.0
    # In fp32 without ZeRO DeepSpeed clips by the norm but does not keep it.
    measures_no_norm = engine.zero_optimization_stage() == 0 and not (
        engine.fp16_enabled() or engine.bfloat16_enabled()
    )
    losses_K = torch.zeros(num_kinds, dtype=torch.float64, device=engine.device)
    grad_norm = None
    started = time.monotonic()
    for batch in batches:
        found = batch_losses(engine, batch, scaled_K, gradient_unit)
        # A tensor of its own: DeepSpeed would take the forward's output for a loss that it has not scaled yet.
        engine.backward(found.total * 1.0, scale_wrt_gas=False)
        if engine.is_gradient_accumulation_boundary() and measures_no_norm:
            grad_norm = _norm_of_gradients(engine.module)
        engine.step()
        kinds_N = torch.from_numpy(found.kinds_N).to(engine.device, non_blocking=True)
        losses_K.index_add_(0, kinds_N, found.losses_N.double())
    sums_K = _sum_over_workers(losses_K)
    compute_seconds = time.monotonic() - started
    means_K = sums_K / np.maximum(tokens_K, 1)
    return {
        "step": step,
        "loss": float((sums_K * weight_of_kind_K).sum()) / max(weight_of_batch, 1e-12),
        **{
            f"loss_{name}": float(means_K[kind]) if tokens_K[kind] else None
            for kind, name in enumerate(SEGMENT_KINDS)
            if kind != PADDING
        },
        "grad_norm": float(engine.get_global_grad_norm() or 0.0) if grad_norm is None else grad_norm,
        "learning_rate": rate,
        "num_tokens": int(tokens_K.sum()),
        "compute_seconds": compute_seconds,
    }


def _sum_over_workers(values_K: Any) -> Any:
    import torch

    torch.distributed.all_reduce(values_K)
    return values_K.cpu().numpy()


def _norm_of_gradients(model: Any) -> float:
    import torch

    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))
