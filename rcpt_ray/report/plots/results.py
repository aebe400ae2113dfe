"""Plots of what was measured: accuracy, bits per byte, gain by difficulty, transfer, depth of reasoning, samples.

A plot without figures is left out. Price: about 0.1 s a plot.
"""

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rcpt_ray.report.figures import Family, Figures
from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.lines import Line
from rcpt_ray.report.plots.curves import Curve, Frame, arms_of, plot_curves
from rcpt_ray.report.plots.drawing import (
    COLOURS,
    GROUND,
    INK,
    SOFT,
    Plot,
    add_legend,
    colour_of,
    drawn,
    marker_of,
    new_axes,
)
from rcpt_ray.report.samples import depth_by
from rcpt_ray.report.statistics.estimates import INSIDE_THE_NOISE, Difference, Estimate
from rcpt_ray.report.statistics.measures import ALL, Measure
from rcpt_ray.report.tables.cells import digits_of, number
from rcpt_ray.report.tables.depth import answers_of

_MOST_LINES_BY_DOMAIN = 6


def plot_measures(figures: Figures) -> list[Plot]:
    """Accuracy on each task, then bits per byte of each domain, or of all alone where there are many lines."""
    plots = []
    for measure in figures.questions:
        title = f"{measure.label}, 95% intervals"
        plots.append(_plot_estimates(figures, measure, ALL, ALL, title, "Share of questions"))
    for measure in figures.scored(lambda key: key[1] == "bits_per_byte"):
        domains = figures.groups(measure, "domain")
        shown = [(ALL, ALL, "all domains")] if len(domains) != 1 else []
        if len(figures.measured) <= _MOST_LINES_BY_DOMAIN:
            shown += [("domain", domain, domain) for domain in domains]
        for by, group, words in shown:
            title = f"Held-out bits per byte, {words}, 95% intervals"
            plots.append(_plot_estimates(figures, measure, by, group, title, "Bits/byte (less is better)"))
    return [plot for plot in plots if plot is not None]


def plot_gain(figures: Figures, family: Family, measure: Measure, title: str) -> Plot | None:
    """Differences of every line from its counterpart, by difficulty."""
    key, tiers = (measure.task, measure.metric), figures.groups(measure, "difficulty")
    curves, said = [], []
    for line in figures.measured:
        found = [family.differences.get((line.name, key, tier)) for tier in tiers]
        some = [(place, one) for place, one in enumerate(found) if one is not None]
        if some:
            curves.append(_with_intervals(line, 0, some))
            said.append(f"{line.name} " + ", ".join(f"{tiers[place]} {one.value:+.3f}" for place, one in some))
    frame = Frame(title, "Difficulty", "Gain (share of questions)", x_ticks=tiers, zero_line=True)
    return plot_curves(frame, curves, arms_of(figures.lines), said)


def plot_depth(arms: Sequence[ArmResult], figures: Figures) -> list[Plot]:
    """Tokens of the thought by difficulty, for right and wrong answers."""
    plots = []
    for measure in figures.scored(lambda key: key[1] == "thought_tokens"):
        tiers, curves, said = figures.groups(measure, "difficulty"), list[Curve](), list[str]()
        for line in figures.measured if len(tiers) > 1 else []:
            depths = depth_by(answers_of(arms, line), measure.task, "difficulty")
            for kind, what in enumerate(("tokens_right", "tokens_wrong")):
                values = [getattr(depths[tier], what) if tier in depths else None for tier in tiers]
                points = [(float(place), value) for place, value in enumerate(values) if value is not None]
                if points:
                    curves.append(Curve(line, kind, *zip(*points, strict=True)))
            means = [
                f"{tier} {depths[tier].tokens:.0f}" for tier in tiers if tier in depths and depths[tier].num_answers
            ]
            said += [f"{line.name} {', '.join(means)}"] if means else []
        frame = Frame(
            f"Length of thoughts on {measure.task}, by difficulty",
            "Difficulty",
            "Thought (tokens)",
            ["right answers", "wrong answers"],
            tiers,
        )
        plots.append(plot_curves(frame, curves, arms_of(figures.lines), said))
    return [plot for plot in plots if plot is not None]


def plot_samples(figures: Figures) -> list[Plot]:
    """pass@k over k."""
    passes = figures.scored(lambda key: key[1].startswith("pass@"))
    plots = []
    for task in dict.fromkeys(measure.task for measure in passes):
        own = {int(measure.metric.removeprefix("pass@")): measure for measure in passes if measure.task == task}
        numbers, curves, said = sorted(own), list[Curve](), list[str]()
        for line in figures.measured if len(numbers) > 1 else []:
            found = [figures.by(own[k]).get((line.name, ALL)) for k in numbers]
            some = [(place, one) for place, one in enumerate(found) if one is not None]
            if some:
                curves.append(_with_intervals(line, 0, some))
                said.append(f"{line.name} " + ", ".join(f"{numbers[place]}: {one.value:.3f}" for place, one in some))
        frame = Frame(f"pass@k on {task}", "Samples k", "pass@k", x_ticks=list(map(str, numbers)))
        plots.append(plot_curves(frame, curves, arms_of(figures.lines), said))
    return [plot for plot in plots if plot is not None]


