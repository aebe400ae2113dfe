"""Which axes a surface depends on, and how.

Importance is the total effect of Sobol and Jansen: the share of the surface's variance over the space that would stay
if all but this axis were fixed (Saltelli et al. 2010, doi:10.1016/j.cpc.2009.09.018, table 2 f). Axes that work
together are counted with both, so the sum may exceed 1. scipy's sobol_indices knows no axis of several dimensions, as
shares are. Shares of a mixture come from independent numbers, divided by their sum, so that a component by itself
means: more or less of it, the others in proportion.

Price: 512 points an axis and a component, 0.2 s for a space of three shares and a length.
"""

from collections.abc import Mapping

import numpy as np

from rcpt_ray.sweep.space import Coordinate, Floats, Settings, coordinates_of, num_dimensions, point_at, position_of
from rcpt_ray.sweep.spec import Axis, SimplexAxis, ValuesAxis
from rcpt_ray.sweep.surface.features import Position
from rcpt_ray.sweep.surface.fit import Surface

_NUM_POINTS = 512
_NUM_ALONG = 33


def importance(surface: Surface, space: Mapping[str, Axis], seed: int) -> dict[str, float]:
    """By setting, and by component where the setting is shares; all 0 where the surface is flat."""
    from scipy.stats import qmc

    dimensions = num_dimensions(space)
    pairs = qmc.Sobol(2 * dimensions, seed=seed).random(_NUM_POINTS)
    one_ND, other_ND = pairs[:, :dimensions], pairs[:, dimensions:]

    def response(unit_ND: Floats) -> Floats:
        return surface.means([point_at(unit_D, space) for unit_D in unit_ND.tolist()])

    one_N = response(one_ND)
    variance = float(np.var(np.concatenate([one_N, response(other_ND)])))
    shares: dict[str, float] = {}
    for name, places in _dimensions_of(space).items():
        changed_ND = one_ND.copy()
        changed_ND[:, places] = other_ND[:, places]
        effect = float(np.mean(np.square(one_N - response(changed_ND)))) / 2
        shares[name] = effect / variance if variance > 0 else 0.0
    return shares


def along(
    surface: Surface, space: Mapping[str, Axis], coordinate: str, point: Settings, confidence: float
) -> list[tuple[float | str, float, float, float]]:
    """(value, mean, low, high) of the response where one coordinate varies through a point.

    Intervals are for each value by itself. Of shares the other components keep their proportions.

    Args:
        surface: What to ask.
        space: Of the sweep.
        coordinate: Its name: a setting, or a component of shares.
        point: Where the other coordinates stand.
        confidence: How often an interval holds the mean response.
    """
    from scipy.stats import t as student

    varied = next(one for one in coordinates_of(space) if one.name == coordinate)
    own = position_of(point, space)
    axis = space[varied.axis]
    positions: list[Position] = []
    for value in _values(varied, axis, own[coordinate]):
        moved = own | {coordinate: value}
        if isinstance(axis, SimplexAxis):
            moved |= _others(axis, coordinate, float(value), own)
        positions.append(moved)
    mean_N, deviation_N = surface.at(positions)
    half_N = deviation_N * float(student.isf((1 - confidence) / 2, surface.degrees))
    return [
        (position[coordinate], float(mean), float(mean - half), float(mean + half))
        for position, mean, half in zip(positions, mean_N, half_N, strict=True)
    ]


def _dimensions_of(space: Mapping[str, Axis]) -> dict[str, list[int]]:
    """Dimensions of the unit cube by setting, and by component of shares."""
    places: dict[str, list[int]] = {}
    first = 0
    for setting, axis in space.items():
        components = axis.components if isinstance(axis, SimplexAxis) else []
        places[setting] = list(range(first, first + max(1, len(components))))
        places |= {component: [first + number] for number, component in enumerate(components)}
        first += len(places[setting])
    return places


def _values(varied: Coordinate, axis: Axis, own: float | str) -> list[float | str]:
    """Names as they are; numbers from end to end, evenly, and the point's own."""
    match axis:
        case ValuesAxis() if varied.names:
            return list(varied.names)
        case ValuesAxis():
            spaced = {float(value) for value in axis.values}
        case _ if varied.is_log:
            spaced = set(np.geomspace(varied.low, varied.high, _NUM_ALONG).tolist())
        case _:
            spaced = set(np.linspace(varied.low, varied.high, _NUM_ALONG).tolist())
    # The ends of a geometric row are not exact.
    numbers = {min(max(number, varied.low), varied.high) for number in spaced}
    return sorted(numbers | {float(own)})


def _others(axis: SimplexAxis, component: str, share: float, own: Position) -> dict[str, float]:
    """The other shares if this one is `share`: what they have above the least keeps its proportions.

    Example: {a: 0.5, b: 0.3, c: 0.2} with a=0 -> {b: 0.6, c: 0.4}
    """
    above = {name: float(own[name]) - axis.least for name in axis.components if name != component}
    total = sum(above.values())
    free = 1 - share - axis.least * len(above)
    return {
        name: axis.least + free * (more / total if total > 1e-9 else 1 / len(above)) for name, more in above.items()
    }
