"""The dictionary that DeepSpeed is started with."""

from typing import Any

from rcpt_ray.training.plan import TrainingPlan
from rcpt_ray.training.spec import TrainingSpec

_CPU_BUCKET_NUMBERS = 50_000_000


def deepspeed_config(spec: TrainingSpec, plan: TrainingPlan, precision: str) -> dict[str, Any]:
    """Batch identities, number format and ZeRO stage as DeepSpeed names them."""
    zero: dict[str, Any] = {"stage": spec.zero_stage}
    if spec.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": bool(spec.gpus_per_worker)}
    if spec.gpus_per_worker:
        zero["overlap_comm"] = True
    else:
        # A bucket is allocated whole; on a GPU DeepSpeed's 500 million numbers are one launch for many gradients.
        zero |= {"reduce_bucket_size": _CPU_BUCKET_NUMBERS, "overlap_comm": False}
    # Sums of bf16 would lose the small gradients of a long accumulation. ZeRO 0 and fp16 have no such setting.
    sums_in_fp32 = precision == "bf16" and spec.zero_stage > 0
    return {
        "train_batch_size": plan.global_batch_rows,
        "train_micro_batch_size_per_gpu": plan.micro_batch_rows,
        "gradient_accumulation_steps": plan.num_accumulations,
        "gradient_clipping": spec.max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": precision == "fp16"},
        "zero_optimization": zero,
        "data_types": {"grad_accum_dtype": "fp32" if sums_in_fp32 else None},
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own AdamW for the host is compiled when it is first used; torch's needs no compiler.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
