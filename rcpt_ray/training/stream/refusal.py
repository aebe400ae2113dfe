"""Why a streaming training cannot go on, in a sentence: said while it runs, and again by each later command."""

from collections.abc import Mapping
from typing import Any

from rcpt_ray.training.stream.work import StreamWork

_ENOUGH_THOUGHTS = 200


def refusal(work: StreamWork, num_refused: int, num_thoughts: int, has_all: bool, end: Mapping[str, Any] | None) -> str:
    """The reason, empty where there is none.

    `num_refused` of `num_thoughts` that arrived were rejected by the engine; `end` is the record's, where it has one.
    """
    limit = work.generation.spec.max_rejected_share
    if (num_thoughts >= _ENOUGH_THOUGHTS or has_all) and num_refused > limit * num_thoughts:
        return (
            f"thoughts.max_rejected_share={limit:g}: the engine rejected {num_refused} of {num_thoughts} thoughts; "
            f"mend the corpus or raise the share (the parts stay in {work.thoughts_folder})"
        )
    if end is not None and not end["num_batches"]:
        return (
            f"training.feed=stream: no document could be drawn (arrived: {end['num_candidates'] or 'none'}, left "
            f"out: {end['rejected'] or 'none'}); look at mixture.weights, mixture.num_tokens and thoughts.select"
        )
    return ""


def refusal_at_end(work: StreamWork, end: Mapping[str, Any]) -> str:
    """The reason as the end alone tells it."""
    return refusal(work, int(end["num_refused"]), int(end["num_thoughts"]), bool(end["has_all"]), end)
