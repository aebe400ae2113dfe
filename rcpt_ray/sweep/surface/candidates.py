"""Which members of a space can be had, and where the surface knows nothing.

    N points, F columns

A member is no candidate where a rule of the recipe refuses it, where all its trials were refused, or where it lies
nearer to a trial without a figure (a stopped one, say) than to any with one: what the surface makes up there is neither
an answer nor a rival of one.

Price: a rule is asked once a member, and only where the answer depends on it; all else is a distance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rcpt_ray.sweep.space import Settings
from rcpt_ray.sweep.spec import Axis
from rcpt_ray.sweep.surface.features import features_of
from rcpt_ray.sweep.surface.fit import Observations
from rcpt_ray.sweep.tried import place_of


@dataclass(frozen=True)
class Barred:
    """What was tried and has no figure, or not of every seed."""

    refused: Sequence[Settings] = ()
    """Left out themselves."""
    unknown: Sequence[Settings] = ()
    """Left out with what lies nearer to them than to what is known."""


NOTHING = Barred()


def anything(_: Settings) -> bool:
    """A space in which no rule refuses a member."""
    return True


class Candidates:
    """Judges points; an answer does not depend on what else is asked."""

    def __init__(
        self, space: Mapping[str, Axis], observations: Observations, barred: Barred, allowed: Callable[[Settings], bool]
    ) -> None:
        """`allowed` says whether a rule of the recipe lets a member be."""
        self._space = space
        self._allowed = allowed
        self._answers: dict[str, bool] = {}
        self._refused = {place_of(point, space) for point in barred.refused}
        self._known_NF = features_of(observations.points, space)
        self._unknown_NF = features_of(barred.unknown, space)
        self._groups: dict[str, list[Settings]] = {}
        for places in observations.places_of_measured:
            group = [observations.points[place] for place in places]
            self._groups |= {place_of(point, space): group for point in group}

    def near_known(self, points: Sequence[Settings]) -> npt.NDArray[np.bool_]:
        """near_N: whether each was not refused itself and lies at least as near to a figure as to none."""
        near_N = np.array([place_of(point, self._space) not in self._refused for point in points], dtype=np.bool_)
        if len(self._unknown_NF) and len(points):
            features_NF = features_of(points, self._space)
            near_N &= _distance(features_NF, self._known_NF) <= _distance(features_NF, self._unknown_NF) + 1e-9
        return near_N

    def allows(self, point: Settings) -> bool:
        """Whether no rule refuses a point; what was measured needs no question."""
        key = place_of(point, self._space)
        if key not in self._answers:
            self._answers[key] = key in self._groups or self._allowed(point)
        return self._answers[key]

    def alike(self, point: Settings) -> list[Settings]:
        """The points that stand on the same trainings as this one, which is one of them; itself where it has none."""
        return self._groups.get(place_of(point, self._space), [point])


def _distance(features_NF: npt.NDArray[np.float64], others_MF: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """distance_N squared of each to the nearest of the others."""
    from scipy.spatial.distance import cdist

    nearest_N: npt.NDArray[np.float64] = cdist(features_NF, others_MF, "sqeuclidean").min(1)
    return nearest_N
