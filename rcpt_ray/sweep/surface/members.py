"""Points of a space to look at: all of them where they are few, otherwise many that cover it evenly."""

import itertools
import math
from collections.abc import Mapping, Sequence

from rcpt_ray.sweep.space import Settings, grid_points, key_of, random_points
from rcpt_ray.sweep.spec import Axis, RangeAxis, SimplexAxis, ValuesAxis

_MOST_OF_GRID = 2000
_NUM_SPREAD = 1024


def members_of(space: Mapping[str, Axis], tried: Sequence[Settings], seed: int) -> list[Settings]:
    """Distinct members of the space: the whole of it, or 1,024 spread ones, a coarse grid and those that were tried.

    What was tried but is no member, such as equal shares that are no multiples of the step, is not among them.
    """
    size = math.prod(_num_levels(axis) for axis in space.values())
    points = grid_points(space) if size <= _MOST_OF_GRID else []
    if size > _MOST_OF_GRID or any(isinstance(axis, RangeAxis) for axis in space.values()):
        points += itertools.islice(random_points(space, seed), _NUM_SPREAD)
        points += [point for point in tried if is_member(point, space)]
    return list({key_of(point): point for point in points}.values())


def is_member(point: Settings, space: Mapping[str, Axis]) -> bool:
    """Whether a searcher could ask for the point."""
    return all(_is_on(point[setting], axis) for setting, axis in space.items())


def _is_on(value: object, axis: Axis) -> bool:
    match axis:
        case SimplexAxis():
            assert isinstance(value, dict)
            shares = [value.get(component, 0.0) for component in axis.components]
            steps = [share / axis.step for share in shares]
            return (
                set(value) <= set(axis.components)
                and min(shares) >= axis.least - 1e-6
                and all(abs(number - round(number)) < 1e-6 for number in steps)
                and abs(sum(shares) - 1) < 1e-6
            )
        case RangeAxis():
            assert isinstance(value, int | float)
            return axis.low <= value <= axis.high and not (axis.integer and value % 1)
        case ValuesAxis():
            return value in axis.values


def _num_levels(axis: Axis) -> int:
    match axis:
        case SimplexAxis():
            free = round((1 - axis.least * len(axis.components)) / axis.step)
            return math.comb(free + len(axis.components) - 1, free)
        case RangeAxis():
            return axis.levels
        case ValuesAxis():
            return len(axis.values)
