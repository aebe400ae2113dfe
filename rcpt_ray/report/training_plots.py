"""Curves of the trainings of all arms, step by step: losses, held-out bits per byte, gradients, speed, memory.

An arm has one colour in all of them. A curve of many steps is drawn as the means of as many stretches as the plot can
show, so that the page stays small; a figure that was not recorded leaves a gap or, for a whole plot, nothing.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rcpt_ray.report.drawing import COLOURS, MARKERS, Plot, add_legend, as_svg, handle, new_axes
from rcpt_ray.report.inputs import ArmResult

_MARKED_STEPS: Final = 40
"""Curves of at most so many steps show each of them."""
_MOST_POINTS: Final = 300
_LINES: Final = ("-", "--", ":", "-.")
_KINDS: Final = {"loss": "all tokens", "loss_text": "text", "loss_thought": "thought"}


@dataclass(frozen=True)
class _Curve:
    """One line of a plot: the index-th arm in the kind-th line style."""

    index: int
    kind: int
    steps: Sequence[float]
    values: Sequence[float]


def plot_trainings(arms: Sequence[ArmResult]) -> list[Plot | None]:
    """The plots of the arms that were trained; None for one that has no figures."""
    return [
        _plot_losses(arms),
        _plot_heldout(arms),
        _plot_column(arms, "Gradient norm by step", "Norm before clipping", "grad_norm", "gradients"),
        _plot_column(arms, "Training speed by step", "Target tokens per second", "tokens_per_s", "speed"),
        _plot_column(
            arms, "Memory by step", "Most of any worker so far (GiB)", "memory_bytes", "memory", lambda x: x / 2**30
        ),
    ]


def _plot_losses(arms: Sequence[ArmResult]) -> Plot | None:
    curves = [
        _Curve(index, kind, *_column(steps, name))
        for index, steps in _trained(arms)
        for kind, name in enumerate(_KINDS)
        if _has_figures(steps, name)
    ]
    ends = {curve.index: curve.values for curve in reversed(curves)}  # of all tokens, which come first
    said = [f"{arms[index].name} from {values[0]:.2f} to {values[-1]:.2f}" for index, values in sorted(ends.items())]
    styles = list(_KINDS.values())
    return _plot(
        arms, "Training loss by step", "Loss (nats per token)", curves, styles, said, "losses", ", nats per token"
    )


def _plot_heldout(arms: Sequence[ArmResult]) -> Plot | None:
    measured = [(index, arm.heldout) for index, arm in enumerate(arms) if arm.heldout is not None and len(arm.heldout)]
    domains = sorted({domain for _, table in measured for domain in table["domain"].to_pylist()})
    curves, said = [], []
    for index, table in measured:
        rows = sorted(table.to_pylist(), key=lambda row: (row["domain"], row["step"]))
        for domain, group in itertools.groupby(rows, key=lambda row: str(row["domain"])):
            own = list(group)
            bits = [row["bits_per_byte"] for row in own]
            curves.append(_Curve(index, domains.index(domain), [row["step"] for row in own], bits))
            said.append(f"{arms[index].name} in {domain} from {bits[0]:.3f} to {bits[-1]:.3f}")
    title = "Held-out bits per byte while training"
    return _plot(arms, title, "Bits per byte (less is better)", curves, domains, said, "curves-of-bits")


def _plot_column(
    arms: Sequence[ArmResult],
    title: str,
    y_label: str,
    column: str,
    name: str,
    scaled: Callable[[float], float] = lambda value: value,
) -> Plot | None:
    curves, said = [], []
    for index, table in _trained(arms):
        if not _has_figures(table, column):
            continue
        steps, values = _column(table, column)
        curves.append(_Curve(index, 0, steps, [scaled(value) for value in values]))
        middle = float(np.nanmedian(curves[-1].values))
        said.append(f"{arms[index].name} {middle:,.{2 if middle < 100 else 0}f} at the median of its steps")
    return _plot(arms, title, y_label, curves, [], said, name)


def _plot(
    arms: Sequence[ArmResult],
    title: str,
    y_label: str,
    curves: Sequence[_Curve],
    styles: Sequence[str],
    said: Sequence[str],
    name: str,
    unit: str = "",
) -> Plot | None:
    """A plot of curves; `styles` names the line styles that are in use, where there is more than one."""
    if not curves:
        return None
    figure, axes = new_axes(title, 3.3, "Optimizer step", y_label)
    for curve in curves:
        _draw(axes, curve)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    shown = sorted({curve.index for curve in curves})
    handles, names = [handle(index) for index in shown], [arms[index].name for index in shown]
    kinds = sorted({curve.kind for curve in curves})
    if len(kinds) > 1:
        handles += [Line2D([], [], color="#555555", linestyle=_LINES[kind % len(_LINES)]) for kind in kinds]
        names += [styles[kind] for kind in kinds]
    add_legend(axes, handles, names)
    return Plot(title, f"{title}{unit}: {'; '.join(said)}.", as_svg(figure, name))


def _draw(axes: Axes, curve: _Curve) -> None:
    few = len(curve.steps) <= _MARKED_STEPS
    steps, values = (curve.steps, curve.values) if few else (_thinned(curve.steps), _thinned(curve.values))
    look: dict[str, Any] = {"color": COLOURS[curve.index % len(COLOURS)], "linewidth": 1.4, "markersize": 3.5}
    look |= {"markerfacecolor": "white"} if curve.kind else {}
    marker = MARKERS[curve.index % len(MARKERS)] if few else ""
    axes.plot(steps, values, linestyle=_LINES[curve.kind % len(_LINES)], marker=marker, **look)


def _thinned(values: Sequence[float]) -> list[float]:
    """At most _MOST_POINTS means of neighbours; a stretch of gaps stays one."""
    parts = np.array_split(np.asarray(values, np.float64), min(len(values), _MOST_POINTS))
    return [float(np.nanmean(part)) if np.isfinite(part).any() else math.nan for part in parts]


def _trained(arms: Sequence[ArmResult]) -> list[tuple[int, pa.Table]]:
    """Index and steps of each arm that has some."""
    return [(index, arm.steps) for index, arm in enumerate(arms) if arm.steps is not None and len(arm.steps)]


def _has_figures(steps: pa.Table, column: str) -> bool:
    return any(value is not None and math.isfinite(value) for value in steps[column].to_pylist())


def _column(table: pa.Table, column: str) -> tuple[list[float], list[float]]:
    """Steps and their figures, by step; what is not there is NaN."""
    columns = table.sort_by("step").to_pydict()
    return columns["step"], [math.nan if value is None else value for value in columns[column]]
