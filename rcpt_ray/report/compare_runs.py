"""`rcpt report A B C`: one page that compares finished runs, from their manifests and rows alone.

    run folders -> inputs.json of each -> arms named run:arm, side by side -> differences of each run from the first

Invariants: a difference is taken only where both runs answered the same items: equal task, id, and digest of the file
of questions (of held-out documents, equal bytes); how many are shared is said. Nothing in the run folders is changed,
but for the new folder of the comparison, by default in the first run's `compared/`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rcpt_ray.errors import UserError
from rcpt_ray.report.figures import Figures, Pair, chance_of, measures_of
from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.lines import have_unequal_seeds, make_lines, paired
from rcpt_ray.report.measured_alike import how_measured
from rcpt_ray.report.page import Content, as_yaml
from rcpt_ray.report.plots.results import plot_measures
from rcpt_ray.report.sections import Section, depth_section, groups_section
from rcpt_ray.report.side_by_side import side_by_side
from rcpt_ray.report.sources import FinishedRun, read_run, settings_apart
from rcpt_ray.report.statistics.measures import Measure
from rcpt_ray.report.tables.arms import arms_table, differences_table, main_measures, seeds_table
from rcpt_ray.report.tables.cells import NOTHING
from rcpt_ray.report.tables.groups import accuracy_tables, gain_table
from rcpt_ray.report.tables.table import Table
from rcpt_ray.report.words import how_sure, listed
from rcpt_ray.report.write import write_content

_SETTINGS_NAMED: Final = 5


def compare_runs(paths: Sequence[str], to: str | None = None) -> Path:
    """Write report.html and report.md that compare the runs in `paths`; returns their folder.

    Raises:
        UserError: fewer than two runs, one named twice, one without a finished report, or `to` is not empty.
    """
    if len(paths) < 2:
        raise UserError(f"report of {paths[0]} alone compares nothing; name two or more run folders, or a recipe")
    runs = [read_run(path) for path in paths]
    twice = [str(folder) for folder, number in Counter(run.folder for run in runs).items() if number > 1]
    if twice:
        raise UserError(f"{twice[0]} is named twice; name each run folder once")
    runs = _with_own_names(runs)
    folder = _target(runs, to)
    write_content(compare(runs), folder)
    return folder


def compare(runs: Sequence[FinishedRun]) -> Content:
    """What the page of several runs says; their names differ."""
    arms, apart = side_by_side(runs)
    lines = make_lines(arms)
    figures = Figures(
        lines=lines,
        measures=measures_of(arms),
        baseline="",
        control=None,
        studied=[],
        seed=int(runs[0].recipe.get("seed", 0)),
        chance=chance_of(arms),
    )
    by_name = {line.name: line for line in figures.measured}
    first = f"{runs[0].name}:"
    pairs = [
        paired(line, other)
        for line in figures.measured
        if not line.name.startswith(first) and (other := by_name.get(first + line.name.partition(":")[2])) is not None
    ]
    difficult = [measure for measure in figures.accuracies if figures.groups(measure, "difficulty")]
    reference, title = f"the same arm of {runs[0].name}", f"Differences from {runs[0].name}"
    over_all = figures.family_of(pairs, reference, main_measures(figures))
    by_tier = [
        gain_table(
            figures,
            figures.family_of(pairs, reference, [measure], "difficulty"),
            measure,
            f"{title} by difficulty, {measure.label}",
        )
        for measure in difficult
    ]
    sections = [
        Section("Runs", "", [_runs_table(runs), _settings_table(runs)], []),
        Section("Arms", "", [arms_table(arms, figures), seeds_table(arms, figures)], plot_measures(figures), True),
        Section(
            title,
            "",
            [
                differences_table(figures, over_all, main_measures(figures), f"{title}, arm by arm"),
                _shared_table(figures, pairs),
                *by_tier,
            ],
            [],
        ),
        Section("Accuracy by difficulty", "", accuracy_tables(figures, "difficulty"), []),
        groups_section(figures),
        depth_section(arms, figures),
    ]
    shown = [replace(section, tables=[table for table in section.tables if table.rows]) for section in sections]
    return Content(
        title=f"{listed([run.name for run in runs])} compared",
        compared=f"{len(runs)} finished runs side by side; differences are taken from {runs[0].name}.",
        read_with_care=[*(sentence for run in runs for sentence in _about(run)), *how_measured(arms)],
        not_shown=[*apart, *_not_shown(figures, arms, pairs, first)],
        how_sure=how_sure(),
        sections=[section for section in shown if section.tables or section.plots],
        recipes={run.name: as_yaml(run.recipe) for run in runs},
    )


def _with_own_names(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs of one recipe's name are named by their folders; of equal folders' names, numbered too."""
    for given in ([run.name for run in runs], [run.folder.name for run in runs]):
        names = [re.sub(r"[^\w-]", "_", name) for name in given]
        if len(set(names)) == len(names):
            return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    return [replace(run, name=f"{run.folder.name}_{place}") for place, run in enumerate(runs, start=1)]


