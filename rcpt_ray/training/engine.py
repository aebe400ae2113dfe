"""DeepSpeed's engine and optimizer around the student."""

from typing import Any

from rcpt_ray.hardware import fast_number_format
from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.student import load_student
from rcpt_ray.training.waits import limit_waits


def start_engine(job: TrainingJob) -> tuple[Any, Any]:
    """Engine and optimizer; all ranks call it, with a process group that is there."""
    import deepspeed
    import torch

    # DeepSpeed would compile a shared-memory kernel for half a minute, which inference alone uses.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    precision = fast_number_format(job.spec.precision)
    model, _ = load_student(job, precision)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Fused: one pass over weights and moments instead of ten. Each step sets its own rate.
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=job.spec.weight_decay, fused=True)
    engine, optimizer, _, _ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config=deepspeed_config(job.spec, job.plan, precision),
        dist_init_required=False,
    )
    # Some of DeepSpeed's optimizers take a step with zero gradients to have their states.
    for state in engine.basic_optimizer.state.values():
        state["step"].zero_()
    limit_waits(job.spec.collective_timeout_s)
    return engine, optimizer
