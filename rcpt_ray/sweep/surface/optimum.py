"""Where a surface is best, and what cannot be told from it.

Price: after 50 points 0.3 s for a space with ranges, less for a small grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rcpt_ray.sweep.space import Settings, coordinates_of, key_of, position_of
from rcpt_ray.sweep.spec import Axis
from rcpt_ray.sweep.surface.fit import Observations, Surface
from rcpt_ray.sweep.surface.members import is_member, members_of
from rcpt_ray.sweep.surface.region import Goal, Region

_NUM_RIVALS = 256

Extent = tuple[float, float] | tuple[str, ...]


@dataclass(frozen=True)
class Optimum:
    """The best of a surface, and the region that holds the true best at the confidence."""

    point: Settings
    """A member of the space: the best by the surface's mean."""
    value: float
    """The mean response there."""
    low: float
    """Of an interval that holds the mean response, whichever point had been the best. As every surface through noise,
    this one rounds off peaks: the top of a narrow one may lie outside more often than the confidence says."""
    high: float
    region: dict[str, Extent]
    """By coordinate, from where to where (or which names) settings cannot be told from the best."""
    share: float
    """Of the members of the space that were looked at, those in the region."""
    indistinguishable: list[int]
    """The places among the points tried of those that cannot be told from the best."""
    _region: Region = field(repr=False)

    def holds(self, point: Settings) -> bool:
        """Whether a point of the space lies in the region itself, not only in its extent."""
        return bool(self._region.holds([point])[0])


def find_optimum(
    surface: Surface,
    space: Mapping[str, Axis],
    observations: Observations,
    goal: Goal,
    confidence: float,
    seed: int,
) -> Optimum:
    """The best of the surface over the space; the same seed finds the same.

    Args:
        surface: Fitted to the observations.
        space: Of the sweep.
        observations: What was tried.
        goal: Which way is better.
        confidence: At least how often region and interval hold what they are of.
        seed: Of the points that are looked at and of the draws.
    """
    members = members_of(space, observations.points, seed)
    mean_N = surface.means(members)
    place = int(np.argmin(mean_N) if goal == "minimize" else np.argmax(mean_N))
    best = members[place]
    region = Region(surface, _rivals(best, members, space, observations, seed), goal, confidence, seed)
    holds_N = region.holds(members)
    _, variance_N, _ = surface.joint([best], [])
    half = region.width * float(variance_N[0]) ** 0.5
    return Optimum(
        point=best,
        value=float(mean_N[place]),
        low=float(mean_N[place]) - half,
        high=float(mean_N[place]) + half,
        region=_extent([point for point, holds in zip(members, holds_N, strict=True) if holds], space),
        share=float(holds_N.mean()),
        indistinguishable=np.flatnonzero(region.holds(observations.points)).tolist(),
        _region=region,
    )


def _rivals(
    best: Settings, members: Sequence[Settings], space: Mapping[str, Axis], observations: Observations, seed: int
) -> list[Settings]:
    """All members where they are few; else the best, those that were tried and some at random."""
    if len(members) <= _NUM_RIVALS:
        return list(members)
    mixed = [members[place] for place in np.random.default_rng(seed).permutation(len(members))]
    first = [best, *(point for point in observations.points if is_member(point, space))]
    rivals = {key_of(point): point for point in [*first, *mixed]}
    return list(rivals.values())[: max(_NUM_RIVALS, len(first))]


def _extent(points: Sequence[Settings], space: Mapping[str, Axis]) -> dict[str, Extent]:
    positions = [position_of(point, space) for point in points]
    extent: dict[str, Extent] = {}
    for one in coordinates_of(space):
        found = {position[one.name] for position in positions}
        if one.names:
            extent[one.name] = tuple(name for name in one.names if name in found)
        else:
            extent[one.name] = (min(map(float, found)), max(map(float, found)))
    return extent
