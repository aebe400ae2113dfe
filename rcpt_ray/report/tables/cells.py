"""How figures are written in cells: the same on the page and in the Markdown."""

import math
from typing import Final

from rcpt_ray.report.statistics.estimates import CONFIDENCE, INSIDE_THE_NOISE, Difference, Estimate
from rcpt_ray.report.statistics.measures import Measure

NOTHING: Final = "–"
_DIGITS: Final = {"bits_per_byte": 4, "gain": 4, "thought_tokens": 1, "thought_sentences": 1}


def count(value: int | None) -> str:
    """`12,345`."""
    return NOTHING if value is None else f"{value:,}"


def percent(share: float | None) -> str:
    """`12.3%`."""
    return NOTHING if share is None else f"{share:.1%}"


def number(value: float | None, num_digits: int, sign: str = "-") -> str:
    """`−1.23`, with a real minus."""
    if value is None:
        return NOTHING
    rounded = round(value, num_digits) + 0.0  # which makes no minus of what rounds to zero
    return f"{rounded:{sign},.{num_digits}f}".replace("-", "−")


def digits_of(measure: Measure) -> int:
    """Digits behind the point that the measure is shown with."""
    return _DIGITS.get(measure.metric, 3)


def estimate_cell(estimate: Estimate | None, num_digits: int = 3) -> str:
    """`0.525 (0.517 to 0.533)`."""
    if estimate is None:
        return NOTHING
    value = number(estimate.value, num_digits)
    if estimate.low is None or estimate.high is None:
        return f"{value} (interval not known)"
    return f"{value} ({number(estimate.low, num_digits)} to {number(estimate.high, num_digits)})"


def difference_cell(difference: Difference | None, num_digits: int = 3) -> str:
    """`+0.031 (+0.012 to +0.050), p 0.004, higher`."""
    if difference is None:
        return NOTHING
    value = number(difference.value, num_digits, sign="+")
    if difference.low is None or difference.high is None:
        return f"{value} (interval not known), {INSIDE_THE_NOISE}"
    low, high = (number(bound, num_digits, sign="+") for bound in (difference.low, difference.high))
    return f"{value} ({low} to {high}), {p_words(difference)}, {difference.verdict}"


def p_words(difference: Difference) -> str:
    """`p 0.004`, adjusted where it was; never rounded across the line between noise and difference."""
    p_value = difference.p_value if difference.adjusted_p is None else difference.adjusted_p
    if p_value is None:
        return "p not known"
    if p_value < 0.001:
        return "p < 0.001"
    limit = 1 - CONFIDENCE
    shown = math.floor(p_value * 1000) / 1000 if p_value < limit else p_value
    return "p 1" if shown >= 0.9995 else f"p {shown:.3f}"
