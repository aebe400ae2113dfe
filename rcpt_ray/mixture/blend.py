"""The blend: which documents are drawn, how often, so that each component has its share of the tokens.

A component is a source and a kind (stem/thought, law/raw). Documents of a component are drawn in an order given by
hash of seed, component, pass and id; a pass ends before the next begins, so no document is drawn twice more than
another. The draw stops where one more document would bring the component further from its target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.errors import UserError

Sizes = Mapping[str, Sequence[tuple[str, int]]]
"""Component -> (doc_id, number of tokens) of each document that may be drawn."""


@dataclass(frozen=True)
class Draw:
    """One document in the blend."""

    component: str
    doc_id: str
    repeat: int


@dataclass(frozen=True)
class Blend:
    """The draws in their order of training, with the tokens wanted and got."""

    draws: list[Draw]
    target_tokens: dict[str, float]
    achieved_tokens: dict[str, int]


def blend(
    sizes: Sizes, weights: Mapping[str, float] | None, num_tokens: int | None, max_repeats: float, seed: int
) -> Blend:
    """Draw documents to the target shares of tokens.

    Raises:
        UserError: a weighted component has no documents, or needs more than `max_repeats` passes.
    """
    totals = {component: sum(size for _, size in documents) for component, documents in sizes.items()}
    targets = _targets(totals, weights, num_tokens)
    draws: list[Draw] = []
    achieved: dict[str, int] = {}
    for component, target in targets.items():
        if target > totals[component] * max_repeats + 0.5:
            raise UserError(
                f"mixture: {component} needs {target:,.0f} tokens but has {totals[component]:,}, which is "
                f"{target / max(totals[component], 1):.1f} passes over it and max_repeats={max_repeats:g}; lower its "
                f"weight or num_tokens, raise max_repeats, or add documents"
            )
        drawn, achieved[component] = _draw(component, sizes[component], target, seed)
        draws += drawn
    draws.sort(key=lambda draw: (unit_hash("order", seed, draw.component, draw.doc_id, draw.repeat), draw.doc_id))
    return Blend(draws, targets, achieved)


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


def _draw(component: str, documents: Sequence[tuple[str, int]], target: float, seed: int) -> tuple[list[Draw], int]:
    draws: list[Draw] = []
    achieved, repeat = 0, 0
    while documents and target > 0:
        for doc_id, size in sorted(
            documents, key=lambda item: (unit_hash("draw", seed, component, repeat, item[0]), item[0])
        ):
            if abs(achieved + size - target) > abs(achieved - target):
                return draws, achieved
            draws.append(Draw(component, doc_id, repeat))
            achieved += size
            if achieved == target:
                return draws, achieved
        repeat += 1
    return draws, achieved
