"""Model FLOPs utilisation: operations that the model needs, over what the device could do in the same time.

Operations of a trained token are 2 for each parameter of a matrix in the forward pass, 2 in the backward pass to the
activations, and 2 more where the parameter itself is trained; attention adds 4 d a layer for each token that is looked
at, three times over (forward and both halves of backward). All parameters trained and one document of T tokens a row,
that is 6 P + 6 L d T (Kaplan et al., arXiv 2001.08361, table 1; Chowdhery et al., arXiv 2204.02311, appendix B,
count 12 L d T because they do not leave out what the causal mask hides).

So adapters need about 4 P a token, a packed token looks at its own document alone, padding counts as nothing done, and
activations that are computed again (gradient checkpointing) are not counted either.
Price: a device that is not in the table is timed with matrix products for 0.2 s, once a process.
"""

import re
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

_MEASURE_S: Final = 0.2
_BF16_PEAKS: Final = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "RTX A6000": 155e12,
    "RTX 6000 Ada": 364e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}
"""Dense 16-bit operations/s by the maker's data sheets, those of longer names first; V100 and T4 have fp16 alone."""


@dataclass(frozen=True)
class ModelSize:
    """What of a model costs operations."""

    num_parameters: int
    """Parameters of matrices; an input embedding that is not also the output's is looked up, not multiplied."""
    num_trained: int
    """Those of them that are trained."""
    attention_width: int
    """Layers x heads x width of a head."""


@dataclass(frozen=True)
class Peak:
    """What a device does at most."""

    operations_per_s: float
    source: str
    """Where the figure comes from, in words."""


def operations_per_token(size: ModelSize, mean_context: float) -> float:
    """Operations of training on one token that looks at `mean_context` tokens, itself included."""
    return 4 * size.num_parameters + 2 * size.num_trained + 12 * size.attention_width * mean_context


def model_size(model: Any) -> ModelSize:
    """The size of a transformers model, with adapters or without, whole or partitioned by ZeRO 3."""
    config = model.config.get_text_config()
    is_tied = getattr(model.config, "tie_word_embeddings", False)
    only_looked_up = set() if is_tied else set(model.get_input_embeddings().parameters())
    counted = [parameter for parameter in model.parameters() if parameter not in only_looked_up]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelSize(
        num_parameters=sum(map(_numel, counted)),
        num_trained=sum(_numel(parameter) for parameter in counted if parameter.requires_grad),
        attention_width=config.num_hidden_layers * config.num_attention_heads * head,
    )


def device_peak(precision: str) -> Peak:
    """Operations/s of this process' device in a number format: of the data sheet, else as measured."""
    import torch

    if not torch.cuda.is_available():
        return _measured(precision)
    name = torch.cuda.get_device_name()
    peak = gpu_peak(name) if precision != "fp32" else None
    return Peak(peak, f"data sheet of {name}, dense {precision}") if peak else _measured(precision)


def gpu_peak(device_name: str) -> float | None:
    """Dense 16-bit operations/s of a GPU by the name that CUDA gives it, None where it is not in the table."""
    words = f" {re.sub(r'[^A-Za-z0-9]+', ' ', device_name)} "
    return next((peak for name, peak in _BF16_PEAKS.items() if f" {name} " in words), None)


@cache
def _measured(precision: str) -> Peak:
    """The best of square matrix products on this process' threads or GPU."""
    import torch

    on_gpu = torch.cuda.is_available()
    size = 8192 if on_gpu else 1024
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    matrix = torch.full((size, size), 0.5, dtype=dtype, device="cuda" if on_gpu else "cpu")
    best_s, ends_s = float("inf"), time.monotonic() + _MEASURE_S
    while best_s == float("inf") or time.monotonic() < ends_s:
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        if on_gpu:
            torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - started)
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} CPU threads"
    return Peak(2 * size**3 / best_s, f"measured: {precision} matrix products on {where}")


def _numel(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))
