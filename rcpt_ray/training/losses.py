"""Cross-entropy of each target token.

B rows, T tokens, V vocabulary
"""

from typing import Any

from rcpt_ray.training.batch import Batch


def token_losses(engine: Any, batch: Batch) -> tuple[Any, Any]:
    """Cross-entropy float32[B, T] of each target, 0 where there is none, and the targets' kinds int64[B, T]."""
    import torch
    from torch.nn.functional import cross_entropy

    device = engine.device
    kind_BT = torch.from_numpy(batch.target_kind_BT).long().to(device)
    logits_BTV = engine(
        input_ids=torch.from_numpy(batch.input_ids_BT).to(device),
        position_ids=torch.from_numpy(batch.position_ids_BT).to(device),
        use_cache=False,
    ).logits
    losses_BT = cross_entropy(
        logits_BTV.flatten(0, 1).float(), torch.from_numpy(batch.target_ids_BT).to(device).flatten(), reduction="none"
    ).view_as(kind_BT)
    return losses_BT * (kind_BT > 0), kind_BT
