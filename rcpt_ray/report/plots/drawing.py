"""How the report's plots are drawn: style, colours and markers of the arms, panels, legends, and SVG.

Invariants: the same figures give the same bytes (fixed salt for ids, no dates); ids differ between the plots of a page;
text stays text and names from data are never read as formulas; every arm has a colour and a marker of its own. Colours
become CSS variables of the page, so that one drawing serves light and dark, each with a contrast of 3 and more.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS: Final = ("#0072b2", "#c24a00", "#00795a", "#a83f7b", "#6a51a3", "#8a6a00", "#444444")
DARK_COLOURS: Final = ("#5cb4f0", "#f08a4b", "#3cc79a", "#e58bc0", "#b3a2f2", "#e0b93c", "#c8cdd2")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES: Final = ("-", "--", ":", "-.")
INK, SOFT, GRID, GROUND = "#1b1f24", "#59636e", "#d1d9e0", "#ffffff"
STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.5,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
}
_WIDTH_INCHES: Final = 4.4
_LETTERS_IN_WIDTH: Final = 50
_VARIABLES: Final = {INK: "--ink", SOFT: "--soft", GRID: "--line", GROUND: "--ground"} | {
    colour: f"--series-{place}" for place, colour in enumerate(COLOURS)
}


@dataclass(frozen=True)
class Plot:
    """A plot in words, and how it is drawn; the Markdown does without the drawing."""

    title: str
    alt: str
    draw: Callable[[], str]
    """Makes the `<svg>` element."""
    folded: bool = False
    """Shown only when it is opened."""


def new_axes(height_inches: float, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """One panel; its title stands on the page, above the drawing."""
    figure, (axes,) = new_panels([""], height_inches, x_label, y_label)
    return figure, axes


def new_panels(titles: Sequence[str], height_inches: float, x_label: str, y_label: str) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, of equal scales."""
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches * len(titles)), layout="constrained")
    panels = list(figure.subplots(len(titles), squeeze=False, sharex=True, sharey=True)[:, 0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        axes.set_ylabel(y_label)
        axes.tick_params(length=0)
    panels[-1].set_xlabel(x_label)
    return figure, panels


def colour_of(index: int) -> str:
    """Of the index-th arm."""
    return COLOURS[index % len(COLOURS)]


def marker_of(index: int) -> str:
    """Of the index-th arm."""
    return MARKERS[index % len(MARKERS)]


def handle(index: int) -> Line2D:
    """The index-th arm in a legend."""
    return Line2D([], [], color=colour_of(index), marker=marker_of(index), markersize=5)


def add_legend(figure: Figure, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """A legend below the plot, where it covers no point."""
    fitting = _LETTERS_IN_WIDTH // (max(map(len, names)) + 6)
    figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(3, fitting)), frameon=False)


def offset(index: int, number: int) -> float:
    """Where the index-th of `number` points stands beside a tick: symmetric, within 0.4 of it."""
    return 0.8 * ((index + 0.5) / number - 0.5)


def drawn(draw: Callable[[], Figure], name: str) -> Callable[[], str]:
    """Makes the figure as an `<svg>` element whose ids begin with `name` and whose colours are the page's."""
    salt = re.sub(r"[^A-Za-z0-9_-]", "-", name)

    def make() -> str:
        written = io.StringIO()
        with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}):
            canvas: Any = FigureCanvasSVG(draw())
            # Figure.savefig would draw twice, once for the layout alone.
            canvas.print_svg(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        svg = written.getvalue()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{salt}-", svg)
        return re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _as_variable, svg)

    return make


def _as_variable(found: re.Match[str]) -> str:
    name = _VARIABLES.get(found[2])
    return f"{found[1]}: var({name})" if name else found[0]
