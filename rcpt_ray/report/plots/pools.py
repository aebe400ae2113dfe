"""Use of both pools of a streaming training over time: engines that write, workers that train."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.plots.drawing import COLOURS, Plot, add_legend, drawn, new_axes

_STRETCHES: Final = 60


def plot_pools(arm: ArmResult) -> Plot | None:
    """How busy engines and workers of a streaming training were; the time between a kill and the rerun is cut out."""
    minutes, engines, workers = pool_use([] if arm.timeline is None else arm.timeline.to_pylist())
    if not minutes:
        return None
    title = f"Engines and workers over time, {arm.name}"
    shown = f"engines wrote {statistics.fmean(engines):.0%} and workers trained {statistics.fmean(workers):.0%}"
    alt = f"{title}: {shown} of {minutes[-1]:.1f} minutes."
    return Plot(title, alt, drawn(lambda: _figure(minutes, engines, workers), f"pools-{arm.name}"))


def _figure(minutes: Sequence[float], engines: Sequence[float], workers: Sequence[float]) -> Figure:
    figure, axes = new_axes(3.0, "Time (minutes)", "Share of the pool at work")
    for index, use in enumerate((engines, workers)):
        axes.step(minutes, use, where="post", color=COLOURS[index], linestyle=("-", "--")[index], linewidth=1.4)
    axes.set_ylim(0.0, 1.05)
    lines = [Line2D([], [], color=COLOURS[index], linestyle=("-", "--")[index]) for index in range(2)]
    add_legend(figure, lines, ["engines that write", "workers that train"])
    return figure


def pool_use(timeline: Sequence[dict[str, Any]]) -> tuple[list[float], list[float], list[float]]:
    """Minutes since the start, and the shares of engines and of workers that were at work, in at most 60 stretches.

    Nothing where no command was seen twice.
    """
    spans = [
        (after["time_s"] - before["time_s"], before, after)
        for before, after in pairwise(timeline)
        if before["session"] == after["session"]
    ]
    if not spans:
        return [], [], []
    size, elapsed_s = math.ceil(len(spans) / _STRETCHES), 0.0
    minutes, engines, workers = list[float](), list[float](), list[float]()
    for first in range(0, len(spans), size):
        stretch = spans[first : first + size]
        seconds = max(1e-3, sum(span for span, _, _ in stretch))
        busy_s = sum(span * after["engines_busy"] / max(1, after["engines_most"]) for span, _, after in stretch)
        step_s = sum(max(0.0, after["step_seconds"] - before["step_seconds"]) for _, before, after in stretch)
        minutes.append(elapsed_s / 60)
        engines.append(busy_s / seconds)
        workers.append(min(1.0, step_s / seconds))
        elapsed_s += seconds
    return [*minutes, elapsed_s / 60], [*engines, engines[-1]], [*workers, workers[-1]]
