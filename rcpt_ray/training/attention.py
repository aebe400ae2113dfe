"""Attention of packed rows on a CPU: each document by itself, instead of whole rows under a mask.

    B rows, A attention heads, K key/value heads, T tokens, D head size, d tokens of one document

Documents in a row do not see each other, so of the T x T products of a row only the blocks on its diagonal count:
transformers computes all of them and masks. Where a document begins is told by its position 0. Registered with
transformers as `by_document`; nothing of the model is changed and nothing of it is saved.

Price: one small product a document, head and layer. SmolLM2-135M, bf16, documents of 290 tokens, forward and backward
of a row on 2 cores: 1.3 s instead of 1.5 at T = 512, 5.3 s instead of 17 at T = 2,048.
"""

import functools
from typing import Any

BY_DOCUMENT = "by_document"
MOST_EAGER_TOKENS = 512
"""Documents of more tokens go through sdpa, which keeps no scores."""
_PROBE_TOLERANCES = {"torch.float32": 1e-4, "torch.bfloat16": 0.02, "torch.float16": 0.01}


class DocumentsUnknown(Exception):
    """The model does not hand positions to its attention."""


def register() -> None:
    """Let transformers know of it; as often as one likes."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(BY_DOCUMENT, _attend)
    AttentionMaskInterface.register(BY_DOCUMENT, lambda *_arguments, **_named: None)


def can_attend_by_document(model: Any) -> bool:
    """Whether the model has full causal attention alone, and gives what it gave, on a row of two documents."""
    import torch

    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    has_more = any(getattr(config, name, None) for name in ("sliding_window", "attn_logit_softcapping"))
    if kinds != {"full_attention"} or has_more:
        return False
    before, was_training = model.config._attn_implementation, model.training
    token_ids_BT = torch.arange(8, device=model.device)[None]
    position_ids_BT = token_ids_BT % 5  # documents of 5 and 3 tokens

    def logits_of(attention: str) -> Any:
        model.set_attn_implementation(attention)
        with torch.no_grad():
            return model(input_ids=token_ids_BT, position_ids=position_ids_BT, use_cache=False).logits.float()

    model.eval()
    try:
        expected_BTV, found_BTV = logits_of(before), logits_of(BY_DOCUMENT)
    except DocumentsUnknown:
        return False
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)
    tolerance = _PROBE_TOLERANCES[str(model.dtype)]
    return bool((found_BTV - expected_BTV).abs().max() <= tolerance * expected_BTV.abs().max())


def _attend(
    module: Any,
    query_BATD: Any,
    key_BKTD: Any,
    value_BKTD: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: Any = None,
    **named: Any,
) -> tuple[Any, None]:
    import torch

    if position_ids is None:
        raise DocumentsUnknown
    refused = [name for name in ("sliding_window", "softcap", "s_aux") if named.get(name) is not None]
    assert attention_mask is None and not refused, f"attention by document knows no {refused or 'mask'}"
    rows = []
    for row, starts in enumerate(_starts(position_ids, len(query_BATD))):
        ends = [*starts[1:], query_BATD.shape[2]]
        documents = [
            _attend_causally(
                query_BATD[row : row + 1, :, start:end],
                key_BKTD[row : row + 1, :, start:end],
                value_BKTD[row : row + 1, :, start:end],
                scaling if scaling is not None else query_BATD.shape[-1] ** -0.5,
                dropout if module.training else 0.0,
            )
            for start, end in zip(starts, ends, strict=True)
        ]
        rows.append(torch.cat(documents, dim=2))
    return torch.cat(rows).transpose(1, 2).contiguous(), None


def _starts(position_ids_BT: Any, num_rows: int) -> list[list[int]]:
    """Where documents begin, by row: positions 0 1 2 0 1 -> 0, 3; positions may stand for all rows."""
    return [
        (position_ids_BT[row if len(position_ids_BT) > 1 else 0] == 0).nonzero().flatten().tolist() or [0]
        for row in range(num_rows)
    ]


def _attend_causally(query_1AdD: Any, key_1KdD: Any, value_1KdD: Any, scaling: float, dropout: float) -> Any:
    import torch
    from torch.nn.functional import scaled_dot_product_attention, softmax

    num_tokens = query_1AdD.shape[2]
    if num_tokens > MOST_EAGER_TOKENS:
        return scaled_dot_product_attention(
            query_1AdD, key_1KdD, value_1KdD, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True
        )
    # Plain products are the faster ones for short documents, in the backward pass above all.
    num_groups = query_1AdD.shape[1] // key_1KdD.shape[1]
    key_1AdD, value_1AdD = (states.repeat_interleave(num_groups, dim=1) for states in (key_1KdD, value_1KdD))
    scores_1Add = torch.matmul(query_1AdD, key_1AdD.transpose(2, 3)) * scaling
    future_dd = _future(query_1AdD.dtype, query_1AdD.device)[:num_tokens, :num_tokens]
    shares_1Add = softmax(scores_1Add + future_dd, dim=-1)
    if dropout > 0:
        shares_1Add = torch.nn.functional.dropout(shares_1Add, dropout)
    return torch.matmul(shares_1Add, value_1AdD)


@functools.cache
def _future(number_format: Any, device: Any) -> Any:
    """-inf where a token would look ahead, 0 elsewhere."""
    import torch

    square = torch.full((MOST_EAGER_TOKENS, MOST_EAGER_TOKENS), -torch.inf, dtype=number_format, device=device)
    return square.triu(1)
