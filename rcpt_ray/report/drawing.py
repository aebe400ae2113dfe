"""How the report's plots are drawn: style, colours and markers of the arms, axes, legends, and SVG.

Invariants: the same figures give the same bytes (fixed salt for ids, no dates); ids differ between the plots of a page;
text stays text and names from data are never read as formulas; colours are Okabe and Ito's, which colour-blind readers
tell apart, and every arm has a marker of its own as well.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<")
STYLE: Final[dict[Any, Any]] = {
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


@dataclass(frozen=True)
class Plot:
    """A plot as an `<svg>` element, and what it shows in words."""

    title: str
    alt: str
    svg: str


def new_axes(title: str, height_inches: float, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def handle(index: int) -> Line2D:
    return Line2D([], [], color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)], markersize=5)


def add_legend(axes: Axes, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """A legend below the plot, where it covers no point."""
    fitting = _LETTERS_IN_WIDTH // (max(map(len, names)) + 6)
    axes.figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(3, fitting)), frameon=False)


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element whose ids begin with `name`."""
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
