"""Points of the space that lie evenly on a plot of two settings or three shares, with what the surface says there.

    shares a, b, c of a corner each  ->  x = b + c / 2, y = c * sqrt(3) / 2

Invariant: settings that are not on the plot are as in the best (other shares in proportion).
Price: one prediction of a few hundred points; with the region as many looks whether a member of the space lies in it,
at once: 0.5 ms for each in doubt, and a look at the recipe's rules (1 ms) for each that lies in it.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.plots.marks import Place
from rcpt_ray.sweep.space import Coordinate, Settings, position_of
from rcpt_ray.sweep.spec import Axis, RangeAxis, SimplexAxis, ValuesAxis

_STEPS: Final = 20
_LOOKS: Final = 20
"""Steps across the space at which it is looked whether the surface may be best there."""
HEIGHT: Final = math.sqrt(3) / 2

Position = dict[str, float | str]


@dataclass(frozen=True)
class Lattice:
    """Points of the space with their places on a plot."""

    points: list[Settings]
    places: list[Place]
    means: Any
    held: list[Place]
    """Places in the region, where a surface with skill has one."""
    num_looked: int
    """Members of the space that were asked for."""


def with_values(point: Settings, values: Mapping[Coordinate, float], space: Mapping[str, Axis]) -> Settings:
    """The point with some coordinates changed; shares that are not named fill up to 1 in their old proportion.

    Example: {a: 0.5, b: 0.3, c: 0.2} with a = 0 -> {b: 0.6, c: 0.4}; {a: 1} with a = 0.4 -> {a: 0.4, b: 0.3, c: 0.3}.
    """
    changed = dict(point)
    for coordinate, value in values.items():
        if coordinate.name == coordinate.axis:
            changed[coordinate.axis] = value
    for setting, axis in space.items():
        fixed = {one.name: value for one, value in values.items() if one.axis == setting}
        if not isinstance(axis, SimplexAxis) or not fixed:
            continue
        others = {name: point[setting].get(name, 0.0) for name in axis.components if name not in fixed}
        rest, old = 1 - sum(fixed.values()), sum(others.values())
        scaled = {name: rest * (share / old if old else 1 / len(others)) for name, share in others.items()}
        changed[setting] = {name: share for name, share in (fixed | scaled).items() if share > 1e-9}
    return changed


def triangle(answer: Answer, axis: str, names: Sequence[str], with_region: bool) -> Lattice:
    assert answer.chosen is not None
    own, chosen = answer.space[axis], answer.chosen.point
    assert isinstance(own, SimplexAxis)

    def points_of(steps: int) -> list[Settings]:
        parts = [(one, two, steps - one - two) for one in range(steps + 1) for two in range(steps + 1 - one)]
        shares = [[round(own.least + (1 - 3 * own.least) * part / steps, 9) for part in three] for three in parts]
        return [chosen | {axis: {n: share for n, share in zip(names, one, strict=True) if share > 0}} for one in shares]

    # Where the region is looked at, shares must be those that the space has.
    steps = round((1 - 3 * own.least) / own.step)
    fitting = [number for number in range(1, min(steps, _LOOKS) + 1) if steps % number == 0]
    members = points_of(max(fitting)) if with_region else []
    return _looked_at(
        answer, points_of(_STEPS), members, lambda position: corner_place([float(position[n]) for n in names])
    )


def rectangle(answer: Answer, one: Coordinate, other: Coordinate, with_region: bool) -> Lattice:
    assert answer.chosen is not None
    chosen = answer.chosen.point

    def points_of(xs: Sequence[float], ys: Sequence[float]) -> list[Settings]:
        both_shares = one.axis == other.axis and one.name != one.axis
        pairs = [(x, y) for x, y in itertools.product(xs, ys) if not both_shares or x + y <= 1 + 1e-9]
        return [with_values(chosen, {one: x, other: y}, answer.space) for x, y in pairs]

    members = points_of(_members(answer, one), _members(answer, other)) if with_region else []
    return _looked_at(
        answer,
        points_of(_levels(one, _STEPS), _levels(other, _STEPS)),
        members,
        lambda position: (float(position[one.name]), float(position[other.name])),
    )


def _levels(coordinate: Coordinate, steps: int) -> list[float]:
    spread = np.geomspace if coordinate.is_log else np.linspace
    return [float(f"{level:.9g}") for level in spread(coordinate.low, coordinate.high, steps + 1)]


def _members(answer: Answer, coordinate: Coordinate) -> list[float]:
    """Values that the space has."""
    axis = answer.space[coordinate.axis]
    match axis:
        case ValuesAxis():
            return sorted(float(value) for value in axis.values)
        case RangeAxis() if axis.integer:
            return sorted({float(round(level)) for level in _levels(coordinate, _LOOKS)})
        case SimplexAxis():
            steps = round((coordinate.high - coordinate.low) / axis.step)
            return [coordinate.low + axis.step * step for step in range(0, steps + 1, max(1, steps // _LOOKS))]
        case _:
            return _levels(coordinate, _LOOKS)


def corner_place(shares: Sequence[float]) -> Place:
    return shares[1] + shares[2] / 2, shares[2] * HEIGHT


def _looked_at(
    answer: Answer, points: list[Settings], members: list[Settings], place_of: Callable[[Position], Place]
) -> Lattice:
    assert answer.surface is not None
    held = list[Place]()
    if answer.has_skill and answer.optimum is not None:
        holds = answer.optimum.holds_all(members)
        held = [
            place_of(position_of(one, answer.space)) for one, is_held in zip(members, holds, strict=True) if is_held
        ]
    places = [place_of(position_of(one, answer.space)) for one in points]
    return Lattice(points, places, np.asarray(answer.surface.predict(points)[0], np.float64), held, len(members))
