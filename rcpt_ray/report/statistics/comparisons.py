"""Correction for many comparisons: a table of differences shows some that are far from zero by chance alone.

`holm` keeps the chance of calling any equal pair different below 5% over the whole table (Holm, Scandinavian Journal of
Statistics 6, 1979; the comparisons may depend on each other in any way). `false_discovery` keeps the expected share of
wrong calls among all calls below 5% (Benjamini and Hochberg, JRSS B 57, 1995), for tables of many subjects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from scipy import stats

from rcpt_ray.report.statistics.estimates import Difference

Correction = Literal["holm", "false_discovery"]
K = TypeVar("K")


def correct(differences: Mapping[K, Difference], method: Correction = "holm") -> dict[K, Difference]:
    """The differences of one table with their adjusted p values; those without a p value are no comparisons."""
    tested = [key for key, difference in differences.items() if difference.p_value is not None]
    adjusted = dict(zip(tested, adjust([differences[key].p_value or 0.0 for key in tested], method), strict=True))
    return {
        key: replace(difference, adjusted_p=adjusted[key]) if key in adjusted else difference
        for key, difference in differences.items()
    }


def adjust(p_values: Sequence[float], method: Correction) -> list[float]:
    """Adjusted p values, in the order given.

    Example: Holm turns 0.01, 0.04, 0.03 into 0.03, 0.06, 0.06.
    """
    match method:
        case "holm":
            return _holm(p_values)
        case "false_discovery":
            return [float(p_value) for p_value in stats.false_discovery_control(p_values)] if p_values else []


def _holm(p_values: Sequence[float]) -> list[float]:
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
