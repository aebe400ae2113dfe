"""Cross-entropy in chunks is that of all logits at once, in any number format, and never holds them."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy as plain_cross_entropy

from rcpt_ray.training import cross_entropy as chunks
from rcpt_ray.training.cross_entropy import LogitShape, OutputLayer, cross_entropy, weighted_cross_entropy
from rcpt_ray.training.head import choose_kernel

pytestmark = pytest.mark.usefixtures("one_thread")
NUM_LOGITS, HIDDEN = 50, 16


@settings(max_examples=40, deadline=None)
@given(
    num_tokens=st.integers(0, 23),
    chunk=st.integers(1, 25),
    block=st.integers(1, 25),
    scale=st.sampled_from([1.0, 0.25]),
    softcap=st.sampled_from([None, 1.5]),
    has_bias=st.booleans(),
)
def test_any_chunks_give_the_same(
    num_tokens: int, chunk: int, block: int, scale: float, softcap: float | None, has_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(num_tokens)
    hidden_NH = torch.randn(num_tokens, HIDDEN, generator=generator, requires_grad=True)
    weight_VH = torch.randn(NUM_LOGITS, HIDDEN, generator=generator, requires_grad=True)
    bias_V = torch.randn(NUM_LOGITS, generator=generator, requires_grad=True) if has_bias else None
    targets_N = torch.randint(0, NUM_LOGITS, (num_tokens,), generator=generator)
    weights_N, shape = torch.rand(num_tokens, generator=generator), LogitShape(scale, softcap)
    leaves = [leaf for leaf in (hidden_NH, weight_VH, bias_V) if leaf is not None]
    logits_NV = shape.of(torch.nn.functional.linear(hidden_NH, weight_VH, bias_V))
    losses_N = plain_cross_entropy(logits_NV, targets_N, reduction="none")
    expected = torch.autograd.grad((losses_N * weights_N).sum(), leaves)
    layer = OutputLayer(weight_VH, bias_V, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_MAX_CHUNK_LOGITS", chunk * NUM_LOGITS)
        patch.setattr(chunks, "_CPU_BLOCK_LOGITS", block * NUM_LOGITS)
        total, ours_N = weighted_cross_entropy(hidden_NH, layer, targets_N, weights_N, 1.0)
        found = torch.autograd.grad(3 * total, leaves)
        torch.testing.assert_close(cross_entropy(hidden_NH, layer, targets_N), losses_N.detach())
    torch.testing.assert_close(ours_N, losses_N.detach())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, 3 * other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("number_format", "unit"), [(torch.bfloat16, 1.0), (torch.float16, 2.0**14)])
def test_half_precision_rounds_as_autograd_does(number_format: Any, unit: float) -> None:
    """Small weights, as in a large batch: in fp16 their gradients live through the loss scale alone."""
    torch.manual_seed(2)
    hidden_NH = torch.randn(40, 64).to(number_format).requires_grad_()
    weight_VH = (0.1 * torch.randn(300, 64)).to(number_format).requires_grad_()
    targets_N, weights_N = torch.randint(0, 300, (40,)), torch.full((40,), 1e-4)
    logits_NV = torch.nn.functional.linear(hidden_NH.double(), weight_VH.double())
    exact = torch.autograd.grad(
        unit * (plain_cross_entropy(logits_NV, targets_N, reduction="none") * weights_N).sum(), [hidden_NH, weight_VH]
    )
    layer = OutputLayer(weight_VH, None, LogitShape())
    total, _ = weighted_cross_entropy(hidden_NH, layer, targets_N, weights_N, unit)
    for one, other in zip(torch.autograd.grad(unit * total, [hidden_NH, weight_VH]), exact, strict=True):
        assert one.dtype == number_format
        assert float((one.double() - other.double()).norm() / other.double().norm()) < 0.01


def test_no_tensor_of_all_logits_is_ever_held() -> None:
    """4,096 tokens x 8,000 logits would be 131 MB in fp32; a chunk is a sixteenth of it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.numbers = max(self.numbers, result.numel())
            return result

    hidden_NH, weight_VH = torch.randn(4096, 8, requires_grad=True), torch.randn(8000, 8, requires_grad=True)
    targets_N, weights_N = torch.zeros(4096, dtype=torch.int64), torch.ones(4096)
    with pytest.MonkeyPatch.context() as patch, Largest() as largest:
        patch.setattr(chunks, "_MAX_CHUNK_LOGITS", 256 * 8000)
        total, _ = weighted_cross_entropy(
            hidden_NH, OutputLayer(weight_VH, None, LogitShape()), targets_N, weights_N, 1.0
        )
        total.backward()
    assert 0 < largest.numbers <= 256 * 8000


def test_kernel_of_a_cpu_is_ours() -> None:
    assert choose_kernel("auto") == choose_kernel("torch") == "torch"
