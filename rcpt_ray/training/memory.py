"""Memory that a training worker needs at most, from the model's shape and the settings. Pure arithmetic.

    P parameters, F of them trained, b bytes of a number in the format of the weights, W workers
    B rows of a micro-batch, T tokens, h hidden, a heads of size d, k heads of keys, i feed-forward, V vocabulary

States: weights b P, gradients b F, and fp32 master weights with two moments 12 F, of which ZeRO partitions over the
workers the optimizer (1), gradients too (2), weights too (3): Rajbhandari et al., arXiv 1910.02054, section 5. What
DeepSpeed 0.19 adds: a fp32 copy in fp32 too (stages 1 to 3), a buffer in which gradients are reduced, and gathered
weights in stage 3 (`stage3_max_live_parameters`). Sums of bf16 gradients are in fp32 (stages 1 to 3): 4 F, in stage 1
all of them all the time, beside a micro-batch's own and the sums in bf16 as they are exchanged.

Activations are counted as in Korthikanti et al., arXiv 2205.05198, section 4, for a layer of the Llama kind as
transformers runs it: two norms that keep an fp32 copy, rotated queries and keys, repeated keys and values, gated
feed-forward. Eager attention keeps a row of scores a head and token, in fp32 and in b. With gradient checkpointing the
inputs of layers stay, and one layer is there in whole.

The two peaks are the end of a forward pass and the optimizer's step with the exchange before it; the larger counts. On
a CPU, small blocks that a pass frees stay with the process, so they count in the step too. Not counted: fragments of a
GPU's memory, and buffers of the collectives. Planned / measured of SmolLM2-135M on a CPU, one worker in bf16, T = 512:

    ZeRO 1                1 accumulation 1.00, 2 0.998, 4 1.02     ZeRO 2   1 1.01, 2 0.98, 4 0.99     ZeRO 3   2 0.99
    adapters of rank 64   1 accumulation 1.00, 2 0.96              checkpointing (ZeRO 1)   1 1.01, 2 1.03

and 1.08 for one document of T = 2,048, whose scores attention by document does not keep. No GPU was measured.
"""

from dataclasses import dataclass
from typing import Any, Literal

from rcpt_ray.training.attention import MOST_EAGER_TOKENS
from rcpt_ray.training.model_shape import LayerShape, ModelShape
from rcpt_ray.training.plan import TrainingPlan
from rcpt_ray.training.spec import TrainingSpec

GIB = 2**30
_CPU_RUNTIME = round(0.85 * GIB)
"""Python with torch, transformers, peft and DeepSpeed (0.67 GiB), and the feed."""
_GPU_RUNTIME = 1 * GIB
"""CUDA's context and the libraries' work spaces."""
_KEPT_BLOCK = 32 * 2**20
"""Larger blocks go back to the system when they are freed (glibc's largest M_MMAP_THRESHOLD)."""
_CHUNK_LOGITS = 64 * 2**20
"""Logits that the chunked cross-entropy holds at once."""
_BUCKET = 500_000_000
"""DeepSpeed's reduce_bucket_size where the config names none."""
_MAX_LIVE = 1_000_000_000
"""DeepSpeed's stage3_max_live_parameters where the config names none."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of one worker, on its device; what stays from step to step, and what comes and goes."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    """At the end of a forward pass, with the logits of one chunk."""
    buffers: int
    """Gradients on their way to other workers."""
    step: int
    """Beside the states while gradients are exchanged and the optimizer steps."""
    runtime: int
    host: int = 0
    """In the host's memory, where the optimizer is offloaded from a GPU."""
    loaded: int = 0
    """The weights as the worker loads them into the host's memory, before they are partitioned or go to a GPU."""

    @property
    def total(self) -> int:
        """The peak."""
        passing = max(self.gradients + self.buffers + self.activations, self.step)
        return self.parameters + self.optimizer + self.runtime + passing


