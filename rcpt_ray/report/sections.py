"""The sections of a report: which tables and plots stand together, and in which order.

A table without rows and a plot without figures are left out, and a section without either; `missing` says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.plots.drawing import Plot
from rcpt_ray.report.plots.pools import plot_pools
from rcpt_ray.report.plots.results import (
    plot_depth,
    plot_gain,
    plot_measures,
    plot_samples,
    plot_thought_tokens,
    plot_transfer,
)
from rcpt_ray.report.plots.trainings import plot_trainings
from rcpt_ray.report.tables.arms import arms_table, differences_table, main_measures, seeds_table
from rcpt_ray.report.tables.corpus import corpus_table
from rcpt_ray.report.tables.depth import depth_table, heldout_thoughts_table, samples_table
from rcpt_ray.report.tables.groups import accuracy_tables, gain_table, subject_tables, transfer_table
from rcpt_ray.report.tables.run import cost_table, mixtures_table, rejections_table, stages_table, versions_table
from rcpt_ray.report.tables.table import Table


@dataclass(frozen=True)
class Section:
    """Tables and plots that are read together."""

    title: str
    lead: str
    tables: list[Table]
    plots: list[Plot]
    table_first: bool = False
    """Whether the first table stands above the plots."""


def make_sections(inputs: ReportInputs, figures: Figures) -> list[Section]:
    """Every section that has something to show, in the order of the report."""
    sections = [
        arms_section(inputs.arms, figures),
        difficulty_section(figures),
        groups_section(figures),
        _transfer_section(figures),
        depth_section(inputs.arms, figures),
        trainings_section(inputs.arms, figures),
        _section(
            "Thoughts and their rejections",
            "",
            [rejections_table(inputs)],
            [plot_thought_tokens(inputs.thought_tokens)],
        ),
        _section("Corpus and mixtures", "", [corpus_table(inputs), mixtures_table(inputs)], []),
        _section("What was run", "", [cost_table(inputs), stages_table(inputs), versions_table(inputs)], []),
    ]
    return [section for section in sections if section.tables or section.plots]


def arms_section(arms: Sequence[ArmResult], figures: Figures) -> Section:
    """Every arm, and its differences from baseline and control."""
    measures = main_measures(figures)
    tables = [arms_table(arms, figures)]
    for arm in references(figures):
        family = figures.family(arm, measures)
        tables.append(differences_table(figures, family, measures, f"Differences from {arm}"))
    section = _section("Arms", "", [*tables, seeds_table(arms, figures)], plot_measures(figures))
    return replace(section, table_first=True)


def difficulty_section(figures: Figures) -> Section:
    """Gains over baseline and control by difficulty."""
    tables, plots = list[Table](), list[Plot | None]()
    for measure in figures.accuracies:
        for arm in references(figures) if figures.groups(measure, "difficulty") else []:
            family = figures.family(arm, [measure], "difficulty")
            title = f"Gain over {arm} by difficulty, {measure.label}"
            tables.append(gain_table(figures, family, measure, title))
            plots.append(plot_gain(figures, family, measure, title))
    lead = (
        "Does the gain grow with difficulty? Points are differences with 95% intervals, of which the widest may leave "
        "the panel; tiers are those of the data."
    )
    return _section("Gain by difficulty", lead, [*tables, *accuracy_tables(figures, "difficulty")], plots)


def groups_section(figures: Figures) -> Section:
    """Accuracy by category, domain and subject."""
    tables = [table for by in ("category", "domain") for table in accuracy_tables(figures, by)]
    return _section("Accuracy by category, domain and subject", "", [*tables, *subject_tables(figures)], [])


def _transfer_section(figures: Figures) -> Section:
    """Training domain by evaluation category, and by held-out domain in bits per byte; needs two training domains."""
    tables, plots = list[Table](), list[Plot | None]()
    domains = {line.domain for line in figures.measured if line.arm in figures.studied}
    views = [
        (measure, by)
        for by, measures in (
            ("category", figures.accuracies),
            ("domain", figures.scored(lambda key: key[1] == "bits_per_byte")),
        )
        for measure in measures
        if len(figures.groups(measure, by)) > 1
    ]
    for measure, by in views if len(domains) > 1 else []:
        for arm in references(figures)[::-1]:
            family = figures.family(arm, [measure], by, arms=figures.studied)
            what = f"{measure.label}, gain over {arm}" if not measure.less_is_better else f"{measure.label} minus {arm}"
            tables.append(transfer_table(figures, family, measure, by, what))
            plots.append(plot_transfer(figures, family, measure, by, what))
    lead = "Rows are what Reasoning CPT was trained on, columns what it is measured on; a star is outside the noise."
    return _section("Transfer between domains", lead, tables, plots)


def depth_section(arms: Sequence[ArmResult], figures: Figures) -> Section:
    """Thoughts of the evaluation: depth, samples, and the perplexity of held-out ones."""
    tables = [depth_table(arms, figures), samples_table(arms, figures), heldout_thoughts_table(figures)]
    return _section("Depth of reasoning", "", tables, [*plot_depth(arms, figures), *plot_samples(figures)])


def trainings_section(arms: Sequence[ArmResult], figures: Figures) -> Section:
    """Curves of the trainings; with several seeds the mean, in a band from the least to the most."""
    seeds = any(line.num_seeds > 1 for line in figures.lines)
    lead = "A curve is the mean over seeds, its band goes from the least to the most." if seeds else ""
    pools = [plot_pools(arm) for arm in arms]
    return _section("Trainings", lead, [], [*plot_trainings(arms, figures.lines), *pools])


def references(figures: Figures) -> list[str]:
    """The arms that differences are taken against: baseline, then control."""
    measured = {line.arm for line in figures.measured}
    return [arm for arm in dict.fromkeys((figures.baseline, figures.control)) if arm is not None and arm in measured]


def _section(title: str, lead: str, tables: Sequence[Table], plots: Sequence[Plot | None]) -> Section:
    shown = [table for table in tables if table.rows]
    return Section(title, lead, shown, [plot for plot in plots if plot is not None])
