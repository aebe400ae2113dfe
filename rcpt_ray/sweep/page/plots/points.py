"""Plots of all tried points: the Pareto front of several objectives, and parallel coordinates.

Parallel coordinates run from top to bottom, an axis a row, so that long names and many settings fit a phone. Thirds by
the objective differ in colour, line and width, so that they are told apart in print and without colours.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rcpt_ray.report.plots.drawing import COLOURS, GROUND, INK, SOFT, Plot, add_legend, drawn, new_axes
from rcpt_ray.report.tables.cells import number
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.inputs import SweepInputs, better_words, digits_of, label_of, value_words
from rcpt_ray.sweep.page.plots.marks import broken
from rcpt_ray.sweep.space import Coordinate, coordinates_of, position_of
from rcpt_ray.sweep.tried import TriedPoint, front_of

_THIRDS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("best third", {"color": COLOURS[0], "linewidth": 1.8, "linestyle": "-", "zorder": 4}),
    ("middle third", {"color": SOFT, "linewidth": 0.9, "linestyle": "--", "zorder": 3}),
    ("worst third", {"color": COLOURS[1], "linewidth": 1.1, "linestyle": ":", "zorder": 2}),
]
_LABELS_OF_NAMES: Final = 54
"""Letters of all names of an axis together that fit below it."""


def plot_fronts(inputs: SweepInputs) -> list[Plot]:
    """A plot for each pair of objectives."""
    return [_plot_front(inputs, *pair) for pair in itertools.combinations(inputs.answers, 2)]


def plot_parallel(answer: Answer) -> Plot | None:
    """All points with a figure; None with fewer than three."""
    if len(answer.points) < 3:
        return None
    title = f"All tried settings by {answer.name}"
    thirds = _thirds(answer)
    told = []
    for (name, _), places in zip(_THIRDS, thirds, strict=True):
        told.append(f"{name} ({len(places)} settings): {'; '.join(_extents(answer, places))}")
    alt = f"{title}, a line a setting from axis to axis, {better_words(answer)}. {'. '.join(told)}."
    return Plot(title, alt, drawn(lambda: _parallel(answer, thirds), f"parallel-{answer.name}"))


def _plot_front(inputs: SweepInputs, first: Answer, second: Answer) -> Plot:
    title = f"{first.name} against {second.name}"
    points = [one for one in inputs.points if one.values(first.name) and one.values(second.name)]
    specs = {one.name: one.spec for one in (first, second)}
    front = front_of(points, specs)
    at = {place: (_mean(points[place], first), _mean(points[place], second)) for place in range(len(points))}
    told = [
        f"point {points[place].number} with {number(at[place][0], digits_of(first))} and "
        f"{number(at[place][1], digits_of(second))}"
        for place in sorted(front, key=lambda place: at[place])
    ]
    alt = (
        f"{title} ({first.name}: {better_words(first)}; {second.name}: {better_words(second)}): {len(front)} of "
        f"{len(points)} points have none beside them that is as good in both and better in one: {', '.join(told)}."
    )

    def draw() -> Figure:
        figure, axes = new_axes(
            3.6,
            f"{broken(first.name, 40)} ({better_words(first)})",
            f"{broken(second.name, 30)}\n({better_words(second)})",
        )
        ordered = sorted(at[place] for place in front)
        # What the front is better than begins behind this line: between two points the worse of both in each.
        axes.step(
            *zip(*ordered, strict=True),
            where="post" if first.spec.goal == "minimize" else "pre",
            color=COLOURS[0],
            linewidth=1.2,
        )
        others = [xy for place, xy in at.items() if place not in front]
        looks: list[tuple[str, list[tuple[float, float]], dict[str, Any]]] = [
            ("on the front", ordered, {"marker": "s", "markerfacecolor": COLOURS[0], "markeredgecolor": GROUND}),
            ("not on it", others, {"marker": "o", "markerfacecolor": GROUND, "markeredgecolor": SOFT}),
        ]
        for role, marker, colour, name in (
            ("recipe", "D", COLOURS[3], "the recipe's own"),
            ("stratified", "^", COLOURS[2], "equal shares"),
        ):
            own = [xy for place, xy in at.items() if role in points[place].roles]
            ring = {"marker": marker, "markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.6}
            looks.append((name, own, ring | {"markersize": 11.0}))
        handles, names = list[Line2D](), list[str]()
        for name, places, look in looks:
            if places:
                own_look: dict[str, Any] = {"linestyle": "none", "markersize": 6.5} | look
                axes.plot(*zip(*places, strict=True), zorder=5, **own_look)
                handles.append(Line2D([], [], **own_look))
                names.append(name)
        axes.margins(0.08)
        add_legend(figure, handles, names)
        return figure

    return Plot(title, alt, drawn(draw, f"front-{title}"))


def _mean(point: TriedPoint, answer: Answer) -> float:
    mean = point.mean(answer.name)
    assert mean is not None
    return mean


def _thirds(answer: Answer) -> list[list[int]]:
    """Places of the points from the best to the worst, in three parts."""
    sign = 1 if answer.spec.goal == "minimize" else -1
    ordered = sorted(range(len(answer.points)), key=lambda place: sign * answer.mean_of(place))
    ends = [round(len(ordered) * part / 3) for part in range(4)]
    return [ordered[begin:end] for begin, end in itertools.pairwise(ends)]


def _extents(answer: Answer, places: Sequence[int]) -> list[str]:
    """What the points of a third have in each coordinate, and their figures."""
    positions = [position_of(answer.points[place].point, answer.space) for place in places]
    told = []
    for coordinate in coordinates_of(answer.space):
        values = [position[coordinate.name] for position in positions]
        if coordinate.names:
            told.append(f"{label_of(coordinate)} {', '.join(dict.fromkeys(value_words(value) for value in values))}")
        else:
            numbers = sorted(float(value) for value in values)
            told.append(f"{label_of(coordinate)} {value_words(numbers[0])} to {value_words(numbers[-1])}")
    means = sorted(answer.mean_of(place) for place in places)
    digits = digits_of(answer)
    return [*told, f"{answer.name} {number(means[0], digits)} to {number(means[-1], digits)}"]


def _parallel(answer: Answer, thirds: list[list[int]]) -> Figure:
    coordinates = coordinates_of(answer.space)
    figure, axes = new_axes(1.0 + 0.62 * (len(coordinates) + 1), "", "")
    axes.axis("off")
    means = [answer.mean_of(place) for place in range(len(answer.points))]
    low, high = min(means), max(means)
    for row, coordinate in enumerate(coordinates):
        if coordinate.names:
            names = [value_words(name) for name in coordinate.names]
            ticks = {place / (len(names) - 1): name for place, name in enumerate(names)}
            if sum(map(len, names)) > _LABELS_OF_NAMES:
                width = _LABELS_OF_NAMES // len(names)
                ticks = {x: name if len(name) <= width else name[: width - 1] + "…" for x, name in ticks.items()}
        else:
            ticks = {0.0: value_words(float(coordinate.low)), 1.0: value_words(float(coordinate.high))}
        _draw_row(axes, row, label_of(coordinate), ticks)
    digits = digits_of(answer)
    ticks = {0.0: number(low, digits), 1.0: number(high, digits)}
    _draw_row(axes, len(coordinates), f"{answer.name} ({better_words(answer)})", ticks)
    for (_, look), places in zip(_THIRDS, thirds, strict=True):
        for place in places:
            position = position_of(answer.points[place].point, answer.space)
            xs = [_along(coordinate, position[coordinate.name]) for coordinate in coordinates]
            xs.append((means[place] - low) / (high - low) if high > low else 0.5)
            axes.plot(xs, range(len(xs)), **look)
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(len(coordinates) + 0.4, -0.4)
    add_legend(figure, [Line2D([], [], **look) for _, look in _THIRDS], [name for name, _ in _THIRDS])
    return figure


def _draw_row(axes: Axes, row: int, name: str, ticks: dict[float, str]) -> None:
    """An axis across the plot, its name above it and its ticks below."""
    box = {"facecolor": GROUND, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    axes.plot([0, 1], [row, row], color=INK, linewidth=1.0, zorder=5)
    axes.text(0.0, row - 0.1, name, ha="left", va="bottom", zorder=6, fontweight="bold", fontsize=9, bbox=box)
    for x, words in ticks.items():
        across = "left" if x < 0.01 else "right" if x > 0.99 else "center"
        axes.plot([x, x], [row - 0.06, row + 0.06], color=INK, linewidth=1.0, zorder=5)
        axes.text(x, row + 0.1, words, ha=across, va="top", zorder=6, fontsize=8.5, bbox=box)


def _along(coordinate: Coordinate, value: float | str) -> float:
    """Where a value stands on its axis, from 0 to 1."""
    if coordinate.names:
        return coordinate.names.index(str(value)) / (len(coordinate.names) - 1)
    low, high, here = coordinate.low, coordinate.high, float(value)
    if coordinate.is_log:
        low, high, here = (math.log(one) for one in (low, high, here))
    return (here - low) / (high - low)
