"""Write the report of a run: report.html, report.md and summary.json.

Invariants: each file is written whole or not at all; the same inputs give the same bytes; texts from data stay text in
Markdown too (escaped in sentences and cells, fenced in examples). Price: seconds, most of it importing matplotlib.
"""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Outcome, write_atomic
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.page import Content, gather, render_page
from rcpt_ray.report.statistics import ArmFigures, Estimate, measure_arms
from rcpt_ray.report.table import Table


def write_report(inputs: ReportInputs, folder: Path) -> Outcome:
    """Write the three files into `folder`."""
    figures = measure_arms(inputs)
    content = gather(inputs, figures)
    write_atomic(folder / "report.html", render_page(content))
    write_atomic(folder / "report.md", render_markdown(content))
    write_atomic(folder / "summary.json", render_summary(figures))
    return Outcome(Counts(unit="arm", num_in=len(figures), num_ok=len(figures)))


def render_markdown(content: Content) -> str:
    """The content without its plots, which stand in report.html."""
    parts = [f"# {_escape(content.title)}", _escape(content.compared)]
    parts += ["**Read with care**", _bullets(content.read_with_care)]
    parts += ["**Not shown by this run**", _bullets(content.not_shown)]
    parts += [_markdown_table(table) for table in content.tables]
    if content.plots:
        parts += ["## Plots", "The plots are in report.html. In words:", _bullets([plot.alt for plot in content.plots])]
    if content.examples:
        parts.append("## Thoughts beside their texts")
    for example in content.examples:
        parts += [f"### {_escape(example.doc_id)}", _escape(example.facts)]
        parts += ["Thought:", _fence(example.thought), "Text:", _fence(example.text)]
    return "\n\n".join(parts) + "\n"


def render_summary(figures: Sequence[ArmFigures]) -> str:
    """The figures by arm as JSON; what is not there or not finite is null."""
    by_arm = {}
    for arm in figures:
        values = dataclasses.asdict(arm)
        values["verdicts"] = {
            "accuracy_difference": {task: _verdict(estimate) for task, estimate in arm.accuracy_difference.items()},
            "bits_per_byte_difference": _verdict(arm.bits_per_byte_difference),
        }
        by_arm[values.pop("name")] = values
    return json.dumps(_finite(by_arm), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _verdict(difference: Estimate | None) -> str | None:
    return None if difference is None else difference.verdict


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case _:
            return value


def _markdown_table(table: Table) -> str:
    head, *rows = [f"| {' | '.join(map(_escape, cells))} |" for cells in (table.columns, *table.rows)]
    body = "\n".join([head, "| --- " * len(table.columns) + "|", *rows])
    return "\n\n".join(filter(None, [f"## {_escape(table.title)}", body, _escape(table.note)]))


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(sentence)}" for sentence in sentences)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: one line, its marks escaped, `<` and `&` as entities.

    An underscore within a word is no mark: `standard_tokens` stays as it is, `_a_` becomes `\\_a\\_`.
    """
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|$~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line)


def _fence(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
