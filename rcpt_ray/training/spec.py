"""Settings of the training stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings, Share

STAGE_VERSION = 1


class LoraSpec(Settings):
    """Low-rank adapters (peft)."""

    rank: PositiveInt = 64
    """Rank of the adapters."""
    alpha: PositiveInt = 128
    """Scale of the adapters is alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapters."""
    target_modules: str = "all-linear"
    """Modules that get adapters, as peft names them."""


class LossWeightsSpec(Settings):
    """Weight of a target token in the loss, by the kind of its segment; padding is always 0."""

    text: float = Field(default=1.0, ge=0.0)
    """Tokens of the document itself."""
    thought: float = Field(default=1.0, ge=0.0)
    """Tokens of the thought."""
    delimiter: float = Field(default=1.0, ge=0.0)
    """Tokens of the delimiters around the thought."""
    bos_eos: float = Field(default=1.0, ge=0.0)
    """Begin and end of a document."""


class TrainingSpec(Settings):
    """What is optimised, how, and on how many workers."""

    num_epochs: PositiveInt = 1
    """Passes over the mixture."""
    global_batch_rows: PositiveInt = 8
    """Packed rows in one optimizer step, over all workers."""
    learning_rate: float = Field(default=1e-4, gt=0.0, lt=1.0)
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warmup; cosine falls to a tenth of the peak."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises linearly."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format; bf16 keeps fp32 master weights in the optimizer; auto is bf16 where the hardware multiplies it."""
    adapter: LoraSpec | None = None
    """Low-rank adapters, merged at the end; null trains all parameters."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    loss_weights: LossWeightsSpec = LossWeightsSpec()
    """Weights of the loss by segment kind."""
    zero_stage: Annotated[Literal[0, 1, 2], NOT_IN_FINGERPRINT] = 2
    """DeepSpeed ZeRO stage: what is partitioned over the workers."""
    micro_batch_rows: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """Rows in one forward pass of one worker."""
    num_workers: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 2
    """Ray Train workers, each one DeepSpeed rank."""
    cpus_per_worker: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """CPUs and threads of a worker."""
    gpus_per_worker: Annotated[Literal[0, 1], NOT_IN_FINGERPRINT] = 0
    """GPUs of a worker."""
    checkpoint_every_steps: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 100
    """Steps between checkpoints: what a kill loses at most."""
    max_failures: Annotated[int, Field(ge=0), NOT_IN_FINGERPRINT] = 3
    """Failures of workers after which the stage gives up; each goes on from the last whole checkpoint."""

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainingSpec":
        if self.global_batch_rows % (self.micro_batch_rows * self.num_workers):
            raise ValueError(
                f"global_batch_rows={self.global_batch_rows} must be a multiple of micro_batch_rows="
                f"{self.micro_batch_rows} x num_workers={self.num_workers}"
            )
        return self
