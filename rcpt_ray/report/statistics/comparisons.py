"""Correction for many comparisons: a table of differences shows some that are far from zero by chance alone.

Holm's (Scandinavian Journal of Statistics 6, 1979) keeps the chance of calling any equal pair of a table different
below 5%, however the comparisons depend on each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from rcpt_ray.report.statistics.estimates import Difference

K = TypeVar("K")


def correct(differences: Mapping[K, Difference]) -> dict[K, Difference]:
    """The differences of one table with their adjusted p values; those without a p value are no comparisons."""
    tested = [key for key, difference in differences.items() if difference.p_value is not None]
    adjusted = dict(zip(tested, holm([differences[key].p_value or 0.0 for key in tested]), strict=True))
    return {
        key: replace(difference, adjusted_p=adjusted[key]) if key in adjusted else difference
        for key, difference in differences.items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given.

    Example: 0.01, 0.04, 0.03 become 0.03, 0.06, 0.06.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
