"""The report's tables as plain text cells: arms, accuracy by group, mixtures, what was run, rejections, versions.

Invariants: a table without rows is left out; what an arm does not have is a dash; a cell is what the page and the
Markdown show, so both say the same.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rcpt_ray.artifacts import Manifest
from rcpt_ray.report.corpus_table import corpus_table
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.statistics import (
    INSIDE_THE_NOISE,
    NUM_RESAMPLES,
    ArmFigures,
    Estimate,
    Item,
    estimate_share,
    group_items,
    read_items,
)
from rcpt_ray.report.table import Table

NOTHING: Final = "–"

_DIFFICULTIES: Final = ("easy", "medium", "hard", "very_hard")


@dataclass(frozen=True)
class StageRun:
    """A finished stage and the arms that it served; none for the stages that all arms share."""

    manifest: Manifest
    arms: list[str]


def make_tables(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> list[Table]:
    """Every table that has rows, in the order of the report."""
    tables = [
        arms_table(inputs, figures),
        group_table(inputs, "difficulty", lambda item: item.difficulty),
        group_table(inputs, "domain", lambda item: item.domain),
        corpus_table(inputs),
        mixtures_table(inputs),
        stages_table(inputs),
        rejections_table(inputs),
        versions_table(inputs),
    ]
    return [table for table in tables if table.rows]


def arms_table(inputs: ReportInputs, figures: Sequence[ArmFigures]) -> Table:
    """One row an arm: what it was trained on and what was measured of it."""
    baseline = inputs.recipe.report.baseline
    tasks = sorted({task for arm in figures for task in arm.accuracy})
    domains = list(dict.fromkeys(domain for arm in figures for domain in arm.bits_per_byte))
    columns = ["Arm", "Trained tokens", "Training loss, last step (nats/token)"]
    for task in tasks:
        columns += [f"{task}: accuracy", f"{task}: difference from {baseline}"]
    columns += [f"Bits/byte, {domain}" for domain in domains]
    columns += [f"Bits/byte: difference from {baseline}"] if domains else []
    rows = []
    for arm in figures:
        cells = [arm.name, _count(arm.num_trained_tokens), _number(arm.last_loss, 3)]
        for task in tasks:
            cells += [_share(arm.accuracy.get(task)), _difference(arm, baseline, arm.accuracy_difference.get(task), 3)]
        of_domains = [arm.bits_per_byte.get(domain) for domain in domains]
        cells += [_number(estimate.value, 4) if estimate else NOTHING for estimate in of_domains]
        cells += [_difference(arm, baseline, arm.bits_per_byte_difference, 4)] if domains else []
        rows.append(cells)
    note = (
        "Trained tokens are the targets of all steps, every epoch counted. Training losses of arms are taken over "
        "different tokens and are not comparable. Accuracy is given with its standard error. Bits per byte are means "
        "over held-out documents weighted by their bytes; less is better. The plot shows each arm's own interval, "
        "usually wider than that of a paired difference. A difference has a 95% interval from a paired bootstrap "
        f"({NUM_RESAMPLES:,} draws of the same questions or held-out documents); where it contains 0 the difference is "
        f"called {INSIDE_THE_NOISE}. Intervals cover the choice of questions and documents, not the seed of training, "
        "and are not corrected for the number of comparisons."
    )
    return Table("Arms", columns, rows, note)


def group_table(inputs: ReportInputs, name: str, key: Callable[[Item], str | None]) -> Table:
    """Accuracy by a field of the questions: one row a task and arm, none where no question has the field."""
    questions = {
        (task, arm.name): group_items(items, key)
        for arm in inputs.arms
        for task, items in group_items(read_items(arm.scores, "acc"), lambda item: item.task).items()
    }
    groups = sorted({group for by_group in questions.values() for group in by_group}, key=_rank)
    rows = [
        [arm, task, *(_share_of_items(by_group.get(group, [])) for group in groups)]
        for (task, arm), by_group in sorted(questions.items(), key=lambda item: item[0][0])
        if groups != ["unknown"]
    ]
    note = "Share of right answers ± standard error (number of questions). Guessing gives 0.25."
    return Table(f"Accuracy by {name}", ["Arm", "Task", *groups], rows, note)


def mixtures_table(inputs: ReportInputs) -> Table:
    """One row an arm and component: the share of tokens asked for and the share reached."""
    rows = []
    for arm in inputs.arms:
        if arm.mixture is None:
            continue
        details = arm.mixture.details
        target, achieved = _shares(details, "target"), _shares(details, "achieved")
        num_draws, num_documents = details.get("num_draws"), arm.mixture.counts.num_ok
        of_arm = [
            _count(arm.mixture.tokens.get("all")),
            _count(details.get("num_rows")),
            _percent(details.get("padding_share")),
            f"{num_draws / num_documents:.2f}" if num_draws is not None and num_documents else NOTHING,
            _count((arm.training or arm.mixture).details.get("num_epochs")),
        ]
        for component in dict.fromkeys([*target, *achieved]) or [NOTHING]:
            shares = [_percent(target.get(component)), _percent(achieved.get(component))]
            rows.append([arm.name, component, *shares, *of_arm])
    columns = ["Arm", "Component", "Target share", "Achieved share", "Tokens", "Rows", "Padding"]
    columns += ["Draws a document", "Epochs"]
    note = "Shares are of tokens. Tokens, rows, padding, draws and epochs are those of the arm's whole mixture."
    return Table("Mixtures", columns, rows, note)


def stages_table(inputs: ReportInputs) -> Table:
    """One row a finished stage: what went in, what came out, how long it took."""
    rows = []
    for run in stage_runs(inputs):
        manifest, counts = run.manifest, run.manifest.counts
        rejected = "; ".join(f"{reason} {number:,}" for reason, number in counts.rejected.items())
        tokens = "; ".join(f"{name} {number:,}" for name, number in manifest.tokens.items())
        throughput = "; ".join(f"{name} {_number(rate, 1)}" for name, rate in manifest.throughput.items())
        rows.append(
            [
                manifest.stage,
                _names(run.arms),
                manifest.fingerprint,
                counts.unit,
                _count(counts.num_in),
                _count(counts.num_ok),
                rejected or "0",
                tokens or NOTHING,
                _number(manifest.seconds, 1),
                throughput or NOTHING,
            ]
        )
    columns = ["Stage", "Arms", "Fingerprint", "Unit", "In", "Ok", "Rejected", "Tokens", "Seconds", "Throughput"]
    note = "In = ok + rejected in the stage's unit. A stage that arms share by its fingerprint was run once."
    return Table("What was run", columns, rows, note)


def rejections_table(inputs: ReportInputs) -> Table:
    """One row a stage and reason."""
    rows = []
    for run in stage_runs(inputs):
        counts = run.manifest.counts
        for reason, number in sorted(counts.rejected.items(), key=lambda item: -item[1]):
            share = _percent(number / counts.num_in) if counts.num_in else NOTHING
            rows.append([run.manifest.stage, _names(run.arms), reason, _count(number), share, counts.unit])
    return Table("Rejections by reason", ["Stage", "Arms", "Reason", "Number", "Share of in", "Unit"], rows)


def versions_table(inputs: ReportInputs) -> Table:
    """One row a version or property of the machines, with the stages that ran with it."""
    runs = stage_runs(inputs)
    stages: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        for kind, facts in (("version", run.manifest.versions), ("hardware", run.manifest.hardware)):
            for name, value in facts.items():
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                stages.setdefault((kind, name, shown), []).append(run.manifest.stage)
    every = {run.manifest.stage for run in runs}
    rows = [
        [name, kind, value, "all" if set(of) == every else ", ".join(dict.fromkeys(of))]
        for (kind, name, value), of in sorted(stages.items(), key=lambda item: (item[0][0] != "version", item[0]))
    ]
    return Table("Versions and hardware", ["Name", "Kind", "Value", "Stages"], rows)


def stage_runs(inputs: ReportInputs) -> list[StageRun]:
    """Every finished stage once, in the order of the pipeline."""
    shared = [manifest for manifest in (inputs.corpus, inputs.thoughts, inputs.select) if manifest is not None]
    runs = {(manifest.stage, manifest.fingerprint): StageRun(manifest, []) for manifest in shared}
    # What an arm had written for itself, such as paraphrases; those of the report's first thoughts are all arms'.
    own = dict[tuple[str, str], StageRun]()
    for arm in inputs.arms:
        for written in arm.written:
            key = (written.stage, written.fingerprint)
            if key not in runs:
                own.setdefault(key, StageRun(written, [])).arms.append(arm.name)
    runs |= own
    for of_arm in ("mixture", "training", "evaluation"):
        for arm in inputs.arms:
            manifest: Manifest | None = getattr(arm, of_arm)
            if manifest is not None:
                key = (manifest.stage, manifest.fingerprint)
                runs.setdefault(key, StageRun(manifest, [])).arms.append(arm.name)
    return list(runs.values())


def _difference(arm: ArmFigures, baseline: str, difference: Estimate | None, num_digits: int) -> str:
    if arm.name == baseline:
        return "baseline"
    if difference is None:
        return NOTHING
    value = _number(difference.value, num_digits, sign="+")
    if difference.low is None or difference.high is None:
        return f"{value} (interval not known), {INSIDE_THE_NOISE}"
    low, high = (_number(bound, num_digits, sign="+") for bound in (difference.low, difference.high))
    return f"{value} ({low} to {high}), {difference.verdict}"


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    return f"{_number(estimate.value, 3)} ± {_number(estimate.standard_error, 3)}"


def _share_of_items(items: Sequence[Item]) -> str:
    return f"{_share(estimate_share(items))} ({len(items):,})" if items else NOTHING


def _shares(details: dict[str, Any], key: str) -> dict[str, float]:
    shares = details.get(key)
    return shares if isinstance(shares, dict) else {}


def _names(arms: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(arms)) or "all"


def _rank(group: str) -> tuple[int, str]:
    return (_DIFFICULTIES.index(group) if group in _DIFFICULTIES else len(_DIFFICULTIES), group)


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def _number(value: float | None, num_digits: int, sign: str = "-") -> str:
    return NOTHING if value is None else f"{value:{sign},.{num_digits}f}".replace("-", "−")
