"""Settings of the training stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, Machines, PositiveInt, Settings, Share
from rcpt_ray.training.guard_spec import GuardSpec
from rcpt_ray.training.stream.spec import StreamSpec
from rcpt_ray.training.watch_spec import WatchSpec

STAGE_VERSION = 3


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
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """Learning rate after the warmup: cosine falls all the way, wsd (warmup, stable, decay) linearly at the end."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises linearly."""
    decay_share: Share = 0.2
    """Share of the steps in which wsd falls."""
    final_learning_rate_share: Share = 0.1
    """What cosine and wsd fall to, as a share of the peak."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format; bf16 and fp16 (GPU alone) keep fp32 master weights in the optimizer; auto is bf16 where the
    hardware multiplies it."""
    adapter: LoraSpec | None = None
    """Low-rank adapters, merged at the end; null trains all parameters."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    loss_weights: LossWeightsSpec = LossWeightsSpec()
    """Weights of the loss by segment kind."""
    feed: Literal["packed", "stream"] = "packed"
    """packed reads the finished mixture by index; stream trains while thoughts are still being written."""
    stream: StreamSpec = StreamSpec()
    """The streaming feed."""
    zero_stage: Annotated[Literal[0, 1, 2, 3], NOT_IN_FINGERPRINT] = 1
    """DeepSpeed ZeRO stage: what is partitioned over the workers (optimizer, gradients, parameters); 2 and 3 exchange
    gradients in every accumulation, and 0 sums those of accumulations in the model's number format instead of fp32."""
    offload_optimizer: Annotated[bool, NOT_IN_FINGERPRINT] = False
    """Keep the optimizer's part in the host's memory; needs ZeRO."""
    attention: Annotated[Literal["auto", "by_document", "eager", "sdpa", "flash_attention_2"], NOT_IN_FINGERPRINT] = (
        "auto"
    )
    """How documents in a row are kept apart: each by itself (for CPUs), or by transformers' own means; auto takes the
    fastest exact one of the device."""
    loss_kernel: Annotated[Literal["auto", "torch", "cut_cross_entropy"], NOT_IN_FINGERPRINT] = "auto"
    """What computes the cross-entropy without holding all logits; auto is cut_cross_entropy on a GPU that has it."""
    micro_batch_rows: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """Rows in one forward pass of one worker."""
    num_workers: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 2
    """Ray Train workers, each one DeepSpeed rank."""
    cpus_per_worker: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """CPUs and threads of a worker."""
    gpus_per_worker: Annotated[Literal[0, 1], NOT_IN_FINGERPRINT] = 0
    """GPUs of a worker."""
    machines: Annotated[Machines, NOT_IN_FINGERPRINT] = None
    """Only machines with a custom resource of this name in Ray, such as training; null takes any."""
    price_per_worker_hour: Annotated[float | None, Field(ge=0.0), NOT_IN_FINGERPRINT] = None
    """What an hour of one worker costs, in any currency; null reports no cost."""
    expected_tokens_per_s: Annotated[float | None, Field(gt=0.0), NOT_IN_FINGERPRINT] = None
    """What `rcpt plan` takes one worker to train on where none was measured; null reckons with a usual GPU or CPU."""
    checkpoint_every_steps: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 100
    """Steps between checkpoints: what a kill loses at most."""
    keep_last_checkpoints: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """Whole checkpoints that are kept, the newest ones."""
    keep_best_checkpoint: Annotated[bool, NOT_IN_FINGERPRINT] = False
    """Keep the one with the fewest held-out bits per byte too, as a model in best/; needs watch.heldout_every_steps."""
    collective_timeout_s: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1800
    """How long workers wait for each other before the attempt counts as failed."""
    watch: Annotated[WatchSpec, NOT_IN_FINGERPRINT] = WatchSpec()
    """What is measured and where it is shown while training."""
    guard: Annotated[GuardSpec, NOT_IN_FINGERPRINT] = GuardSpec()
    """When training stops by itself."""
    max_failures: Annotated[int, Field(ge=0), NOT_IN_FINGERPRINT] = 3
    """Failures of workers after which the stage gives up; each goes on from the last whole checkpoint. They are
    counted anew where they left a further one."""

    def defining(self) -> dict[str, Any]:
        """The settings that define a result; those of the streaming feed where it is used."""
        values = super().defining()
        return values if self.feed == "stream" else {name: value for name, value in values.items() if name != "stream"}

    @model_validator(mode="after")
    def _makes_sense(self) -> "TrainingSpec":
        if self.global_batch_rows % (self.micro_batch_rows * self.num_workers):
            raise ValueError(
                f"global_batch_rows={self.global_batch_rows} must be a multiple of micro_batch_rows="
                f"{self.micro_batch_rows} x num_workers={self.num_workers}"
            )
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer=true needs zero_stage 1, 2 or 3, whose optimizer can be moved")
        needs_gpu = {"precision": "fp16", "attention": "flash_attention_2", "loss_kernel": "cut_cross_entropy"}
        for setting, value in needs_gpu.items():
            if getattr(self, setting) == value and not self.gpus_per_worker:
                raise ValueError(f"{setting}={value} needs gpus_per_worker=1; on CPUs leave {setting} at auto")
        if self.attention == "flash_attention_2" and self.micro_batch_rows > 1:
            raise ValueError(
                f"attention=flash_attention_2 keeps packed documents apart with micro_batch_rows=1 alone, not "
                f"{self.micro_batch_rows}; set micro_batch_rows=1 or attention=sdpa"
            )
        every = self.watch.heldout_every_steps
        if self.keep_best_checkpoint and (every is None or self.checkpoint_every_steps % every):
            raise ValueError(
                f"keep_best_checkpoint=true needs held-out bits per byte at each checkpoint, but "
                f"checkpoint_every_steps={self.checkpoint_every_steps} is no multiple of "
                f"watch.heldout_every_steps={every}; set that to a divisor of it"
            )
        if self.guard.others is not None and every is None:
            raise ValueError(
                "guard.others compares held-out bits per byte while training, but watch.heldout_every_steps=null does "
                "not measure them; set it to a number of steps"
            )
        if self.schedule == "wsd" and self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"warmup_share={self.warmup_share:g} + decay_share={self.decay_share:g} must not be above 1"
            )
        return self
