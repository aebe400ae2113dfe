"""The report's tables by group: accuracy by difficulty, category, domain and subject; gains; the transfer matrix."""

from collections.abc import Sequence

from rcpt_ray.report.figures import Family, Figures
from rcpt_ray.report.statistics.measures import Measure
from rcpt_ray.report.tables.arms import INTERVALS, family_note
from rcpt_ray.report.tables.cells import NOTHING, difference_cell, digits_of, estimate_cell
from rcpt_ray.report.tables.table import Table


def accuracy_table(figures: Figures, by: str) -> Table:
    """One row a task and line, a column a group with its number of questions; none where no question has the field."""
    measures = figures.questions
    groups = list(dict.fromkeys(group for measure in measures for group in figures.groups(measure, by)))
    rows = []
    for measure in measures:
        found = figures.by(measure, by)
        for line in figures.measured:
            cells = [estimate_cell(found.get((line.name, group))) for group in groups]
            if set(cells) - {NOTHING}:
                rows.append([line.name, measure.label, *cells])
    numbers = {group: _num_items(figures, measures, by, group) for group in groups}
    columns = ["Arm", "Measure", *(f"{group} ({numbers[group]})" for group in groups)]
    note = f"In brackets behind a group its number of questions. {INTERVALS}{_chance_words(figures)}"
    return Table(f"Accuracy by {by}", columns, rows, note)


def subject_tables(figures: Figures) -> list[Table]:
    """For each measure of questions one row a subject, a column a line."""
    tables = []
    for measure in figures.questions:
        groups, found = figures.groups(measure, "subject"), figures.by(measure, "subject")
        lines = [line for line in figures.measured if any((line.name, group) in found for group in groups)]
        rows = [
            [
                group,
                _num_items(figures, [measure], "subject", group),
                *(estimate_cell(found.get((line.name, group))) for line in lines),
            ]
            for group in groups
        ]
        columns = ["Subject", "Questions", *(line.name for line in lines)]
        tables.append(Table(f"{measure.label} by subject", columns, rows, INTERVALS, folded=True))
    return [table for table in tables if len(table.rows) > 1]


def gain_table(figures: Figures, family: Family, measures: Sequence[Measure], title: str) -> Table:
    """One row a measure and line: its difference from its counterpart in each group of difficulty."""
    groups = list(dict.fromkeys(group for _, _, group in family.differences))
    groups.sort(key=lambda group: " minus " in group)
    rows = []
    for measure in measures:
        key = (measure.task, measure.metric)
        for line in figures.measured:
            cells = [difference_cell(family.differences.get((line.name, key, group))) for group in groups]
            if set(cells) - {NOTHING}:
                rows.append([line.name, measure.label, *cells])
    note = family_note(family)
    note += " The last column says whether the gain is larger on the hardest questions than on the easiest."
    return Table(title, ["Arm", "Measure", *groups], rows, note)


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


def _num_items(figures: Figures, measures: Sequence[Measure], by: str, group: str) -> str:
    numbers = {
        estimate.num_items
        for measure in measures
        for (_, name), estimate in figures.by(measure, by).items()
        if name == group
    }
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(f"{number:,}" for number in ends)


def _chance_words(figures: Figures) -> str:
    known = [f"{chance:g} on {task}" for task, chance in sorted(figures.chance.items())]
    return f" Guessing gives {', '.join(known)}." if known else ""
