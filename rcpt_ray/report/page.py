"""What the report says, and the HTML page that shows it.

    ReportInputs, Figures -> Content (sentences, sections of tables and plots, examples) -> one self-contained page

Invariants: the page loads nothing and runs nothing (its own policy forbids both); every name and text from data is
escaped, only the SVG that `drawing` made is taken as markup; what the run does not show is said at the top.
"""

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.missing import not_shown
from rcpt_ray.report.plots.drawing import COLOURS, DARK_COLOURS
from rcpt_ray.report.public import public_recipe
from rcpt_ray.report.sections import Section, make_sections
from rcpt_ray.report.tables.cells import NOTHING
from rcpt_ray.report.tables.table import Table
from rcpt_ray.report.words import compared, how_sure, read_with_care

_NUMERIC: Final = re.compile(r"[+−]?\d[\d,]*(\.\d+)?%?( \(.*)?(, .*)?|")
_ROWS_UNFOLDED: Final = 40
"""A table of more rows is shown when it is opened."""


@dataclass(frozen=True)
class Example:
    """A thought beside its text."""

    doc_id: str
    facts: str
    text: str
    thought: str


@dataclass(frozen=True)
class Content:
    """Everything that the page and the Markdown show, in their order."""

    title: str
    compared: str
    read_with_care: list[str]
    not_shown: list[str]
    how_sure: list[str]
    sections: list[Section]
    examples: list[Example] = field(default_factory=list)
    recipes: dict[str, str] = field(default_factory=dict)
    """Resolved recipes as YAML, by the name of their run."""

    @property
    def tables(self) -> list[Table]:
        """The tables of all sections."""
        return [table for section in self.sections for table in section.tables]


def gather(inputs: ReportInputs, figures: Figures) -> Content:
    """The sentences, sections and examples of the report."""
    return Content(
        title=inputs.recipe.name,
        compared=compared(inputs, figures),
        read_with_care=read_with_care(inputs, figures),
        not_shown=not_shown(inputs, figures),
        how_sure=how_sure(),
        sections=make_sections(inputs, figures),
        examples=[_example(row) for row in inputs.examples],
        recipes={inputs.recipe.name: as_yaml(public_recipe(inputs.recipe.model_dump(mode="json")))},
    )


def render_page(content: Content) -> str:
    """The content as one HTML page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["as_svg"] = lambda plot: Markup(plot.draw())
    environment.filters["numeric_columns"] = numeric_columns
    environment.filters["is_folded"] = lambda table: table.folded or len(table.rows) > _ROWS_UNFOLDED
    environment.filters["breakable"] = lambda name: Markup(re.sub(r"([._:])", r"\1<wbr>", str(escape(name))))
    environment.filters["pieces"] = lambda cell: cell.split(", p ", 1)
    environment.filters["is_sure"] = lambda cell: cell.endswith((", higher", ", lower"))
    environment.filters["anchor"] = lambda title: re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    template = resources.files("rcpt_ray.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(content=content, colours=COLOURS, dark_colours=DARK_COLOURS)


def numeric_columns(table: Table) -> set[int]:
    """The columns that hold nothing but figures, which are aligned to the right."""
    columns = range(1, len(table.columns))
    return {column for column in columns if all(_is_number(row[column]) for row in table.rows)}


def as_yaml(values: object) -> str:
    """Settings as they would stand in a recipe's file."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _is_number(cell: str) -> bool:
    return cell == NOTHING or _NUMERIC.fullmatch(cell) is not None


def _example(row: dict[str, object]) -> Example:
    ended = f"finish reason {row['finish_reason']}"
    status = f"rejected as {row['reason']}" if row["status"] != "ok" else "kept"
    lengths = f"thought {row['num_thought_tokens']} tokens, text {row['num_text_tokens']} tokens"
    facts = f"{row['domain']}, source {row['source']}; {lengths}; {ended}; {status}"
    return Example(str(row["doc_id"]), facts, str(row["text"]), str(row["thought"]))
