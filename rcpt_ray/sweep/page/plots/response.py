"""The response along each coordinate: the surface's mean with its interval, and the points that were tried."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rcpt_ray.report.plots.drawing import COLOURS, SOFT, Plot, drawn, new_axes
from rcpt_ray.report.tables.cells import number
from rcpt_ray.sweep.answer import Answer, Response
from rcpt_ray.sweep.page.inputs import better_words, digits_of, label_of, value_words
from rcpt_ray.sweep.page.plots.marks import Place, broken, kinds_of, legend, mark_all, scale
from rcpt_ray.sweep.space import Coordinate, coordinates_of, position_of


def plot_responses(answer: Answer, folded: bool = False) -> list[Plot]:
    """A plot a coordinate, the other settings as in the best; none without a surface."""
    plots = []
    for coordinate in coordinates_of(answer.space):
        response = answer.responses.get(coordinate.name)
        if response:
            plots.append(_plot(answer, coordinate, response, folded))
    return plots


def _plot(answer: Answer, coordinate: Coordinate, response: Response, folded: bool) -> Plot:
    title, digits = f"{answer.name} along {label_of(coordinate)}", digits_of(answer)
    shown = [response[0], min(response, key=lambda one: _loss(answer, one[1])), response[-1]]
    told = [
        f"{number(mean, digits)} ({number(low, digits)} to {number(high, digits)}) at {value_words(value)}"
        for value, mean, low, high in (dict.fromkeys(shown) if not coordinate.names else response)
    ]
    alt = (
        f"{title}, other settings as in the best, {better_words(answer)}: the surface's mean is {', '.join(told)}; "
        f"{answer.confidence:.0%} intervals in brackets. {len(answer.points)} tried points are marked."
    )
    salt = f"response-{answer.name}-{coordinate.name}"
    return Plot(title, alt, drawn(lambda: _figure(answer, coordinate, response), salt), folded)


def _figure(answer: Answer, coordinate: Coordinate, response: Response) -> Figure:
    label = broken(label_of(coordinate), 46)
    figure, axes = new_axes(3.2, label, f"{broken(answer.name, 30)}\n({better_words(answer)})")
    mean, low, high = (np.array([one[part] for one in response], np.float64) for part in (1, 2, 3))
    xs = np.arange(len(response)) if coordinate.names else np.array([one[0] for one in response], np.float64)
    if coordinate.names:
        axes.errorbar(
            xs, mean, yerr=np.maximum([mean - low, high - mean], 0.0), color=COLOURS[0], marker="_", markersize=14,
            capsize=4, linestyle="none", linewidth=1.6,
        )  # fmt: skip
        axes.set_xticks(xs, [broken(value_words(str(one[0])), 60 // len(response)) for one in response])
        axes.set_xlim(-0.5, len(response) - 0.5)
    else:
        axes.fill_between(xs, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
        axes.plot(xs, mean, color=COLOURS[0], linewidth=1.8)
        scale(axes, coordinate, "x")
    marks: dict[str, list[Place]] = {}
    names = [str(one[0]) for one in response]
    for place, kind in kinds_of(answer).items():
        value = position_of(answer.points[place].point, answer.space)[coordinate.name]
        x = names.index(str(value)) + 0.16 if coordinate.names else float(value)
        y, error = answer.mean_of(place), answer.points[place].standard_error(answer.name)
        marks.setdefault(kind, []).append((x, y))
        if error is not None:
            axes.plot([x, x], [y - error, y + error], color=SOFT, linewidth=0.9, zorder=4)
    if answer.chosen is not None:
        value = position_of(answer.chosen.point, answer.space)[coordinate.name]
        x = float(names.index(str(value))) if coordinate.names else float(value)
        marks["best"] = [(x, answer.chosen.mean.value)]
    ys = [y for own in marks.values() for _, y in own] + mean.tolist()
    room = 0.25 * (max(ys) - min(ys)) + float(np.median(high - low))
    pad = 0.06 * (max(ys) - min(ys) + float(np.median(high - low)))
    bottom, top = min(float(low.min()), min(ys)) - pad, max(float(high.max()), max(ys)) + pad
    # Ends of intervals that are far wider than most may leave the plot, so that the points can be read.
    axes.set_ylim(max(bottom, min(ys) - room - pad), min(top, max(ys) + room + pad))
    mark_all(axes, marks)
    line = Line2D([], [], color=COLOURS[0], linewidth=1.8)
    legend(figure, marks, [(line, f"surface, {answer.confidence:.0%}")])
    return figure


def _loss(answer: Answer, mean: float) -> float:
    return mean if answer.spec.goal == "minimize" else -mean
