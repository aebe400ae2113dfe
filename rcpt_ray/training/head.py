"""A causal model that gives losses instead of logits.

    N target tokens, H hidden size, V vocabulary

`add_losses` has the model's forward take `targets`; without them it is what it was. The output layer is used inside
the forward of the module that holds it, where ZeRO 3 has its weight together. What a model does to its logits (soft
cap, scale) is read from its settings and compared, once, with the logits that the model itself gives; where they differ
the model's own logits are used, all of them at once.

Price: one forward pass of 8 tokens when training starts.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rcpt_ray.errors import UserError
from rcpt_ray.training.cross_entropy import LogitShape, OutputLayer, cross_entropy, weighted_cross_entropy

Kernel = Literal["torch", "cut_cross_entropy"]
_PROBE_TOKENS = 8
_PROBE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Targets:
    """The positions whose losses are wanted, those with a gradient first."""

    positions_N: Any
    """int64[N], of the flattened rows."""
    token_ids_N: Any
    """int64[N]."""
    weights_M: Any
    """float32[M], M <= N: weights in the sum, of the first M positions; the others get no gradient."""
    gradient_unit: float = 1.0
    """The loss scale of fp16, 1 in other formats."""


def add_losses(model: Any, kernel: Kernel) -> None:
    """From now on `model(..., targets=Targets(...))` is the sum of weight x loss and the losses float32[N]."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    own_forward: Callable[..., Any] = causal.forward
    shape = _shape_of_logits(causal)
    knows_the_logits = _gives_the_logits(causal, shape)

    @functools.wraps(own_forward)
    def forward(*arguments: Any, targets: Targets | None = None, **named: Any) -> Any:
        if targets is None:
            return own_forward(*arguments, **named)
        if not knows_the_logits:
            return _losses_of_logits(own_forward(*arguments, **named).logits, targets)
        hidden_NH = _hidden_states(causal, *arguments, **named).flatten(0, 1)[targets.positions_N]
        weight_VH, bias_V = _weight_and_bias(causal.get_output_embeddings())
        return _losses(hidden_NH, OutputLayer(weight_VH, bias_V, shape), targets, kernel)

    causal.forward = forward


def choose_kernel(wanted: str) -> Kernel:
    """`auto` is cut_cross_entropy (Wijmans et al., arXiv 2411.09009) on a GPU that has it, else our own chunks."""
    import importlib.util

    import torch

    is_there = torch.cuda.is_available() and importlib.util.find_spec("cut_cross_entropy") is not None
    if wanted == "cut_cross_entropy" and not is_there:
        raise UserError(
            "training.loss_kernel=cut_cross_entropy needs a GPU and the package of that name; install it (pip install "
            "'rcpt-ray[kernels]') or use auto"
        )
    return "cut_cross_entropy" if is_there and wanted != "torch" else "torch"


def _losses(hidden_NH: Any, layer: OutputLayer, targets: Targets, kernel: Kernel) -> tuple[Any, Any]:
    import torch

    num_trained = len(targets.weights_M)
    trained, watched = slice(0, num_trained), slice(num_trained, None)
    if kernel == "cut_cross_entropy" and layer.bias_V is None and num_trained:
        from cut_cross_entropy import linear_cross_entropy  # type: ignore[import-not-found, unused-ignore]

        losses_M = linear_cross_entropy(
            hidden_NH[trained] * layer.shape.scale,
            layer.weight_VH,
            targets.token_ids_N[trained],
            softcap=layer.shape.softcap,
            reduction="none",
        ).float()
        total, losses_M = (losses_M * targets.weights_M).sum(), losses_M.detach()
    else:
        total, losses_M = weighted_cross_entropy(
            hidden_NH[trained], layer, targets.token_ids_N[trained], targets.weights_M, targets.gradient_unit
        )
    if num_trained == len(targets.positions_N):
        return total, losses_M
    return total, torch.cat([losses_M, cross_entropy(hidden_NH[watched], layer, targets.token_ids_N[watched])])


def _losses_of_logits(logits_BTV: Any, targets: Targets) -> tuple[Any, Any]:
    from torch.nn.functional import cross_entropy as plain_cross_entropy

    logits_NV = logits_BTV.flatten(0, 1)[targets.positions_N].float()
    losses_N = plain_cross_entropy(logits_NV, targets.token_ids_N, reduction="none")
    return (losses_N[: len(targets.weights_M)] * targets.weights_M).sum(), losses_N.detach()


def _shape_of_logits(causal: Any) -> LogitShape:
    """As the settings of transformers' models name it (Gemma 2, Cohere, Granite)."""
    config = causal.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return LogitShape(float(scale) / float(divisor), getattr(config, "final_logit_softcapping", None))


def _gives_the_logits(causal: Any, shape: LogitShape) -> bool:
    """Whether output layer and shape give what the model itself gives, on a few tokens."""
    import torch

    layer = causal.get_output_embeddings()
    if layer is None or _weight_and_bias(layer)[0] is None:
        return False
    was_training = causal.training
    causal.eval()
    with torch.no_grad():
        token_ids_BT = (
            torch.arange(_PROBE_TOKENS, device=causal.device)[None] % causal.get_input_embeddings().weight.shape[0]
        )
        own_BTV = causal(input_ids=token_ids_BT, use_cache=False).logits.float()
        weight_VH, bias_V = _weight_and_bias(layer)
        hidden_BTH = _hidden_states(causal, input_ids=token_ids_BT, use_cache=False)
        ours_BTV = shape.of(torch.nn.functional.linear(hidden_BTH, weight_VH, bias_V).float())
    causal.train(was_training)
    difference = (ours_BTV - own_BTV).abs().max()
    return bool(ours_BTV.shape == own_BTV.shape and difference <= _PROBE_TOLERANCE * own_BTV.abs().max())


def _hidden_states(causal: Any, *arguments: Any, **named: Any) -> Any:
    """float[B, T, H] before the output layer."""
    return causal.base_model(*arguments, **named).last_hidden_state


def _weight_and_bias(layer: Any) -> tuple[Any, Any]:
    """Of a linear layer, also of one whose new rows peft trains; (None, None) of anything else."""
    import torch

    if type(layer) is torch.nn.Linear:
        return layer.weight, layer.bias
    adapter = getattr(layer, "token_adapter", None)
    if adapter is not None and type(adapter.base_layer) is torch.nn.Linear:
        return adapter.get_merged_weights(adapter.active_adapters), adapter.base_layer.bias
    return None, None
