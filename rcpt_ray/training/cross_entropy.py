"""Cross-entropy of an output layer, chunk by chunk: losses and gradients in one pass.

    N target tokens, H hidden size, V vocabulary, n tokens of one chunk

    logits_nV = hidden_nH weight_VH^T     loss = log sum exp(logits) - logits[target]
    d loss / d logits = softmax(logits) - one_hot(target)

The weight of each token is known before, so the gradients are computed while a chunk's logits are there: the largest
thing held is [n, V] in the model's number format, and the output layer is multiplied three times (logits, both
gradients), as autograd does with all logits. PyTorch's own chunked `linear_cross_entropy` (2.13) multiplies four times
where it gives a loss a token, and in fp32 on a CPU.

Price: n x V numbers (64 million at most), on a CPU a block of rows in fp32 that stays in the cache, and between forward
and backward the gradient of the weight where that is trained.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

_MAX_CHUNK_LOGITS = 64 * 2**20
_CPU_BLOCK_LOGITS = 2**19


@dataclass(frozen=True)
class LogitShape:
    """What a model does to hidden state x weight: logits = softcap x tanh(scale x logits / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    def of(self, logits: Any) -> Any:
        """The model's logits from the products, of any shape."""
        logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


@dataclass(frozen=True)
class OutputLayer:
    """What logits are made with."""

    weight_VH: Any
    bias_V: Any
    """None where it has none."""
    shape: LogitShape


def weighted_cross_entropy(
    hidden_NH: Any, layer: OutputLayer, targets_N: Any, weights_N: Any, gradient_unit: float
) -> tuple[Any, Any]:
    """The sum of weight x loss, a scalar with gradient, and the losses float32[N] without.

    fp16 gradients are computed in units: `gradient_unit` is the factor that the scalar will be multiplied with before
    its backward pass (the loss scale), 1 in other formats.
    """
    total, losses_N = _WeightedCrossEntropy.apply(
        hidden_NH, layer.weight_VH, layer.bias_V, targets_N, weights_N, layer.shape, gradient_unit
    )
    return total, losses_N


def cross_entropy(hidden_NH: Any, layer: OutputLayer, targets_N: Any) -> Any:
    """The losses float32[N], without gradients."""
    with torch.no_grad():
        return _run(hidden_NH, layer, targets_N, None, (False, False, False))[0]


class _WeightedCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Any,
        weight_VH: Any,
        bias_V: Any,
        targets_N: Any,
        weights_N: Any,
        shape: LogitShape,
        gradient_unit: float,
    ) -> tuple[Any, Any]:
        layer = OutputLayer(weight_VH, bias_V, shape)
        losses_N, *gradients = _run(hidden_NH, layer, targets_N, weights_N * gradient_unit, ctx.needs_input_grad[:3])
        ctx.gradients, ctx.gradient_unit = gradients, gradient_unit
        ctx.mark_non_differentiable(losses_N)
        return (losses_N * weights_N).sum(), losses_N

    @staticmethod
    def backward(ctx: Any, grad_total: Any, _grad_losses_N: Any) -> tuple[Any, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        factor = grad_total / ctx.gradient_unit
        # Multiplying by 1 costs a CPU a pass over the weight; a GPU would have to be waited for to know.
        if factor.device.type != "cpu" or factor.item() != 1:
            gradients = [None if gradient is None else gradient.mul_(factor) for gradient in gradients]
        return (*gradients, None, None, None, None)


def _run(
    hidden_NH: Any, layer: OutputLayer, targets_N: Any, weights_N: Any, wanted: tuple[bool, bool, bool]
) -> tuple[Any, Any, Any, Any]:
    """Losses, and the wanted gradients of weight x loss by hidden states, weight and bias."""
    weight_VH, bias_V = layer.weight_VH, layer.bias_V
    num_tokens, chunks = len(hidden_NH), list(_even_slices(len(hidden_NH), _MAX_CHUNK_LOGITS // len(weight_VH)))
    losses_N = torch.empty(num_tokens, dtype=torch.float32, device=hidden_NH.device)
    grad_hidden_NH = torch.empty_like(hidden_NH) if wanted[0] else None
    # Several chunks are summed in fp32, as one matrix product sums inside.
    sums = torch.float32 if len(chunks) > 1 else weight_VH.dtype
    grad_weight_VH = torch.zeros_like(weight_VH, dtype=sums) if wanted[1] and len(chunks) != 1 else None
    grad_bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if wanted[2] and bias_V is not None else None
    for chunk in chunks:
        hidden_nH = hidden_NH[chunk]
        logits_nV = torch.nn.functional.linear(hidden_nH, weight_VH, bias_V)
        weights_n = weights_N[chunk] if any(wanted) else None
        losses_N[chunk] = _losses_and_logit_gradients(logits_nV, targets_N[chunk], weights_n, layer.shape)
        if grad_hidden_NH is not None:
            torch.mm(logits_nV, weight_VH, out=grad_hidden_NH[chunk])
        if wanted[1]:
            product_VH = logits_nV.t() @ hidden_nH
            grad_weight_VH = product_VH if grad_weight_VH is None else grad_weight_VH.add_(product_VH)
        if grad_bias_V is not None:
            grad_bias_V += logits_nV.sum(dim=0, dtype=torch.float32)
    return (
        losses_N,
        grad_hidden_NH,
        None if grad_weight_VH is None else grad_weight_VH.to(weight_VH.dtype),
        None if grad_bias_V is None else grad_bias_V.to(bias_V.dtype),
    )


def _losses_and_logit_gradients(logits_nV: Any, targets_n: Any, weights_n: Any, shape: LogitShape) -> Any:
    """The losses; with weights, the logits are overwritten by the gradients of weight x loss by them."""
    num_tokens, num_logits = logits_nV.shape
    on_cpu = logits_nV.device.type == "cpu"
    losses = []
    for block in _even_slices(num_tokens, _CPU_BLOCK_LOGITS // num_logits if on_cpu else num_tokens):
        own_bV, targets_b1 = logits_nV[block], targets_n[block, None]
        values_bV = own_bV.float()
        if shape.scale != 1:
            values_bV = values_bV.mul_(shape.scale)
        slope_bV = None
        if shape.softcap is not None:
            values_bV = values_bV.div_(shape.softcap).tanh_()
            slope_bV = 1 - values_bV.square()
            values_bV.mul_(shape.softcap)
        target_b1 = values_bV.gather(1, targets_b1)
        largest_b1 = values_bV.amax(dim=1, keepdim=True)
        values_bV.sub_(largest_b1).exp_()
        sum_b1 = values_bV.sum(dim=1, keepdim=True)
        losses.append((sum_b1.log() + largest_b1 - target_b1).squeeze(1))
        if weights_n is not None:
            weights_b1 = weights_n[block, None]
            values_bV.mul_(weights_b1 / sum_b1).scatter_add_(1, targets_b1, -weights_b1)
            if slope_bV is not None:
                values_bV.mul_(slope_bV)
            if shape.scale != 1:
                values_bV.mul_(shape.scale)
            own_bV.copy_(values_bV)
    return torch.cat(losses)


def _even_slices(num_rows: int, most: int) -> Iterator[slice]:
    """Slices of nearly equal sizes, at most `most` rows each: 5 rows by 2 -> 0:2, 2:4, 4:5."""
    num_slices = -(-num_rows // max(1, most))
    ends = [num_rows * number // max(1, num_slices) for number in range(num_slices + 1)]
    return (slice(start, end) for start, end in pairwise(ends))
