"""The report's tables of arms: what each was trained on, what was measured of it, and how it differs from others.

A row is a line: an arm on one training domain, over its seeds; the figures seed by seed stand in a folded table.
"""

import math
import statistics
from collections.abc import Callable, Sequence

from rcpt_ray.report.figures import Family, Figures
from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.lines import Line
from rcpt_ray.report.statistics.measures import ALL, Measure
from rcpt_ray.report.tables.cells import NOTHING, count, difference_cell, digits_of, estimate_cell, number
from rcpt_ray.report.tables.table import Table


def arms_table(arms: Sequence[ArmResult], figures: Figures) -> Table:
    """One row a line: what it was trained on and what was measured of it."""
    bits = figures.scored(lambda key: key[1] == "bits_per_byte")
    columns = ["Arm", "Seeds", "Trained tokens", "Training loss, last step (nats/token)"]
    columns += [measure.label for measure in figures.questions]
    columns += [
        f"Bits/byte, {domain}" for measure in bits for domain in ["all domains", *figures.groups(measure, "domain")]
    ]
    rows = []
    for line in figures.lines:
        trainings = [arms[place] for place in (*line.rows, *line.missing)]
        seeds = str(line.num_seeds) + (f" ({len(line.missing)} missing)" if line.missing else "")
        cells = [line.name, seeds if line.trained or line.missing else NOTHING]
        cells += [_mean_count(trainings, _trained_tokens), _mean_loss(trainings)]
        for measure in figures.questions:
            cells.append(estimate_cell(figures.by(measure).get((line.name, ALL))))
        for measure in bits:
            cells.append(estimate_cell(figures.by(measure).get((line.name, ALL)), 4))
            of_domains = figures.by(measure, "domain")
            cells += [estimate_cell(of_domains.get((line.name, name)), 4) for name in figures.groups(measure, "domain")]
        rows.append(cells)
    note = (
        "Intervals of 95% in brackets. Trained tokens are the targets of all steps, every epoch counted; losses of "
        "arms are taken over different tokens and are not comparable. Bits per byte are means over held-out documents "
        "weighted by their bytes; less is better. An arm's own interval is usually wider than that of a paired "
        "difference."
    )
    return Table("Arms", columns, rows, note)


def seeds_table(arms: Sequence[ArmResult], figures: Figures) -> Table:
    """One row a variant of the lines that have several."""
    measures = [*figures.questions, *figures.scored(lambda key: key[1] == "bits_per_byte")]
    columns = ["Variant", "Seed", "Trained tokens", "Training loss, last step", *(m.label for m in measures)]
    rows = []
    for line in figures.lines:
        for place in sorted((*line.rows, *line.missing)):
            arm = arms[place]
            cells = [arm.name, str(arm.seed), count(_trained_tokens(arm)), number(_last_loss(arm), 3)]
            cells += [_mean_of_variant(measure, place) for measure in measures]
            if len(line.rows) + len(line.missing) > 1:
                rows.append(cells)
    return Table("Arms, seed by seed", columns, rows, "Means over all items; intervals are in the table of arms.", True)


def differences_table(figures: Figures, family: Family, measures: Sequence[Measure], title: str) -> Table:
    """One row a line: its differences from its counterpart, in every measure."""
    lines = _named(figures, family)
    rows = [
        [
            line.name,
            *(
                difference_cell(family.differences.get((line.name, (m.task, m.metric), ALL)), digits_of(m))
                for m in measures
            ),
        ]
        for line in lines
    ]
    return Table(title, ["Arm", *(measure.label for measure in measures)], rows, family_note(family))


def family_note(family: Family) -> str:
    """What the differences of a table are of, and how many they are."""
    return (
        f"Each line minus {family.reference} (of the same training domain, where it has one), over the items that both "
        f"answered. p values are corrected for the {family.num_comparisons} comparisons of this table (Holm)."
    )


def main_measures(figures: Figures) -> list[Measure]:
    """The measures that differences between arms are shown in."""
    kinds = ("bits_per_byte", "thought_nats", "gain")
    return [*figures.questions, *figures.scored(lambda key: key[1] in kinds)]


def _named(figures: Figures, family: Family) -> list[Line]:
    names = {name for name, _, _ in family.differences}
    return [line for line in figures.lines if line.name in names]


def _trained_tokens(arm: ArmResult) -> int | None:
    return None if arm.steps is None or not len(arm.steps) else sum(arm.steps["num_tokens"].to_pylist())


def _last_loss(arm: ArmResult) -> float | None:
    return None if arm.steps is None or not len(arm.steps) else arm.steps.sort_by("step")["loss"][-1].as_py()


def _mean_count(arms: Sequence[ArmResult], of_arm: Callable[[ArmResult], int | None]) -> str:
    known = [value for arm in arms if (value := of_arm(arm)) is not None]
    return count(round(statistics.fmean(known))) if known else NOTHING


def _mean_loss(arms: Sequence[ArmResult]) -> str:
    known = [loss for arm in arms if (loss := _last_loss(arm)) is not None]
    return number(statistics.fmean(known), 3) if known else NOTHING


def _mean_of_variant(measure: Measure, place: int) -> str:
    present_N = measure.present_VN[place]
    weights = float(measure.weights_N[present_N].sum())
    if not weights:
        return NOTHING
    mean = float((measure.values_VN[place] * measure.weights_N)[present_N].sum()) / weights
    return number(mean, digits_of(measure)) if math.isfinite(mean) else "not a number"