def plot_transfer(figures: Figures, family: Family, measure: Measure, by: str, title: str) -> Plot | None:
    """The transfer matrix: a row a line, a column a group; orange is worse, blue better, * is outside the noise."""
    key, groups = (measure.task, measure.metric), figures.groups(measure, by)
    names = list(dict.fromkeys(name for name, own, _ in family.differences if own == key))
    if not names:
        return None
    shown = {(name, group): one for (name, own, group), one in family.differences.items() if own == key}

    def draw() -> Figure:
        most = max(abs(one.value) for one in shown.values()) or 1.0
        figure, axes = new_axes(0.9 + 0.42 * len(names), "Measured on", "")
        axes.grid(False)
        for (name, group), one in shown.items():
            row, column = names.index(name), groups.index(group)
            better = (one.value < 0) == measure.less_is_better
            colour, alpha = COLOURS[0 if better else 1], 0.5 * min(1.0, abs(one.value) / most)
            sides, top, bottom = [column - 0.48, column + 0.48], row - 0.46, row + 0.46
            axes.fill_between(sides, top, bottom, color=colour, alpha=alpha, linewidth=0)
            axes.text(column, row, _starred(one, measure), ha="center", va="center", color=INK)
        axes.set_xticks(range(len(groups)), [re.sub("[_ ]", "\n", group) for group in groups])
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.spines[:].set_visible(False)
        return figure

    said = [f"{name} on {group} {_starred(one, measure)}" for (name, group), one in shown.items()]
    return Plot(title, f"{title} (* outside the noise): {'; '.join(said)}.", drawn(draw, f"transfer-{title}"))


def plot_thought_tokens(num_tokens: Sequence[int]) -> Plot | None:
    """A histogram of the lengths of the thoughts that were kept."""
    if not num_tokens:
        return None
    title, median = "Length of the thoughts that were kept", statistics.median(num_tokens)

    def draw() -> Figure:
        figure, axes = new_axes(3.0, "Length (tokens of the teacher)", "Number of thoughts")
        bins = min(30, max(1, math.isqrt(len(num_tokens)) + 1))
        axes.hist(num_tokens, bins=bins, color=COLOURS[0], edgecolor=GROUND)
        line = axes.axvline(median, color=COLOURS[1], linestyle="--", linewidth=1.4)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(figure, [line], [f"median, {median:g} tokens"])
        return figure

    shown = f"{len(num_tokens):,} thoughts, {min(num_tokens):,} to {max(num_tokens):,} tokens, median {median:g}"
    return Plot(title, f"{title}: {shown}.", drawn(draw, "lengths"))


def _plot_estimates(figures: Figures, measure: Measure, by: str, group: str, title: str, x_label: str) -> Plot | None:
    """One point a line, one below the other, with its interval."""
    found = [(line, figures.by(measure, by).get((line.name, group))) for line in figures.measured]
    shown = [(line, one) for line, one in found if one is not None and math.isfinite(one.value)]
    if not shown:
        return None
    arms, chance = arms_of(figures.lines), figures.chance.get(measure.task) if measure.metric == "acc" else None

    def draw() -> Figure:
        figure, axes = new_axes(0.95 + 0.26 * len(shown), x_label, "")
        for row, (line, one) in enumerate(shown):
            index = arms.index(line.arm)
            around = [max(0.0, one.value - _end(one.low, one))], [max(0.0, _end(one.high, one) - one.value)]
            look: dict[str, Any] = {"fmt": marker_of(index), "color": colour_of(index), "markersize": 5, "capsize": 3}
            axes.errorbar([one.value], [row], xerr=around, linewidth=1.4, **look)
        axes.set_yticks(range(len(shown)), [line.name for line, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        if chance is not None:
            axes.axvline(chance, color=SOFT, linestyle="--", linewidth=1.2)
            add_legend(figure, [Line2D([], [], color=SOFT, linestyle="--")], [f"chance ({chance:g})"])
        return figure

    said = [f"{line.name} {number(one.value, digits_of(measure))}" for line, one in shown]
    ending = f", chance at {chance:g}" if chance is not None else ""
    return Plot(title, f"{title}{ending}: {', '.join(said)}.", drawn(draw, title))


def _starred(one: Difference, measure: Measure) -> str:
    return number(one.value, digits_of(measure), "+") + ("" if one.verdict == INSIDE_THE_NOISE else "*")


def _end(bound: float | None, estimate: Estimate) -> float:
    return estimate.value if bound is None else bound


def _with_intervals(line: Line, kind: int, points: Sequence[tuple[int, Estimate]]) -> Curve:
    return Curve(
        line,
        kind,
        [place for place, _ in points],
        [one.value for _, one in points],
        [_end(one.low, one) for _, one in points],
        [_end(one.high, one) for _, one in points],
    )
