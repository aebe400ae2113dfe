"""What the sweep's page is made from, and how settings and figures are written on it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcpt_ray.recipe import Recipe
from rcpt_ray.report.public import public_recipe, public_words
from rcpt_ray.report.tables.cells import NOTHING, number
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.by_seeds import Interval
from rcpt_ray.sweep.result import TrialResult
from rcpt_ray.sweep.space import Coordinate, Settings, coordinates_of
from rcpt_ray.sweep.spec import SimplexAxis, SweepSpec
from rcpt_ray.sweep.tried import TriedPoint, tried_points

BASELINES = {"recipe": "the recipe's own", "stratified": "equal shares"}
"""Names of the points that no searcher asked for, by their role."""


@dataclass(frozen=True)
class SweepInputs:
    """Everything that the page shows."""

    recipe: Recipe
    results: list[TrialResult]
    num_planned: int
    answers: list[Answer]
    """One an objective."""

    @property
    def sweep(self) -> SweepSpec:
        """The recipe's, which has one."""
        assert self.recipe.sweep is not None
        return self.recipe.sweep

    @property
    def points(self) -> list[TriedPoint]:
        """All points, those without a figure too."""
        return tried_points(self.results, self.sweep.space)

    @property
    def coordinates(self) -> list[Coordinate]:
        """What varies."""
        return coordinates_of(self.sweep.space)

    @property
    def seeds(self) -> list[int]:
        """That points are tried with."""
        return self.sweep.seeds or [self.recipe.seed]


def public_results(recipe: Recipe, results: Iterable[TrialResult]) -> list[TrialResult]:
    """The results with the reasons of failures as others may read them."""
    return [
        result.model_copy(update={"reason": public_words(result.reason, recipe.run).rstrip(".")}) for result in results
    ]


def label_of(coordinate: Coordinate) -> str:
    """`mixture.thought_share`, or of shares `share of law/thought`."""
    return coordinate.name if coordinate.name == coordinate.axis else f"share of {coordinate.name}"


def point_name(point: TriedPoint) -> str:
    """`3`, or `0, the recipe's own`."""
    roles = [words for role, words in BASELINES.items() if role in point.roles]
    return ", ".join([str(point.number), *roles])


def value_words(value: Any) -> str:
    """A setting's value as it would stand in a recipe, but short; of a path its last name."""
    shown = public_recipe({"value": value})["value"]
    match shown:
        case bool():
            return "true" if shown else "false"
        case None:
            return "null"
        case int():
            return str(shown)
        case float():
            return f"{shown:.4g}"
        case dict():
            return ", ".join(f"{name} {value_words(share)}" for name, share in shown.items())
        case _:
            return str(shown)


def settings_words(point: Settings) -> str:
    """`mixture.thought_share=0.5; mixture.weights: stem/thought 0.7, law/raw 0.3`."""
    return "; ".join(
        f"{name}: {value_words(value)}" if isinstance(value, dict) else f"{name}={value_words(value)}"
        for name, value in point.items()
    )


def digits_of(answer: Answer) -> int:
    """Digits behind the point: two of the noise, or three of the spread of the tried points where that is not known."""
    if answer.noise is not None and answer.noise.deviation > 0:
        return min(8, max(0, 1 - math.floor(math.log10(answer.noise.deviation))))
    means = [answer.mean_of(place) for place in range(len(answer.points))]
    spread = max(means, default=0.0) - min(means, default=0.0) or max(map(abs, means), default=0.0)
    return min(8, max(0, 2 - math.floor(math.log10(spread)))) if spread > 0 else 4


def interval_words(interval: Interval | None, num_digits: int, sign: str = "-", unknown: str = "") -> str:
    """`1.234 (1.220 to 1.248)`."""
    if interval is None:
        return NOTHING
    value = number(interval.value, num_digits, sign)
    if interval.low is None or interval.high is None:
        return f"{value}{unknown}"
    return f"{value} ({number(interval.low, num_digits, sign)} to {number(interval.high, num_digits, sign)})"


def measured_by(answer: Answer) -> str:
    """`heldout/bits_per_byte, less is better`."""
    terms = [
        name if weight == 1 else f"{value_words(float(weight))} x {name}"
        for name, weight in answer.spec.measures.items()
    ]
    return f"{' + '.join(terms)}, {better_words(answer)}"


def better_words(answer: Answer) -> str:
    """Which way is better."""
    return "less is better" if answer.spec.goal == "minimize" else "more is better"


def region_words(extent: Sequence[float | str], coordinate: Coordinate) -> str:
    """`0.2 to 0.6`, or the names."""
    if coordinate.names:
        return ", ".join(value_words(str(name)) for name in extent)
    low, high = (value_words(float(end)) for end in extent)
    return low if low == high else f"{low} to {high}"


def space_words(space: Mapping[str, Any]) -> str:
    """Every axis with its extent."""
    told = []
    for name, axis in space.items():
        if isinstance(axis, SimplexAxis):
            told.append(f"{name} (shares of {', '.join(axis.components)})")
            continue
        (own,) = coordinates_of({name: axis})
        ends = (
            ", ".join(map(value_words, axis.values))
            if hasattr(axis, "values")
            else region_words((own.low, own.high), own)
        )
        told.append(f"{name} ({ends})")
    return "; ".join(told)
