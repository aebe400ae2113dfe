"""The space of a sweep: its points, where they lie for a regression, and how a searcher reaches them.

    unit cube [0, 1]^D  ->  point: a value for each swept setting  ->  coordinates: a number for each thing that varies

    D dimensions of the unit cube, N points, C coordinates

Every axis takes dimensions of the cube: a range or a list of values one, shares as many as there are components (minus
the logarithm of uniform numbers, divided by their sum, is uniform on the simplex). So one searcher serves all spaces.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rcpt_ray.sweep.spec import Axis, RangeAxis, SimplexAxis, ValuesAxis

Floats = npt.NDArray[np.float64]
_LOG_FROM = 8.0
"""Listed values that are all above 0 and so many times apart are told by their order of magnitude."""
Settings = dict[str, Any]
"""A point: swept settings by their dotted names; of shares a dictionary of those above zero."""


@dataclass(frozen=True)
class Coordinate:
    """One thing that varies, as a number or as one of a few names."""

    axis: str
    """The dotted setting."""
    name: str
    """The setting, or of shares the component."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    names: tuple[str, ...] = ()
    """What the axis may be, where it is no number."""


def coordinates_of(space: Mapping[str, Axis]) -> list[Coordinate]:
    """All C coordinates, in the order of the space."""
    found: list[Coordinate] = []
    for setting, axis in space.items():
        match axis:
            case SimplexAxis():
                most = 1 - axis.least * (len(axis.components) - 1)
                found += [Coordinate(setting, component, axis.least, most) for component in axis.components]
            case RangeAxis():
                found.append(Coordinate(setting, setting, axis.low, axis.high, axis.scale == "log"))
            case ValuesAxis() if axis.is_numeric:
                low, high = min(axis.values), max(axis.values)
                found.append(Coordinate(setting, setting, low, high, low > 0 and high >= _LOG_FROM * low))
            case ValuesAxis():
                found.append(Coordinate(setting, setting, names=tuple(map(str, axis.values))))
    return found


def position_of(point: Settings, space: Mapping[str, Axis]) -> dict[str, float | str]:
    """A point's value in each coordinate, by its name.

    Example: {mixture.weights: {a: 1.0}, mixture.layout: interleaved} -> {a: 1.0, b: 0.0, mixture.layout: interleaved}
    """
    position: dict[str, float | str] = {}
    for coordinate in coordinates_of(space):
        value = point[coordinate.axis]
        if isinstance(space[coordinate.axis], SimplexAxis):
            position[coordinate.name] = float(value.get(coordinate.name, 0.0))
        else:
            position[coordinate.name] = str(value) if coordinate.names else float(value)
    return position


def num_dimensions(space: Mapping[str, Axis]) -> int:
    """D of the unit cube."""
    return sum(len(axis.components) if isinstance(axis, SimplexAxis) else 1 for axis in space.values())


def point_at(unit_D: Sequence[float], space: Mapping[str, Axis]) -> Settings:
    """The point at a place of the unit cube."""
    point: Settings = {}
    place = 0
    for setting, axis in space.items():
        match axis:
            case SimplexAxis():
                point[setting] = _shares(unit_D[place : place + len(axis.components)], axis)
                place += len(axis.components) - 1
            case RangeAxis():
                point[setting] = _between(axis, unit_D[place])
            case ValuesAxis():
                point[setting] = axis.values[min(int(unit_D[place] * len(axis.values)), len(axis.values) - 1)]
        place += 1
    return point


def unit_of(point: Settings, space: Mapping[str, Axis]) -> list[float] | None:
    """A place of the unit cube where `point_at` finds a point; None where the space does not hold it."""
    unit_D: list[float] = []
    for setting, axis in space.items():
        value = point[setting]
        match axis:
            case SimplexAxis():
                unit_D += [math.exp(-value.get(component, 0.0)) for component in axis.components]
            case ValuesAxis():
                if value not in axis.values:
                    return None
                unit_D.append((axis.values.index(value) + 0.5) / len(axis.values))
            case RangeAxis():
                low, high, here = axis.low, axis.high, float(value)
                if axis.scale == "log":
                    low, high, here = math.log(low), math.log(high), math.log(here)
                unit_D.append((here - low) / (high - low))
    return unit_D