def _target(runs: Sequence[FinishedRun], to: str | None) -> Path:
    if to is not None:
        folder = Path(to).expanduser().absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"--to {to} is not an empty folder; give a new one")
        return folder
    base = runs[0].folder / "compared"
    name = "_".join(run.name for run in runs)[:100]
    taken = {folder.name for folder in base.glob("*")}
    return base / next(one for number in range(1, 10**6) if (one := f"{name}-{number}") not in taken)


def _about(run: FinishedRun) -> list[str]:
    """Who was trained and who wrote the thoughts, and which report of the run this is from."""
    sentences = [f"{run.name}: student {run.student}; teacher {run.teacher}."]
    if run.settings_apart:
        number = len(run.settings_apart)
        names = [*run.settings_apart[:_SETTINGS_NAMED], *(["others"] if number > _SETTINGS_NAMED else [])]
        sentences.append(
            f"{run.name}: no finished report is of the recipe of the run's last command; this is from report "
            f"{run.report}, whose recipe differs in {number:,} setting{'s' * (number > 1)}: {listed(names)} (rcpt "
            "report with that recipe makes its own)."
        )
    else:
        sentences.append(f"{run.name}: from report {run.report}, of the recipe of the run's last command.")
    return sentences


def _runs_table(runs: Sequence[FinishedRun]) -> Table:
    rows = [
        [
            run.name,
            run.report,
            run.student,
            run.teacher,
            str(len(run.arms)),
            str(sum(not arm.evaluation for arm in run.arms)),
        ]
        for run in runs
    ]
    return Table("Runs", ["Run", "Report", "Student", "Teacher", "Variants", "Not measured"], rows)


def _settings_table(runs: Sequence[FinishedRun]) -> Table:
    """One row a setting of the recipes in which the runs differ."""
    rows = [
        [name, *(NOTHING if value is None else value for value in values)]
        for name, values in settings_apart([run.recipe for run in runs]).items()
        if name != "name"
    ]
    note = f"All other settings are equal; {NOTHING} where a recipe does not have the setting."
    return Table("Settings that differ", ["Setting", *(run.name for run in runs)], rows, note)


def _shared_table(figures: Figures, pairs: Sequence[Pair]) -> Table:
    """One row a measure and pair: the items that both answered."""
    rows = []
    for measure in main_measures(figures):
        for line, other in pairs:
            numbers = [_num_items(measure, [*one.rows]) for one in (line, other)]
            shared = _num_items(measure, [*line.rows, *other.rows])
            if all(numbers):
                rows.append(
                    [line.name, other.name, measure.label, f"{shared:,}", *(f"{number:,}" for number in numbers)]
                )
    columns = ["Arm", "Compared with", "Measure", "Shared", "Of the arm's", "Of the other's"]
    return Table("Items that both answered", columns, rows, "Differences are taken over these alone.", folded=True)


def _num_items(measure: Measure, rows: list[int]) -> int:
    return int(measure.present_VN[rows].all(axis=0).sum())


def _not_shown(figures: Figures, arms: Sequence[ArmResult], pairs: Sequence[Pair], first: str) -> list[str]:
    reasons = [f"{arm.name} was not measured: {arm.failure or 'not yet'}." for arm in arms if arm.evaluation is None]
    compared = {line.name for line, _ in pairs}
    alone = [line.name for line in figures.measured if not line.name.startswith(first) and line.name not in compared]
    if alone:
        reasons.append(f"No arm of that name in {first[:-1]}, so no difference: {listed(alone)} (arms).")
    lone = [f"{line.name} and {other.name}" for line, other in pairs if have_unequal_seeds(line, other)]
    if lone:
        reasons.append(
            f"Only one line of {'; '.join(lone)} has several seeds, so their spread counts for both (comparison.seeds)."
        )
    for measure in main_measures(figures):
        none = [f"{line.name}" for line, other in pairs if not _num_items(measure, [*line.rows, *other.rows])]
        if none and len(none) == len(pairs):
            reasons.append(f"{measure.label}: no item is shared with {first[:-1]}, so no difference is given.")
    reasons.append("Curves of trainings, corpora, mixtures and thoughts are in each run's own report.")
    return reasons
