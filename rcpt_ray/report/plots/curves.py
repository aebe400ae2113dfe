"""Curves of arms, one panel a training domain, an arm in one colour and marker throughout.

A curve of several seeds is their mean with a band from the least to the most. A curve of many points is drawn as the
means of as many stretches as the plot can show, so that the page stays small; what was not recorded leaves a gap.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rcpt_ray.report.lines import Line
from rcpt_ray.report.plots.drawing import (
    GROUND,
    LINES,
    SOFT,
    Plot,
    add_legend,
    colour_of,
    drawn,
    handle,
    marker_of,
    new_panels,
)

_MARKED_POINTS: Final = 40
"""Curves of at most so many points show each of them."""
_MOST_POINTS: Final = 300


@dataclass(frozen=True)
class Curve:
    """One line's curve, in the kind-th line style; x and y are equally long, low and high too or empty."""

    line: Line
    kind: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Frame:
    """What stands around the curves."""

    title: str
    x_label: str
    y_label: str
    kinds: Sequence[str] = ()
    """Names of the line styles, where there is more than one."""
    x_ticks: Sequence[str] = ()
    """Names of x = 0, 1, 2, ... where x is no number."""
    zero_line: bool = False
    folded: bool = False


def over_seeds(line: Line, kind: int, curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Curve:
    """The mean of several seeds' points (x, y) at each x that one of them has, with a band where there are several."""
    if len(curves) == 1:
        return Curve(line, kind, *curves[0])
    steps = sorted({x for xs, _ in curves for x in xs})
    place = {x: index for index, x in enumerate(steps)}
    values = np.full((len(curves), len(steps)), np.nan)
    for seed, (xs, ys) in enumerate(curves):
        values[seed, [place[x] for x in xs]] = ys
    some = np.isfinite(values).any(axis=0)
    mean, low, high = (np.full(len(steps), np.nan) for _ in range(3))
    mean[some], low[some], high[some] = (
        reduce(values[:, some], axis=0) for reduce in (np.nanmean, np.nanmin, np.nanmax)
    )
    return Curve(line, kind, steps, mean.tolist(), low.tolist(), high.tolist())


def plot_curves(frame: Frame, curves: Sequence[Curve], arms: Sequence[str], said: Sequence[str]) -> Plot | None:
    """The plot; `arms` in their order give colours, `said` tells each curve in words. None without curves."""
    if not curves:
        return None
    said_of_all = f"{frame.title}: {'; '.join(said)}."
    return Plot(frame.title, said_of_all, drawn(lambda: _figure(frame, curves, arms), frame.title), frame.folded)


def _figure(frame: Frame, curves: Sequence[Curve], arms: Sequence[str]) -> Figure:
    domains = [name for name in dict.fromkeys(curve.line.domain for curve in curves) if name] or [""]
    titles = [f"trained on {domain}" if domain else "" for domain in domains]
    figure, panels = new_panels(titles, 2.5 if len(domains) > 1 else 3.2, frame.x_label, frame.y_label)
    for domain, axes in zip(domains, panels, strict=True):
        own = [curve for curve in curves if curve.line.domain in ("", domain)]
        for place, curve in enumerate(own):
            _draw(axes, curve, arms.index(curve.line.arm), _shift(place, len(own)) if frame.x_ticks else 0.0)
        if frame.zero_line:
            axes.axhline(0.0, color=SOFT, linestyle="--", linewidth=1.0)
    _limit(panels[0], curves)
    if frame.x_ticks:
        panels[-1].set_xticks(range(len(frame.x_ticks)), frame.x_ticks)
    else:
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    shown = sorted({arms.index(curve.line.arm) for curve in curves})
    handles, names = [handle(index) for index in shown], [arms[index] for index in shown]
    kinds = sorted({curve.kind for curve in curves})
    if len(kinds) > 1:
        handles += [Line2D([], [], color=SOFT, linestyle=LINES[kind % len(LINES)]) for kind in kinds]
        names += [frame.kinds[kind] for kind in kinds]
    add_legend(figure, handles, names)
    return figure


def arms_of(lines: Sequence[Line]) -> list[str]:
    """The arms in the order in which they have their colours."""
    return list(dict.fromkeys(line.arm for line in lines))


def _draw(axes: Axes, curve: Curve, index: int, shift: float) -> None:
    few = len(curve.x) <= _MARKED_POINTS
    thin: Callable[[Sequence[float]], Sequence[float]] = (lambda values: values) if few else _thinned
    x, y = np.asarray(thin(curve.x), np.float64) + shift, np.asarray(thin(curve.y), np.float64)
    look: dict[str, Any] = {"color": colour_of(index), "linewidth": 1.4, "markersize": 4.0}
    look |= {"markerfacecolor": GROUND} if curve.kind else {}
    look |= {"linestyle": LINES[curve.kind % len(LINES)], "marker": marker_of(index) if few else ""}
    if len(curve.low) and shift:
        low, high = (np.asarray(side, np.float64) for side in (curve.low, curve.high))
        axes.errorbar(x, y, yerr=np.maximum([y - low, high - y], 0.0), capsize=2.5, **look)
        return
    axes.plot(x, y, **look)
    if len(curve.low):
        axes.fill_between(x, thin(curve.low), thin(curve.high), color=colour_of(index), alpha=0.18, linewidth=0)


def _limit(axes: Axes, curves: Sequence[Curve]) -> None:
    """Let intervals that are far wider than most leave the panel, so that the others can be read."""
    widths = [high - low for curve in curves for low, high in zip(curve.low, curve.high, strict=True)]
    values = [value for curve in curves for value in curve.y if math.isfinite(value)]
    if not widths or not values:
        return
    room = 1.5 * float(np.nanmedian(widths))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, min(values) - room), min(high, max(values) + room))


def _shift(place: int, number: int) -> float:
    """Beside its tick and never on it, so that error bars are apart."""
    return 0.36 * ((place + 0.5) / number - 0.5) or 1e-6


def _thinned(values: Sequence[float]) -> list[float]:
    """At most _MOST_POINTS means of neighbours; a stretch of gaps stays one."""
    parts = np.array_split(np.asarray(values, np.float64), min(len(values), _MOST_POINTS))
    return [float(np.nanmean(part)) if np.isfinite(part).any() else math.nan for part in parts]
