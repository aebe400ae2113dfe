"""The report's tables by group: accuracy by difficulty, category, domain and subject; gains; the transfer matrix."""

from rcpt_ray.report.figures import Family, Figures
from rcpt_ray.report.statistics.measures import Measure
from rcpt_ray.report.tables.arms import family_note
from rcpt_ray.report.tables.cells import NOTHING, difference_cell, digits_of, estimate_cell
from rcpt_ray.report.tables.table import Table


def accuracy_tables(figures: Figures, by: str) -> list[Table]:
    """For each measure one row a line, a column a group with its number of questions; none without the field."""
    tables = []
    for measure in figures.accuracies:
        found, groups = figures.by(measure, by), figures.groups(measure, by)
        lines = [line for line in figures.measured if any((line.name, group) in found for group in groups)]
        rows = [[line.name, *(estimate_cell(found.get((line.name, group))) for group in groups)] for line in lines]
        columns = ["Arm", *(f"{group} ({_num_items(figures, measure, by, group)})" for group in groups)]
        note = f"In brackets behind a group its number of questions.{_chance_words(figures, measure)}"
        tables.append(Table(f"{measure.label} by {by}", columns, rows, note))
    return tables


def subject_tables(figures: Figures) -> list[Table]:
    """For each measure of questions one row a subject, a column a line."""
    tables = []
    for measure in figures.accuracies:
        groups, found = figures.groups(measure, "subject"), figures.by(measure, "subject")
        lines = [line for line in figures.measured if any((line.name, group) in found for group in groups)]
        rows = [
            [
                group,
                _num_items(figures, measure, "subject", group),
                *(estimate_cell(found.get((line.name, group))) for line in lines),
            ]
            for group in groups
        ]
        columns = ["Subject", "Questions", *(line.name for line in lines)]
        tables.append(Table(f"{measure.label} by subject", columns, rows, folded=True))
    return [table for table in tables if len(table.rows) > 1]


def gain_table(figures: Figures, family: Family, measure: Measure, title: str) -> Table:
    """One row a line: its difference from its counterpart in each tier of difficulty."""
    key = (measure.task, measure.metric)
    groups = list(dict.fromkeys(group for _, own, group in family.differences if own == key))
    rows = []
    for line in figures.measured:
        cells = [difference_cell(family.differences.get((line.name, key, group))) for group in groups]
        if set(cells) - {NOTHING}:
            rows.append([line.name, *cells])
    note = family_note(family)
    if any(" minus " in group for group in groups):
        note += " The last column says whether the gain is larger on the hardest questions than on the easiest."
    return Table(title, ["Arm", *groups], rows, note)


def transfer_table(figures: Figures, family: Family, measure: Measure, by: str, title: str) -> Table:
    """One row a training domain of the studied arm, a column a group of the evaluation."""
    key, groups = (measure.task, measure.metric), figures.groups(measure, by)
    rows = []
    for line in figures.measured:
        cells = [
            difference_cell(family.differences.get((line.name, key, group)), digits_of(measure)) for group in groups
        ]
        if set(cells) - {NOTHING}:
            rows.append([line.name, *cells])
    better = " Less is better." if measure.less_is_better else ""
    return Table(title, ["Trained on", *groups], rows, family_note(family) + better)


def _num_items(figures: Figures, measure: Measure, by: str, group: str) -> str:
    """Questions of a group, the fewest and the most where arms answered different ones."""
    numbers = {estimate.num_items for (_, name), estimate in figures.by(measure, by).items() if name == group}
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(f"{number:,}" for number in ends)


def _chance_words(figures: Figures, measure: Measure) -> str:
    chance = figures.chance.get(measure.task)
    return f" Guessing gives {chance:g}." if chance is not None else ""
