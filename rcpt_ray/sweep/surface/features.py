"""Points as rows of numbers for a regression.

    N points, F columns, C coordinates

Every column runs from -1 to 1 over its axis, so that one prior of smoothness suits all: numbers and shares linearly,
or in their logarithm where the axis is logarithmic. Names have a column each, and two of them are 2 apart like the ends
of a number. A point may lie off the lattice of its axis (a share of 1/3 with steps of 0.25).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rcpt_ray.sweep.space import Coordinate, Floats, Settings, coordinates_of, position_of
from rcpt_ray.sweep.spec import Axis

Position = Mapping[str, float | str]
"""A point's value in each coordinate, by its name."""


def features_of(points: Sequence[Settings], space: Mapping[str, Axis]) -> Floats:
    """features_NF of points."""
    return features_at([position_of(point, space) for point in points], space)


def features_at(positions: Sequence[Position], space: Mapping[str, Axis]) -> Floats:
    """features_NF of positions.

    Example: {a: 0.25, b: 0.75, layout: packed} of shares a, b and layouts packed, interleaved -> [-0.5, 0.5, 1.4, 0]
    """
    coordinates = coordinates_of(space)
    rows = [[number for one in coordinates for number in _numbers(position[one.name], one)] for position in positions]
    return np.array(rows, dtype=np.float64).reshape(len(positions), len(coordinate_of_columns(space)))


def coordinate_of_columns(space: Mapping[str, Axis]) -> list[int]:
    """For each of F columns the number of its coordinate among C."""
    return [number for number, one in enumerate(coordinates_of(space)) for _ in range(max(1, len(one.names)))]


def _numbers(value: float | str, coordinate: Coordinate) -> list[float]:
    if coordinate.names:
        return [math.sqrt(2) * (value == name) for name in coordinate.names]
    low, high, value = coordinate.low, coordinate.high, float(value)
    if coordinate.is_log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return [2 * (value - low) / (high - low) - 1]
