"""Write the report of a run: report.html, report.md, summary.json, and inputs.json for reports that compare runs.

Invariants: each file is written whole or not at all; the same inputs give the same bytes; texts from data stay text in
Markdown too (escaped in sentences and cells, fenced in examples); no file tells where on a machine the run was.
Price: importing matplotlib and scipy (2 s), 0.1 s a plot, and the bootstrap of `figures`.
"""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Outcome, write_atomic
from rcpt_ray.redact import printable
from rcpt_ray.report.figures import Figures, measure_run
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.page import Content, gather, render_page
from rcpt_ray.report.public import public_inputs
from rcpt_ray.report.sections import references
from rcpt_ray.report.sources import SOURCES, render_sources
from rcpt_ray.report.tables.arms import main_measures
from rcpt_ray.report.tables.table import Table


def write_report(inputs: ReportInputs, folder: Path) -> Outcome:
    """Write the four files into `folder`; an arm without an evaluation counts as rejected."""
    inputs = public_inputs(inputs)
    figures = measure_run(inputs)
    write_content(gather(inputs, figures), folder)
    write_atomic(folder / "summary.json", render_summary(figures))
    write_atomic(folder / SOURCES, render_sources(inputs))
    num_ok = sum(arm.evaluation is not None for arm in inputs.arms)
    failed = len(inputs.arms) - num_ok
    return Outcome(Counts.of("arm", num_ok, {"not_measured": failed} if failed else {}))


def write_content(content: Content, folder: Path) -> None:
    """Write the page and the Markdown."""
    write_atomic(folder / "report.html", render_page(content))
    write_atomic(folder / "report.md", render_markdown(content))


def render_markdown(content: Content) -> str:
    """The content without its plots, which stand in report.html."""
    parts = [f"# {_escape(content.title)}", _escape(content.compared)]
    for title, told in (
        ("Read with care", content.read_with_care),
        ("Not shown by this run", content.not_shown),
        ("How sure the figures are", content.how_sure),
    ):
        parts += [f"**{title}**", _bullets(told)] if told else []
    for section in content.sections:
        parts += [f"## {_escape(section.title)}", *([_escape(section.lead)] if section.lead else [])]
        parts += [_markdown_table(table) for table in section.tables]
        if section.plots:
            parts += ["Plots (drawn in report.html), in words:", _bullets([plot.alt for plot in section.plots])]
    for run, recipe in content.recipes.items():
        parts += [f"## Recipe of {_escape(run)}", _fence(recipe.rstrip(), "yaml")]
    if content.examples:
        parts.append("## Thoughts beside their texts")
    for example in content.examples:
        parts += [f"### {_escape(example.doc_id)}", _escape(example.facts)]
        parts += ["Thought:", _fence(example.thought), "Text:", _fence(example.text)]
    return "\n\n".join(parts) + "\n"


def render_summary(figures: Figures) -> str:
    """The estimates by line and measure, and their differences, as JSON; what is not there or not finite is null."""
    by_line: dict[str, Any] = {
        line.name: {"seeds": line.num_seeds, "missing": len(line.missing)} for line in figures.lines
    }
    for measure in figures.measures.values():
        for (name, _), estimate in figures.by(measure).items():
            by_line[name].setdefault("measures", {})[f"{measure.task}/{measure.metric}"] = dataclasses.asdict(estimate)
    for arm in references(figures):
        for (name, key, _), difference in figures.family(arm, main_measures(figures)).differences.items():
            told = dataclasses.asdict(difference) | {"verdict": difference.verdict}
            by_line[name].setdefault(f"differences_from_{arm}", {})["/".join(key)] = told
    return as_json(by_line)


def as_json(values: Any) -> str:
    """Figures as JSON, to six digits; what is not finite is null."""
    return json.dumps(_finite(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def _markdown_table(table: Table) -> str:
    head, *rows = [f"| {' | '.join(map(_escape, cells))} |" for cells in (table.columns, *table.rows)]
    body = "\n".join([head, "| --- " * len(table.columns) + "|", *rows])
    return "\n\n".join(filter(None, [f"### {_escape(table.title)}", body, _escape(table.note)]))


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(sentence)}" for sentence in sentences)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: one line, its marks escaped, `<` and `&` as entities.

    An underscore within a word is no mark: `standard_tokens` stays as it is, `_a_` becomes `\\_a\\_`.
    """
    one_line = " ".join(printable(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|$~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line)


def _fence(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"
