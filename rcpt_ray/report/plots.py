"""The report's plots as inline SVG: losses, bits per byte, accuracy, lengths of thoughts, use of the pools.

Invariants: the same figures give the same bytes (fixed salt for ids, no dates); ids differ between the plots of a page;
text stays text and names from data are never read as formulas; colours are Okabe and Ito's, which colour-blind readers
tell apart, and every arm has a marker of its own as well. A plot without figures is left out.
Price: about 0.1 s a plot.
"""

import io
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.statistics import CHANCE, ArmFigures, Estimate

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<")
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.0,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
}
_WIDTH_INCHES: Final = 4.6
_LETTERS_IN_WIDTH: Final = 54
_MARKED_STEPS: Final = 40
"""Curves of at most so many steps show each of them."""
_STRETCHES: Final = 60


@dataclass(frozen=True)
class Plot:
    """A plot as an `<svg>` element, and what it shows in words."""

    title: str
    alt: str
    svg: str


def make_plots(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> list[Plot]:
    """Every plot that has figures, in the order of the report."""
    with matplotlib.rc_context(_STYLE):
        plots = [
            _plot_losses(inputs.arms),
            _plot_bits_per_byte(figures),
            _plot_accuracy(figures),
            _plot_thought_tokens(inputs.thought_tokens),
            *(_plot_pools(arm) for arm in inputs.arms),
        ]
    return [plot for plot in plots if plot is not None]


def _plot_losses(arms: Sequence[ArmResult]) -> Plot | None:
    trained = [
        (index, arm.name, arm.steps.sort_by("step").to_pydict())
        for index, arm in enumerate(arms)
        if arm.steps is not None and len(arm.steps)
    ]
    if not trained:
        return None
    title = "Training loss by step"
    figure, axes = _axes(title, 3.3, "Optimizer step", "Loss (nats per token)")
    ends, has_text = [], False
    for index, name, columns in trained:
        steps, losses = columns["step"], columns["loss"]
        texts = [math.nan if loss is None else loss for loss in columns["loss_text"]]
        look: dict[str, Any] = {"color": _COLOURS[index % len(_COLOURS)], "linewidth": 1.4, "markersize": 3.5}
        marker = _MARKERS[index % len(_MARKERS)] if len(steps) <= _MARKED_STEPS else ""
        axes.plot(steps, losses, marker=marker, **look)
        if any(math.isfinite(loss) for loss in texts):
            axes.plot(steps, texts, linestyle="--", marker=marker, markerfacecolor="white", **look)
            has_text = True
        ends.append(f"{name} from {losses[0]:.2f} to {losses[-1]:.2f}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [_handle(index) for index, _, _ in trained]
    names = [name for _, name, _ in trained]
    if has_text:
        handles += [Line2D([], [], color="#555555"), Line2D([], [], color="#555555", linestyle="--")]
        names += ["all tokens (solid)", "text alone (dashed)"]
    _legend(axes, handles, names)
    return Plot(title, f"{title}, nats per token: {'; '.join(ends)}.", _svg(figure, "losses"))


def _plot_bits_per_byte(figures: Sequence[ArmFigures]) -> Plot | None:
    domains = list(dict.fromkeys(domain for arm in figures for domain in arm.bits_per_byte))
    if not domains:
        return None
    title = "Held-out bits per byte, 95% intervals"
    figure, axes = _axes(
        title, 1.5 + 0.2 * len(domains) * (len(figures) + 1), "Bits per byte (less is better)", "Domain"
    )
    for index, arm in enumerate(figures):
        places = [domains.index(domain) + _offset(index, len(figures)) for domain in arm.bits_per_byte]
        _draw_estimates(axes, list(arm.bits_per_byte.values()), places, index, "interval")
    axes.set_yticks(range(len(domains)), domains)
    axes.invert_yaxis()
    _legend(axes, [_handle(index) for index in range(len(figures))], [arm.name for arm in figures])
    said = [
        f"{arm.name} {arm.bits_per_byte[domains[0]].value:.3f}" for arm in figures if domains[0] in arm.bits_per_byte
    ]
    return Plot(title, f"{title}. In {domains[0]}: {', '.join(said)}.", _svg(figure, "bits"))


def _plot_accuracy(figures: Sequence[ArmFigures]) -> Plot | None:
    tasks = sorted({task for arm in figures for task in arm.accuracy})
    if not tasks:
        return None
    title = "Accuracy by arm, standard errors"
    figure, axes = _axes(
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
    handles = [*(_handle(index) for index in range(len(tasks))), Line2D([], [], color="#555555", linestyle="--")]
    _legend(axes, handles, [*tasks, f"chance ({CHANCE})"])
    said = [f"{arm.name} {estimate.value:.3f} on {task}" for arm in figures for task, estimate in arm.accuracy.items()]
    return Plot(title, f"{title}, chance at {CHANCE}: {', '.join(said)}.", _svg(figure, "accuracy"))


def _plot_thought_tokens(num_tokens: Sequence[int]) -> Plot | None:
    if not num_tokens:
        return None
    title = "Length of the thoughts that were kept"
    figure, axes = _axes(title, 3.0, "Length (tokens of the teacher)", "Number of thoughts")
    axes.hist(num_tokens, bins=min(30, max(1, math.isqrt(len(num_tokens)) + 1)), color=_COLOURS[0], edgecolor="white")
    median = statistics.median(num_tokens)
    line = axes.axvline(median, color=_COLOURS[1], linestyle="--", linewidth=1.4)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, [line], [f"median, {median:g} tokens"])
    shown = f"{len(num_tokens):,} thoughts, {min(num_tokens):,} to {max(num_tokens):,} tokens, median {median:g}"
    return Plot(title, f"{title}: {shown}.", _svg(figure, "lengths"))


def _plot_pools(arm: ArmResult) -> Plot | None:
    """How busy engines and workers of a streaming training were; the time between a kill and the rerun is cut out."""
    if arm.timeline is None or len(arm.timeline) < 2:
        return None
    minutes, engines, workers = pool_use(arm.timeline.to_pylist())
    title = f"Engines and workers over time, {arm.name}"
    figure, axes = _axes(title, 3.0, "Time (minutes)", "Share of the pool at work")
    for index, use in enumerate((engines, workers)):
        axes.step(minutes, use, where="post", color=_COLOURS[index], linestyle=("-", "--")[index], linewidth=1.4)
    axes.set_ylim(0.0, 1.05)
    lines = [Line2D([], [], color=_COLOURS[index], linestyle=("-", "--")[index]) for index in range(2)]
    _legend(axes, lines, ["engines that write", "workers that train"])
    shown = f"engines wrote {statistics.fmean(engines):.0%} and workers trained {statistics.fmean(workers):.0%}"
    return Plot(title, f"{title}: {shown} of {minutes[-1]:.1f} minutes.", _svg(figure, f"pools-{arm.name}"))


def pool_use(timeline: Sequence[dict[str, Any]]) -> tuple[list[float], list[float], list[float]]:
    """Minutes since the start, and the shares of engines and of workers that were at work, in at most 60 stretches."""
    spans = [
        (after["time_s"] - before["time_s"], before, after)
        for before, after in pairwise(timeline)
        if before["session"] == after["session"]
    ]
    size, elapsed_s = math.ceil(len(spans) / _STRETCHES), 0.0
    minutes, engines, workers = list[float](), list[float](), list[float]()
    for first in range(0, len(spans), size):
        stretch = spans[first : first + size]
        seconds = sum(span for span, _, _ in stretch)
        busy_s = sum(span * after["engines_busy"] / max(1, after["engines_most"]) for span, _, after in stretch)
        step_s = sum(max(0.0, after["step_seconds"] - before["step_seconds"]) for _, before, after in stretch)
        minutes.append(elapsed_s / 60)
        engines.append(busy_s / seconds)
        workers.append(min(1.0, step_s / seconds))
        elapsed_s += seconds
    return [*minutes, elapsed_s / 60], [*engines, engines[-1]], [*workers, workers[-1]]


def _axes(title: str, height_inches: float, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


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
        fmt=_MARKERS[index % len(_MARKERS)],
        color=_COLOURS[index % len(_COLOURS)],
        markersize=5,
        capsize=3,
        linewidth=1.4,
    )


def _offset(index: int, number: int) -> float:
    """Where the index-th of `number` points stands beside a tick: symmetric, within 0.4 of it."""
    return 0.8 * ((index + 0.5) / number - 0.5)


def _handle(index: int) -> Line2D:
    return Line2D([], [], color=_COLOURS[index % len(_COLOURS)], marker=_MARKERS[index % len(_MARKERS)], markersize=5)


def _legend(axes: Axes, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """A legend below the plot, where it covers no point."""
    fitting = _LETTERS_IN_WIDTH // (max(map(len, names)) + 6)
    axes.figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(3, fitting)), frameon=False)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element whose ids begin with `name`."""
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