def grid_points(space: Mapping[str, Axis]) -> list[Settings]:
    """Every combination: the first setting changes slowest."""
    levels = [list(_levels(axis)) for axis in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*levels)]


def grid_size(space: Mapping[str, Axis]) -> int:
    """How many combinations there are, at most: levels of a range that are rounded to one number count as several."""
    return math.prod(_num_levels(axis) for axis in space.values())


def random_points(space: Mapping[str, Axis], seed: int) -> Iterator[Settings]:
    """Points without end that cover the space evenly: a scrambled Sobol sequence (Owen 1998), by scipy."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(num_dimensions(space), seed=seed)
    while True:
        for unit_D in sequence.random(64):
            yield point_at(unit_D.tolist(), space)


def stratified_point(own: Settings, space: Mapping[str, Axis]) -> Settings | None:
    """`own` with equal shares; None where no shares are swept."""
    simplex = {name: axis for name, axis in space.items() if isinstance(axis, SimplexAxis)}
    if not simplex:
        return None
    return own | {name: {part: 1 / len(axis.components) for part in axis.components} for name, axis in simplex.items()}


def key_of(point: Settings) -> str:
    """Equal text for equal points."""
    return json.dumps(point, sort_keys=True)


def _num_levels(axis: Axis) -> int:
    match axis:
        case ValuesAxis():
            return len(axis.values)
        case RangeAxis():
            return axis.levels
        case SimplexAxis():
            number = len(axis.components)
            return math.comb(_free_steps(axis) + number - 1, number - 1)


def _free_steps(axis: SimplexAxis) -> int:
    """Steps that are shared out when every component has its least share."""
    return round((1 - axis.least * len(axis.components)) / axis.step)


def _levels(axis: Axis) -> Iterator[Any]:
    match axis:
        case ValuesAxis():
            yield from axis.values
        case RangeAxis():
            levels = [_between(axis, place) for place in np.linspace(0, 1, axis.levels)]
            yield from dict.fromkeys(levels)
        case SimplexAxis():
            number, free = len(axis.components), _free_steps(axis)
            # Stars and bars: where the bars between the components stand among the steps.
            for bars in itertools.combinations(range(free + number - 1), number - 1):
                ends = (-1, *bars, free + number - 1)
                steps = [right - left - 1 for left, right in itertools.pairwise(ends)]
                yield _named(axis, [axis.least + axis.step * count for count in steps])


def _between(axis: RangeAxis, unit: float) -> float | int:
    if axis.scale == "log":
        value = math.exp(math.log(axis.low) + unit * (math.log(axis.high) - math.log(axis.low)))
    else:
        value = axis.low + unit * (axis.high - axis.low)
    value = min(max(float(f"{value:.4g}"), axis.low), axis.high)
    return round(value) if axis.integer else value


def _shares(unit_K: Sequence[float], axis: SimplexAxis) -> dict[str, float]:
    """Multiples of the step that sum to 1 and lie nearest to where the cube says (largest remainders)."""
    weights_K = -np.log(np.clip(unit_K, 1e-12, 1 - 1e-12))
    free = _free_steps(axis)
    exact_K = free * weights_K / weights_K.sum()
    steps_K = np.floor(exact_K)
    for place in np.argsort(steps_K - exact_K, kind="stable")[: free - int(steps_K.sum())]:
        steps_K[place] += 1
    return _named(axis, [axis.least + axis.step * count for count in steps_K])


def _named(axis: SimplexAxis, shares: Sequence[float]) -> dict[str, float]:
    named = zip(axis.components, shares, strict=True)
    return {component: round(float(share), 9) for component, share in named if share > 1e-9}
