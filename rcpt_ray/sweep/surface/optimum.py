"""Where a surface is best, and what cannot be told from it.

Only candidates are chosen, are rivals of the best and are in its region.

Price: after 50 points 0.3 s for a space with ranges, less for a small grid; besides some 300 questions whether a rule
allows a member.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rcpt_ray.sweep.space import Settings, coordinates_of, key_of, position_of
from rcpt_ray.sweep.spec import Axis
from rcpt_ray.sweep.surface.candidates import NOTHING, Barred, Candidates, anything
from rcpt_ray.sweep.surface.fit import Observations, Surface
from rcpt_ray.sweep.surface.members import is_member, members_of
from rcpt_ray.sweep.surface.region import Goal, Region

_NUM_RIVALS = 256

Extent = tuple[float, float] | tuple[str, ...]


@dataclass(frozen=True)
class Optimum:
    """The best of a surface, and the region that holds the true best at the confidence."""

    point: Settings
    """A member of the space that can be had: the best by the surface's mean."""
    value: float
    """The mean response there."""
    low: float
    """Of an interval that holds the mean response, whichever point had been the best. As every surface through noise,
    this one rounds off peaks: the top of a narrow one may lie outside more often than the confidence says."""
    high: float
    region: dict[str, Extent]
    """By coordinate, from where to where (or which names) settings cannot be told from the best."""
    share: float
    """Of the members that any is compared with, those in the region."""
    indistinguishable: list[int]
    """The places among the points tried of those that cannot be told from the best."""
    _region: Region = field(repr=False)
    _candidates: Candidates = field(repr=False)

    def holds(self, point: Settings) -> bool:
        """Whether a point of the space lies in the region itself, not only in its extent."""
        return self.holds_all([point])[0]

    def holds_all(self, points: Sequence[Settings]) -> list[bool]:
        """The same of many points, each by itself; those that stand on the same trainings are held together."""
        groups = [self._candidates.alike(point) for point in points]
        asked = {key_of(one): one for group in groups for one in group}
        held = dict(zip(asked, self._region.holds(list(asked.values())), strict=True)) if asked else {}
        near = self._candidates.near_known(points).tolist()
        return [
            any(held[key_of(one)] for one in group) and is_near and self._candidates.allows(point)
            for point, group, is_near in zip(points, groups, near, strict=True)
        ]


def find_optimum(
    surface: Surface,
    space: Mapping[str, Axis],
    observations: Observations,
    goal: Goal,
    confidence: float,
    seed: int,
    allowed: Callable[[Settings], bool] = anything,
    barred: Barred = NOTHING,
) -> Optimum:
    """The best of the surface over the candidates of the space; the same seed finds the same.

    Args:
        surface: Fitted to the observations.
        space: Of the sweep.
        observations: What was tried.
        goal: Which way is better.
        confidence: At least how often region and interval hold what they are of.
        seed: Of the points that are looked at and of the draws.
        allowed: Whether no rule of the recipe refuses a member.
        barred: What was tried without a figure.
    """
    candidates = Candidates(space, observations, barred, allowed)
    members = members_of(space, observations.points, seed)
    members = [point for point, near in zip(members, candidates.near_known(members), strict=True) if near]
    place = _best_place(surface, members, goal, candidates)
    if place is None:
        # No member is left: what was tried may lie off the lattice of the space, as equal shares do.
        members = list(observations.points)
        place = _best_place(surface, members, goal, candidates)
        assert place is not None
    best = members[place]
    rivals = _rivals(best, members, space, observations, seed, candidates)
    region = Region(surface, rivals, goal, confidence, seed)
    mean_N, variance_N, _ = surface.joint([best], [])
    half = region.width * float(variance_N[0]) ** 0.5
    inside = [point for point, holds in zip(members, region.holds(members), strict=True) if holds]
    keys = {key_of(point) for point in inside}
    found = Optimum(
        point=best,
        value=float(mean_N[0]),
        low=float(mean_N[0]) - half,
        high=float(mean_N[0]) + half,
        region=_extent(inside, space, candidates),
        share=float(np.mean([key_of(point) in keys for point in rivals])),
        indistinguishable=[],
        _region=region,
        _candidates=candidates,
    )
    return replace(found, indistinguishable=np.flatnonzero(found.holds_all(observations.points)).tolist())


def _best_place(surface: Surface, members: Sequence[Settings], goal: Goal, candidates: Candidates) -> int | None:
    if not members:
        return None
    mean_N = surface.means(members)
    order = np.argsort(mean_N if goal == "minimize" else -mean_N, kind="stable")
    return next((int(place) for place in order if candidates.allows(members[place])), None)


def _rivals(
    best: Settings,
    members: Sequence[Settings],
    space: Mapping[str, Axis],
    observations: Observations,
    seed: int,
    candidates: Candidates,
) -> list[Settings]:
    """All members that are allowed where they are few; else the best, those that were tried and some at random."""
    if len(members) <= _NUM_RIVALS:
        return [point for point in members if candidates.allows(point)]
    mixed = [members[place] for place in np.random.default_rng(seed).permutation(len(members))]
    first = [best, *(point for point in observations.points if is_member(point, space))]
    distinct = {key_of(point): point for point in [*first, *mixed]}
    rivals = (point for point in distinct.values() if candidates.allows(point))
    return list(itertools.islice(rivals, max(_NUM_RIVALS, len(first))))


def _extent(points: Sequence[Settings], space: Mapping[str, Axis], candidates: Candidates) -> dict[str, Extent]:
    """From the first to the last that is allowed, so that few need be asked about."""
    positions = [position_of(point, space) for point in points]
    extent: dict[str, Extent] = {}
    for one in coordinates_of(space):
        by_value: dict[float | str, list[Settings]] = {}
        for point, position in zip(points, positions, strict=True):
            by_value.setdefault(position[one.name], []).append(point)

        def is_held(value: float | str, found: Mapping[float | str, list[Settings]] = by_value) -> bool:
            return any(candidates.allows(point) for point in found.get(value, []))

        if one.names:
            extent[one.name] = tuple(name for name in one.names if is_held(name))
        else:
            values = sorted(map(float, by_value))
            extent[one.name] = (next(filter(is_held, values)), next(filter(is_held, reversed(values))))
    return extent
