"""The dictionary that DeepSpeed is started with."""

from typing import Any

from rcpt_ray.training.plan import TrainingPlan
from rcpt_ray.training.spec import TrainingSpec


def deepspeed_config(spec: TrainingSpec, plan: TrainingPlan, precision: str) -> dict[str, Any]:
    """Batch identities, number format and ZeRO stage as DeepSpeed names them."""
    return {
        "train_batch_size": plan.global_batch_rows,
        "train_micro_batch_size_per_gpu": plan.micro_batch_rows,
        "gradient_accumulation_steps": plan.num_accumulations,
        "gradient_clipping": spec.max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": spec.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
