"""The surface over two settings, and over three shares as a triangle: shading, tried points, region.

Invariants: what is not on the plot is as in the best settings (other shares in proportion); the stronger the colour,
the better; tried points stand at their own two or three settings, whatever their others.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rcpt_ray.report.plots.drawing import COLOURS, INK, SOFT, Plot, drawn, new_axes
from rcpt_ray.report.tables.cells import number
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.inputs import better_words, digits_of, label_of, settings_words, value_words
from rcpt_ray.sweep.page.plots.lattice import HEIGHT, Lattice, Position, corner_place, rectangle, triangle
from rcpt_ray.sweep.page.plots.marks import Place, broken, kinds_of, legend, mark_all, scale
from rcpt_ray.sweep.space import Coordinate, Settings, coordinates_of, position_of
from rcpt_ray.sweep.spec import SimplexAxis

_BANDS: Final = 6
_PLOTS_SHOWN: Final = 2
_PLOTS: Final = 6


def plot_maps(answer: Answer, folded: bool = False) -> list[Plot]:
    """Triangles of three shares, then pairs of numbers, those of the most important settings first."""
    if answer.surface is None or answer.chosen is None:
        return []
    plots = [
        _plot_triangle(answer, name, axis.components, folded)
        for name, axis in answer.space.items()
        if isinstance(axis, SimplexAxis) and len(axis.components) == 3
    ]
    room = max(0, _PLOTS_SHOWN - len(plots))
    pairs = _pairs(answer)[: _PLOTS - len(plots)]
    return plots + [_plot_pair(answer, *pair, folded or place >= room) for place, pair in enumerate(pairs)]


def _pairs(answer: Answer) -> list[tuple[Coordinate, Coordinate]]:
    """Pairs of numbers that a triangle or a curve does not show yet."""

    def weight(coordinate: Coordinate) -> float:
        return answer.importance.get(coordinate.name, answer.importance.get(coordinate.axis, 0.0))

    numbers = list[Coordinate]()
    for axis, group in itertools.groupby(coordinates_of(answer.space), key=lambda one: one.axis):
        own = [one for one in group if not one.names]
        # Of two shares one tells the other.
        numbers += own[:1] if isinstance(answer.space[axis], SimplexAxis) and len(own) == 2 else own
    pairs = [
        (one, other)
        for one, other in itertools.combinations(numbers, 2)
        if one.axis != other.axis or len(_shares_of(answer, one.axis)) > 3
    ]
    return sorted(pairs, key=lambda pair: -(weight(pair[0]) + weight(pair[1])))


def _shares_of(answer: Answer, axis: str) -> list[str]:
    own = answer.space[axis]
    return own.components if isinstance(own, SimplexAxis) else []


def _plot_triangle(answer: Answer, axis: str, names: Sequence[str], folded: bool) -> Plot:
    title = f"{answer.name} over {axis}"
    lattice = triangle(answer, axis, names, not folded)

    def draw() -> Figure:
        figure, axes = new_axes(4.6, "", "")
        _draw_frame(axes, names)
        _shade(figure, axes, answer, lattice)
        marks = _marks(answer, lambda position: corner_place([float(position[name]) for name in names]))
        _finish(figure, axes, lattice, marks)
        return figure

    return Plot(title, _alt(answer, title, lattice, list(names)), drawn(draw, f"triangle-{title}"), folded)


def _plot_pair(answer: Answer, one: Coordinate, other: Coordinate, folded: bool) -> Plot:
    title = f"{answer.name} over {label_of(one)} and {label_of(other)}"
    lattice = rectangle(answer, one, other, not folded)

    def draw() -> Figure:
        figure, axes = new_axes(4.0, broken(label_of(one), 46), broken(label_of(other), 26))
        scale(axes, one, "x")
        scale(axes, other, "y")
        _shade(figure, axes, answer, lattice)
        marks = _marks(answer, lambda position: (float(position[one.name]), float(position[other.name])))
        _finish(figure, axes, lattice, marks)
        return figure

    names = [one.name, other.name]
    return Plot(title, _alt(answer, title, lattice, names), drawn(draw, f"pair-{title}"), folded)


def _marks(answer: Answer, place_of: Callable[[Position], Place]) -> dict[str, list[Place]]:
    assert answer.chosen is not None
    marks: dict[str, list[Place]] = {}
    for place, kind in kinds_of(answer).items():
        marks.setdefault(kind, []).append(place_of(position_of(answer.points[place].point, answer.space)))
    return marks | {"best": [place_of(position_of(answer.chosen.point, answer.space))]}


def _shade(figure: Figure, axes: Axes, answer: Answer, lattice: Lattice) -> None:
    """Bands of equal means, the better the stronger."""
    axes.grid(False)
    low, high = float(lattice.means.min()), float(lattice.means.max())
    if high - low <= 1e-12 * max(1.0, abs(high)):
        return
    strengths = np.linspace(0.08, 0.8, _BANDS)
    colours = [to_rgba(COLOURS[0], float(alpha)) for alpha in strengths]
    colours = colours[::-1] if answer.spec.goal == "minimize" else colours
    levels = np.linspace(low, high, _BANDS + 1)
    xs, ys = ([place[way] for place in lattice.places] for way in (0, 1))
    bands = axes.tricontourf(xs, ys, lattice.means, levels=levels, colors=colours)
    bar = figure.colorbar(bands, ax=axes, orientation="horizontal", aspect=36, pad=0.02, drawedges=False)
    bar.set_ticks([levels[0], levels[len(levels) // 2], levels[-1]])
    digits = digits_of(answer)
    bar.set_ticklabels([number(level, digits) for level in (levels[0], levels[len(levels) // 2], levels[-1])])
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.set_label(f"{broken(answer.name, 46)} ({better_words(answer)})")


def _finish(figure: Figure, axes: Axes, lattice: Lattice, marks: dict[str, list[Place]]) -> None:
    more = []
    if lattice.held:
        dots: dict[str, Any] = {"marker": ".", "markersize": 4.5, "color": INK, "linestyle": "none"}
        axes.plot([x for x, _ in lattice.held], [y for _, y in lattice.held], zorder=4, **dots)
        more = [(Line2D([], [], **dots), "may be the best")]
    mark_all(axes, marks)
    legend(figure, marks, more)


def _draw_frame(axes: Axes, names: Sequence[str]) -> None:
    corners = [(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)]
    axes.plot(*zip(*corners, corners[0], strict=True), color=SOFT, linewidth=1.0, zorder=3)
    for share in (0.25, 0.5, 0.75):
        for turn in range(3):
            ends = [[share, 1 - share, 0.0], [share, 0.0, 1 - share]]
            turned = [end[-turn:] + end[:-turn] for end in ends]
            xs, ys = zip(*(corner_place(end) for end in turned), strict=True)
            axes.plot(xs, ys, color=SOFT, linewidth=0.5, linestyle=":", zorder=3)
    for name, (x, y), across, up in zip(
        names, corners, ("left", "right", "center"), ("top", "top", "bottom"), strict=True
    ):
        x, y = {"left": -0.04, "right": 1.04, "center": x}[across], y + (0.04 if up == "bottom" else -0.04)
        axes.text(x, y, broken(name), ha=across, va=up, fontweight="bold")
    axes.set_xlim(-0.06, 1.06)
    axes.set_ylim(-0.2, HEIGHT + 0.16)
    axes.set_aspect("equal")
    axes.axis("off")


def _alt(answer: Answer, title: str, lattice: Lattice, names: Sequence[str]) -> str:
    chosen, digits = answer.chosen, digits_of(answer)
    assert chosen is not None
    means = lattice.means
    order = np.argsort(means)
    places = [int(order[0]), int(order[-1])]
    if answer.spec.goal == "maximize":
        places.reverse()
    at = [
        ", ".join(f"{name} {value_words(value)}" for name, value in _at(answer, lattice.points[place], names).items())
        for place in places
    ]
    held = len(lattice.held)
    region = (
        f" {held} of {lattice.num_looked} places that were looked at are not distinguishable from the best."
        if held
        else ""
    )
    return (
        f"{title}, {better_words(answer)}, other settings as in the best ({settings_words(chosen.point)}): from "
        f"{number(float(means[places[0]]), digits)} at {at[0]} to {number(float(means[places[1]]), digits)} at "
        f"{at[1]}; {len(answer.points)} tried points are marked.{region}"
    )


def _at(answer: Answer, point: Settings, names: Sequence[str]) -> dict[str, float | str]:
    position = position_of(point, answer.space)
    return {name: position[name] for name in names}
