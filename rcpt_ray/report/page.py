"""What the report says, and the HTML page that shows it.

    ReportInputs, figures of the arms -> Content (sentences, tables, plots, examples) -> one self-contained page

Invariants: the page loads nothing and runs nothing (its own policy forbids both); every name and text from data is
escaped, only the SVG that `drawing` made is taken as markup; what the run does not show is said at the top.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rcpt_ray.report.drawing import Plot
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.plots import make_plots
from rcpt_ray.report.statistics import CHANCE, ArmFigures
from rcpt_ray.report.table import Table
from rcpt_ray.report.tables import NOTHING, make_tables

_NUMERIC: Final = re.compile(r"([+−]?\d[\d,]*(\.\d+)?%?( [(±].*)?|baseline)")


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
    tables: list[Table]
    plots: list[Plot]
    examples: list[Example]


def gather(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> Content:
    """The sentences, tables, plots and examples of the report."""
    return Content(
        title=inputs.recipe.name,
        compared=_compared(inputs, figures),
        read_with_care=_read_with_care(inputs, figures),
        not_shown=_not_shown(inputs, figures),
        tables=make_tables(inputs, figures),
        plots=make_plots(inputs, figures),
        examples=[_example(row) for row in inputs.examples],
    )


def render_page(content: Content) -> str:
    """The content as one HTML page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["as_svg"] = lambda plot: Markup(plot.svg)
    environment.filters["numeric_columns"] = numeric_columns
    template = resources.files("rcpt_ray.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(content=content)


def numeric_columns(table: Table) -> set[int]:
    """The columns that hold nothing but numbers, which are aligned to the right."""
    columns = range(1, len(table.columns))
    return {column for column in columns if all(_is_number(row[column]) for row in table.rows)}


def _is_number(cell: str) -> bool:
    return cell == NOTHING or _NUMERIC.fullmatch(cell) is not None


def _compared(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> str:
    if not inputs.arms:
        return "No arm of this run has been measured, so nothing is compared."
    arms = [f"{arm.name} ({arm.description})" if arm.description else arm.name for arm in inputs.arms]
    questions = {task: estimate.num_items for arm in figures for task, estimate in arm.accuracy.items()}
    num_documents = max((e.num_items for arm in figures for e in arm.bits_per_byte.values()), default=0)
    measures = [f"{number:,} questions of {task}" for task, number in questions.items()]
    measures += [f"{num_documents:,} held-out documents"] if num_documents else []
    compared = f"{len(arms)} arms were compared" if len(arms) > 1 else "One arm was measured"
    return f"{compared} on {_listed(measures) or 'nothing'}: {'; '.join(arms)}."


def _read_with_care(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> list[str]:
    """Who wrote the thoughts, who was trained, and how far the figures carry."""
    student = inputs.recipe.student
    tuned = "was" if student.instruction_tuned else "was not"
    sentences = [f"Student: {inputs.student}. It {tuned} instruction-tuned before this run."]
    if inputs.thoughts is None:
        sentences.insert(0, "Teacher: none. No arm of this run needed thoughts.")
    else:
        sentences.insert(0, f"Teacher: {inputs.teacher}.")
        trained = [inputs.recipe.arm_settings(name) for name, arm in inputs.recipe.arms.items() if arm.train]
        writers = [settings.thoughts for settings in trained if settings.mixture.needs_thoughts]
        if any(writer.engine == "fake" for writer in writers):
            sentences.append(
                "The thoughts were written by the fake engine, words without a model: nothing about thoughts can be "
                "read from this run."
            )
        if any(writer.teacher.reference == student.reference for writer in writers):
            sentences.append(
                "Teacher and student are the same model, so no claim about distillation or about the method rests on "
                "this run."
            )
    by_chance = _not_distinguishable_from_chance(figures)
    if by_chance:
        sentences += by_chance
        sentences.append(
            "Accuracy near chance, which MMLU-like scores of small models are, cannot tell arms apart; the living "
            "figures are held-out bits per byte, losses, lengths and throughput."
        )
    return sentences


def _not_distinguishable_from_chance(figures: Sequence[ArmFigures]) -> list[str]:
    sentences = []
    for task in sorted({task for arm in figures for task in arm.accuracy}):
        names = [arm.name for arm in figures if task in arm.accuracy and arm.accuracy[task].may_be(CHANCE)]
        if names:
            verb, whose = (
                ("is", "its 95% interval contains") if len(names) == 1 else ("are", "their 95% intervals contain")
            )
            sentences.append(f"On {task}, {_listed(names)} {verb} not distinguishable from chance: {whose} {CHANCE}.")
    return sentences


def _not_shown(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> list[str]:
    """What a reader might look for and this run leaves out."""
    settings = {name: inputs.recipe.arm_settings(name) for name in inputs.recipe.arms}
    measured = [arm.name for arm in inputs.arms]
    unmeasured = [name for name in settings if name not in measured]
    trained = [arm.name for arm in inputs.arms if arm.training is not None]
    with_thoughts = [name for name in trained if settings[name].mixture.layout != "text_only"]
    reasons = [f"One seed ({inputs.recipe.seed}), so differences between seeds are not measured."]
    if unmeasured:
        reasons.append(f"Not measured yet: {_listed(unmeasured)}.")
    if inputs.recipe.report.baseline in unmeasured:
        reasons.append(f"The baseline {inputs.recipe.report.baseline} is missing, so no differences are given.")
    if not trained:
        reasons.append("No arm was trained, so there are no losses and no mixtures.")
    if inputs.thoughts is None:
        reasons.append("No thoughts, so nothing is said of their length, their rejections or their text.")
    elif not inputs.thought_tokens:
        reasons.append("No thought was kept, so nothing is said of their length.")
    if with_thoughts and not any(settings[name].mixture.match_tokens_of in with_thoughts for name in trained):
        reasons.append(
            "No token-matched control: thoughts add tokens, and what of a difference comes from more tokens is not "
            "measured."
        )
    if not any(arm.accuracy for arm in figures):
        reasons.append("No questions (evaluation.tasks), so there is no accuracy.")
    if not any(arm.bits_per_byte for arm in figures):
        reasons.append("No held-out documents were scored, so there are no bits per byte.")
    return reasons


def _example(row: dict[str, object]) -> Example:
    ended = f"finish reason {row['finish_reason']}"
    status = f"rejected as {row['reason']}" if row["status"] != "ok" else "kept"
    lengths = f"thought {row['num_thought_tokens']} tokens, text {row['num_text_tokens']} tokens"
    facts = f"{row['domain']}, source {row['source']}; {lengths}; {ended}; {status}"
    return Example(str(row["doc_id"]), facts, str(row["text"]), str(row["thought"]))


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
