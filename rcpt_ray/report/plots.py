"""The report's plots: curves of the trainings, bits per byte, accuracy, lengths of thoughts, use of the pools.

A plot without figures is left out. Price: about 0.1 s a plot.
"""

import math
import statistics
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rcpt_ray.report.drawing import COLOURS, MARKERS, STYLE, Plot, add_legend, as_svg, handle, new_axes
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.pool_plots import plot_pools
from rcpt_ray.report.statistics import CHANCE, ArmFigures, Estimate
from rcpt_ray.report.training_plots import plot_trainings


def make_plots(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> list[Plot]:
    """Every plot that has figures, in the order of the report."""
    with matplotlib.rc_context(STYLE):
        plots = [
            *plot_trainings(inputs.arms),
            _plot_bits_per_byte(figures),
            _plot_accuracy(figures),
            _plot_thought_tokens(inputs.thought_tokens),
            *(plot_pools(arm) for arm in inputs.arms),
        ]
    return [plot for plot in plots if plot is not None]


def _plot_bits_per_byte(figures: Sequence[ArmFigures]) -> Plot | None:
    domains = list(dict.fromkeys(domain for arm in figures for domain in arm.bits_per_byte))
    if not domains:
        return None
    title = "Held-out bits per byte, 95% intervals"
    figure, axes = new_axes(
        title, 1.5 + 0.2 * len(domains) * (len(figures) + 1), "Bits per byte (less is better)", "Domain"
    )
    for index, arm in enumerate(figures):
        places = [domains.index(domain) + _offset(index, len(figures)) for domain in arm.bits_per_byte]
        _draw_estimates(axes, list(arm.bits_per_byte.values()), places, index, "interval")
    axes.set_yticks(range(len(domains)), domains)
    axes.invert_yaxis()
    add_legend(axes, [handle(index) for index in range(len(figures))], [arm.name for arm in figures])
    said = [
        f"{arm.name} {arm.bits_per_byte[domains[0]].value:.3f}" for arm in figures if domains[0] in arm.bits_per_byte
    ]
    return Plot(title, f"{title}. In {domains[0]}: {', '.join(said)}.", as_svg(figure, "bits"))


def _plot_accuracy(figures: Sequence[ArmFigures]) -> Plot | None:
    tasks = sorted({task for arm in figures for task in arm.accuracy})
    if not tasks:
        return None
    title = "Accuracy by arm, standard errors"
    figure, axes = new_axes(
        title, 1.6 + 0.2 * len(figures) * (len(tasks) + 0.8), "Accuracy (share of right answers)", "Arm"
    )
    for index, task in enumerate(tasks):
        measured = [(place, arm.accuracy[task]) for place, arm in enumerate(figures) if task in arm.accuracy]
        places = [place + _offset(index, len(tasks)) for place, _ in measured]
        _draw_estimates(axes, [estimate for _, estimate in measured], places, index, "standard error")
    axes.axvline(CHANCE, color="#555555", linestyle="--", linewidth=1.2)
    axes.set_xlim(0.0, 1.0)
    axes.set_yticks(range(len(figures)), [arm.name for arm in figures])
    axes.set_ylim(len(figures) - 0.5, -0.5)
    handles = [*(handle(index) for index in range(len(tasks))), Line2D([], [], color="#555555", linestyle="--")]
    add_legend(axes, handles, [*tasks, f"chance ({CHANCE})"])
    said = [f"{arm.name} {estimate.value:.3f} on {task}" for arm in figures for task, estimate in arm.accuracy.items()]
    return Plot(title, f"{title}, chance at {CHANCE}: {', '.join(said)}.", as_svg(figure, "accuracy"))


def _plot_thought_tokens(num_tokens: Sequence[int]) -> Plot | None:
    if not num_tokens:
        return None
    title = "Length of the thoughts that were kept"
    figure, axes = new_axes(title, 3.0, "Length (tokens of the teacher)", "Number of thoughts")
    axes.hist(num_tokens, bins=min(30, max(1, math.isqrt(len(num_tokens)) + 1)), color=COLOURS[0], edgecolor="white")
    median = statistics.median(num_tokens)
    line = axes.axvline(median, color=COLOURS[1], linestyle="--", linewidth=1.4)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes, [line], [f"median, {median:g} tokens"])
    shown = f"{len(num_tokens):,} thoughts, {min(num_tokens):,} to {max(num_tokens):,} tokens, median {median:g}"
    return Plot(title, f"{title}: {shown}.", as_svg(figure, "lengths"))


def _draw_estimates(axes: Axes, estimates: Sequence[Estimate], places: Sequence[float], index: int, bar: str) -> None:
    """Estimates as points at heights `places`, with bars to their interval or one standard error either way."""
    values = [estimate.value for estimate in estimates]
    if bar == "interval":
        below = [estimate.value - (estimate.value if estimate.low is None else estimate.low) for estimate in estimates]
        above = [
            (estimate.value if estimate.high is None else estimate.high) - estimate.value for estimate in estimates
        ]
    else:
        below = above = [estimate.standard_error or 0.0 for estimate in estimates]
    axes.errorbar(
        values,
        places,
        xerr=[below, above],
        fmt=MARKERS[index % len(MARKERS)],
        color=COLOURS[index % len(COLOURS)],
        markersize=5,
        capsize=3,
        linewidth=1.4,
    )


def _offset(index: int, number: int) -> float:
    """Where the index-th of `number` points stands beside a tick: symmetric, within 0.4 of it."""
    return 0.8 * ((index + 0.5) / number - 0.5)