def memory_need(
    model: ModelShape,
    spec: TrainingSpec,
    plan: TrainingPlan,
    precision: Literal["bf16", "fp16", "fp32"],
    deepspeed: dict[str, Any],
) -> MemoryNeed:
    """What a worker of this plan needs; activations are left out where the sizes of a layer are not known."""
    zero, on_gpu, num_workers = spec.zero_stage, spec.gpus_per_worker > 0, plan.num_workers
    options = deepspeed.get("zero_optimization", {})
    number, mixed = (4, False) if precision == "fp32" else (2, True)
    trained = num_trained(model, spec)
    num_all = model.num_parameters + (trained if spec.adapter else 0)
    share = -(-trained // num_workers)
    own = share if zero >= 1 else trained
    live = min(num_all, int(options.get("stage3_max_live_parameters", _MAX_LIVE)))
    parameters = number * (-(-num_all // num_workers) + live if zero == 3 else num_all)
    sums_in_fp32 = deepspeed.get("data_types", {}).get("grad_accum_dtype") == "fp32"
    gradients = (4 if sums_in_fp32 else number) * (share if zero >= 2 else trained)
    # A GPU holds the bucket whether it is filled or not.
    bucket = int(options.get("reduce_bucket_size", _BUCKET)) * (2 if options.get("overlap_comm") else 1)
    buffers = number * (bucket if on_gpu else min(trained, bucket)) if zero else 0
    optimizer = (12 if mixed or zero else 8) * own
    gradients_in_fp32, temporary = (4, 4 if on_gpu else 8) if mixed or zero else (0, 0)
    step = (gradients_in_fp32 + temporary) * own + (gradients if zero < 2 or not mixed else 0)
    if sums_in_fp32 and zero == 1:
        # Beside the sums a micro-batch's own gradients; at the end these, and the sums as they are exchanged.
        step, own_gradients = gradients + 2 * number * trained, number * trained if plan.num_accumulations > 1 else 0
        # Lying between activations they leave holes in a process' heap, of about their size.
        gradients, buffers = gradients + own_gradients, 0 if on_gpu else own_gradients
    elif sums_in_fp32:
        step = 2 * 4 * own  # the sums, and the same in one piece
    elif zero >= 2 and plan.num_accumulations > 1:
        buffers += gradients  # a micro-batch's own
    linear, scores = _activations(model, spec, plan, number)
    if not on_gpu:
        step += linear + (scores if spec.attention == "eager" and _scores_stay(model.layer, plan) else 0)
    offloaded = on_gpu and spec.offload_optimizer
    return MemoryNeed(
        parameters=parameters,
        gradients=0 if offloaded and zero >= 2 else gradients,
        optimizer=0 if offloaded else optimizer,
        activations=linear + scores + _logits(model, spec, plan, number),
        buffers=buffers,
        step=0 if offloaded else step,
        runtime=_GPU_RUNTIME if on_gpu else _CPU_RUNTIME,
        host=optimizer + gradients_in_fp32 * own if offloaded else 0,
        loaded=number * num_all,
    )


def num_trained(model: ModelShape, spec: TrainingSpec) -> int:
    """Parameters that are trained; rows of added tokens are not counted."""
    if spec.adapter is None:
        return model.num_parameters
    return model.num_adapter_parameters(spec.adapter.rank, spec.adapter.target_modules)


def bytes_of_scores(spec: TrainingSpec, row_tokens: int, number: int) -> int:
    """Bytes a token and head that attention keeps of its scores: eager of whole rows, by document at most of 512."""
    if spec.attention == "eager":
        return row_tokens * (4 if number == 4 else 4 + number)
    if spec.attention == "by_document" or (spec.attention == "auto" and not spec.gpus_per_worker):
        return min(row_tokens, MOST_EAGER_TOKENS) * 2 * number
    return 0


def _scores_stay(layer: LayerShape | None, plan: TrainingPlan) -> bool:
    """Whether the fp32 scores of a layer are a block that C's library keeps when it is freed."""
    return layer is None or 4 * layer.num_heads * plan.micro_batch_rows * plan.row_tokens**2 <= _KEPT_BLOCK


def _activations(model: ModelShape, spec: TrainingSpec, plan: TrainingPlan, number: int) -> tuple[int, int]:
    """Bytes that a forward pass keeps: those that grow with the tokens, and those with their square."""
    layer, num_tokens = model.layer, plan.micro_batch_rows * plan.row_tokens
    if layer is None:
        return 0, 0
    scores = num_tokens * layer.num_heads * bytes_of_scores(spec, plan.row_tokens, number)
    a_layer = num_tokens * _bytes_of_token(layer, spec, number)
    inputs = num_tokens * layer.hidden * number
    mask = num_tokens * plan.row_tokens * number if spec.attention == "eager" else 0
    if spec.gradient_checkpointing:
        return layer.num_layers * inputs + a_layer, scores + mask
    return layer.num_layers * a_layer, layer.num_layers * scores + mask


def _bytes_of_token(layer: LayerShape, spec: TrainingSpec, number: int) -> int:
    """Bytes of a token that one layer keeps for the backward pass, scores left out."""
    heads, keys = layer.num_heads * layer.head, layer.num_kv_heads * layer.head
    # What a norm keeps: its input in fp32, what the next layer reads, and, to train its weight, the input normalized.
    norms = 2 * layer.hidden * (4 + number * (1 if spec.adapter else 2))
    attention = number * (heads + keys + 2 * heads + heads)  # queries, keys, both repeated, what comes out
    feed_forward = number * 4 * layer.intermediate  # gate, up, activation, product
    adapters = number * 7 * spec.adapter.rank if spec.adapter else 0
    return norms + attention + feed_forward + adapters


def _logits(model: ModelShape, spec: TrainingSpec, plan: TrainingPlan, number: int) -> int:
    """A chunk of logits with its gradient, and the output layer's gradient where it is trained."""
    chunk = min(plan.micro_batch_rows * plan.row_tokens * model.vocabulary, _CHUNK_LOGITS)
    hidden = model.layer.hidden if model.layer and spec.adapter is None else 0
    return number * (2 * chunk + model.vocabulary * hidden)
