"""The blend: which documents are drawn, how often, so that each component has its share of the tokens.

A component is a source and a kind (stem/thought, law/raw). Its documents stand in the order of a hash of seed, source
and id; it is passed over whole so often as its target allows, then up to the document at which its tokens come nearest
to the target. So what is drawn is told by two numbers a component (`Cut`), any worker can tell by itself whether a
document is drawn, and no document is drawn twice more than another. The hash knows no kind: a thought and its text
alone are drawn together, which makes the document-matched control.

Price: 16 bytes a document of one component at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rcpt_ray.errors import UserError


@dataclass(frozen=True)
class Candidates:
    """The documents of a component that may be drawn, C of them in any order."""

    draw_C: npt.NDArray[np.uint64]
    """The hash that orders the draws."""
    num_tokens_C: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """Tokens of one pass."""
        return int(self.num_tokens_C.sum())


@dataclass(frozen=True)
class Cut:
    """What is drawn of a component: every document `passes` times, and once more those up to the hash `last`."""

    passes: int
    last: int | None = None

    def takes(self, draw_C: npt.NDArray[np.uint64], repeat: int) -> npt.NDArray[np.bool_]:
        """Which documents are drawn a time more after `repeat` times."""
        if repeat < self.passes:
            return np.ones(len(draw_C), np.bool_)
        if repeat > self.passes or self.last is None:
            return np.zeros(len(draw_C), np.bool_)
        return draw_C <= np.uint64(self.last)

    @property
    def num_repeats(self) -> int:
        """How often the most drawn document is drawn."""
        return self.passes + (self.last is not None)


@dataclass(frozen=True)
class Blend:
    """The cuts, with the tokens wanted and got."""

    cuts: dict[str, Cut]
    target_tokens: dict[str, float]
    achieved_tokens: dict[str, int]


def blend(
    candidates: Mapping[str, Candidates],
    weights: Mapping[str, float] | None,
    num_tokens: int | None,
    max_repeats: float,
) -> Blend:
    """Cut every component at its share of the tokens.

    Raises:
        UserError: a weighted component has no documents, or needs more than `max_repeats` passes.
    """
    totals = {component: own.total for component, own in candidates.items()}
    targets = _targets(totals, weights, num_tokens)
    cuts, achieved = dict[str, Cut](), dict[str, int]()
    for component, target in targets.items():
        if target > totals[component] * max_repeats + 0.5:
            raise UserError(
                f"mixture: {component} needs {target:,.0f} tokens but has {totals[component]:,}, which is "
                f"{target / max(totals[component], 1):.1f} passes over it and max_repeats={max_repeats:g}; lower its "
                f"weight or num_tokens, raise max_repeats, or add documents"
            )
        cuts[component], achieved[component] = _cut(candidates[component], target)
        if weights is not None and not achieved[component]:
            raise UserError(
                f"mixture.weights.{component}={weights[component]:g} asks for {target:,.0f} tokens, less than half a "
                "document; raise the weight or num_tokens, or set the weight to 0"
            )
    return Blend(cuts, targets, achieved)


def _targets(
    totals: Mapping[str, int], weights: Mapping[str, float] | None, num_tokens: int | None
) -> dict[str, float]:
    if weights is None:
        whole = sum(totals.values())
        wanted = whole if num_tokens is None else num_tokens
        return {component: wanted * total / whole for component, total in totals.items()} if whole else {}
    for component, weight in weights.items():
        if weight > 0 and not totals.get(component):
            have = ", ".join(component for component, total in totals.items() if total) or "none"
            raise UserError(f"mixture.weights.{component}={weight:g} has no documents; components with some: {have}")
    used = {component: weight for component, weight in weights.items() if weight > 0}
    budget = float(num_tokens) if num_tokens else min(totals[component] / weight for component, weight in used.items())
    return {component: budget * weight for component, weight in used.items()}


def _cut(candidates: Candidates, target: float) -> tuple[Cut, int]:
    """The cut whose tokens are nearest to the target, and those tokens."""
    total = candidates.total
    if not total:
        return Cut(0), 0
    passes = int(target // total)
    order_C = np.argsort(candidates.draw_C, kind="stable")
    sums_C = np.cumsum(candidates.num_tokens_C[order_C])
    rest = target - passes * total
    reached = int(np.searchsorted(sums_C, rest))  # the first sum that is not below the rest
    nearest = min((reached, reached - 1), key=lambda place: abs(int(sums_C[place]) - rest if place >= 0 else rest))
    if nearest < 0:
        return Cut(passes), passes * total
    if nearest == len(sums_C) - 1:
        return Cut(passes + 1), (passes + 1) * total
    last = int(candidates.draw_C[order_C[nearest]])
    return Cut(passes, last), passes * total + int(sums_C[nearest])
