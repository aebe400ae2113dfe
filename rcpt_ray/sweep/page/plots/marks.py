"""What the sweep's plots have in common: marks of tried points, baselines and the best, and how names are broken.

A mark is told by its shape and filling, not by its colour alone: a dot is a tried point, filled where it may be the
best, being not distinguishable from it; a star is the best settings; a diamond and a triangle are the baselines.
"""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from rcpt_ray.report.plots.drawing import COLOURS, GROUND, INK, add_legend
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.inputs import BASELINES
from rcpt_ray.sweep.space import Coordinate

Place = tuple[float, float]
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "tried": {"marker": "o", "markersize": 5.0, "markerfacecolor": GROUND, "markeredgecolor": INK},
    "alike": {"marker": "o", "markersize": 5.0, "markerfacecolor": INK, "markeredgecolor": INK},
    "recipe": {"marker": "D", "markersize": 7.0, "markerfacecolor": COLOURS[3], "markeredgecolor": GROUND},
    "stratified": {"marker": "^", "markersize": 8.5, "markerfacecolor": COLOURS[2], "markeredgecolor": GROUND},
    "best": {"marker": "*", "markersize": 13.0, "markerfacecolor": COLOURS[1], "markeredgecolor": GROUND},
}
_NAMES: Final = {
    "tried": "tried",
    "alike": "tried, may be best",
    **BASELINES,
    "best": "best settings",
}


def mark(axes: Axes, kind: str, places: Sequence[Place]) -> None:
    """Draw marks of one kind, over everything else."""
    xs, ys = [x for x, _ in places], [y for _, y in places]
    axes.plot(xs, ys, linestyle="none", clip_on=False, zorder=5 if kind in ("tried", "alike") else 6, **_LOOKS[kind])


def mark_all(axes: Axes, marks: dict[str, list[Place]]) -> None:
    """Draw all marks, the best above the others."""
    for kind in _LOOKS:
        if marks.get(kind):
            mark(axes, kind, marks[kind])


def kinds_of(answer: Answer) -> dict[int, str]:
    """The kind of mark of every tried point of an answer."""
    alike = answer.alike or []
    kinds = {place: "alike" if place in alike else "tried" for place in range(len(answer.points))}
    return kinds | {one.tried: one.role for one in answer.baselines if one.tried is not None}


def legend(figure: Figure, marks: dict[str, list[Place]], more: Sequence[tuple[Line2D, str]] = ()) -> None:
    """Names of the marks that were drawn, and of more."""
    handles = [Line2D([], [], linestyle="none", **look) for kind, look in _LOOKS.items() if marks.get(kind)]
    names = [name for kind, name in _NAMES.items() if marks.get(kind)]
    handles, names = [*handles, *(one for one, _ in more)], [*names, *(name for _, name in more)]
    if handles:
        add_legend(figure, handles, names)


def broken(name: str, width: int = 22) -> str:
    """A name over lines of at most `width` letters, broken where its parts end."""
    parts = re.split(r"(?<=[/._\- ])", name)
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(piece for line in lines for piece in textwrap.wrap(line, width) or [line])


def scale(axes: Axes, coordinate: Coordinate, way: str) -> None:
    """The x or y axis as the coordinate has it, with numbers written out."""
    own = getattr(axes, f"{way}axis")
    getattr(axes, f"set_{way}scale")("log" if coordinate.is_log else "linear")
    own.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if coordinate.is_log else MaxNLocator(nbins=5))
    own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(which="minor", length=0)
    own.set_minor_formatter(NullFormatter())
