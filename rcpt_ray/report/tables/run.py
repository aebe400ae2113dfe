"""The report's tables of the run itself: mixtures, stages, time and cost, rejections, versions.

Invariants: a table without rows is left out; what an arm does not have is a dash; a stage that arms share stands once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcpt_ray.artifacts import Manifest
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.tables.cells import NOTHING, count, number, percent
from rcpt_ray.report.tables.table import Table


@dataclass(frozen=True)
class StageRun:
    """A finished stage and the arms that it served; none for the stages that all arms share."""

    manifest: Manifest
    arms: list[str]


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
            count(arm.mixture.tokens.get("all")),
            count(details.get("num_rows")),
            percent(details.get("padding_share")),
            f"{num_draws / num_documents:.2f}" if num_draws is not None and num_documents else NOTHING,
            count((arm.training or arm.mixture).details.get("num_epochs")),
        ]
        for component in dict.fromkeys([*target, *achieved]) or [NOTHING]:
            shares = [percent(target.get(component)), percent(achieved.get(component))]
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
        rejected = "; ".join(f"{reason} {amount:,}" for reason, amount in counts.rejected.items())
        tokens = "; ".join(f"{name} {amount:,}" for name, amount in manifest.tokens.items())
        throughput = "; ".join(f"{name} {number(rate, 1)}" for name, rate in manifest.throughput.items())
        rows.append(
            [
                manifest.stage,
                _names(run.arms),
                manifest.fingerprint,
                counts.unit,
                count(counts.num_in),
                count(counts.num_ok),
                rejected or "0",
                tokens or NOTHING,
                number(manifest.seconds, 1),
                throughput or NOTHING,
            ]
        )
    columns = ["Stage", "Arms", "Fingerprint", "Unit", "In", "Ok", "Rejected", "Tokens", "Seconds", "Throughput"]
    note = "In = ok + rejected in the stage's unit. A stage that arms share by its fingerprint was run once."
    return Table("Stages", columns, rows, note)


def rejections_table(inputs: ReportInputs) -> Table:
    """One row a stage and reason."""
    rows = []
    for run in stage_runs(inputs):
        counts = run.manifest.counts
        for reason, amount in sorted(counts.rejected.items(), key=lambda item: -item[1]):
            share = percent(amount / counts.num_in) if counts.num_in else NOTHING
            rows.append([run.manifest.stage, _names(run.arms), reason, count(amount), share, counts.unit])
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


def cost_table(inputs: ReportInputs) -> Table:
    """One row a kind of stage, and their sum: wall time, GPU-hours, cost."""
    rows, sums = [], [0.0, 0.0, 0.0]
    runs = stage_runs(inputs)
    for stage in dict.fromkeys(run.manifest.stage for run in runs):
        own = [run for run in runs if run.manifest.stage == stage]
        hours = sum(run.manifest.seconds for run in own) / 3600
        gpu_hours = sum(_gpu_hours(run, inputs) for run in own)
        costs = [run.manifest.cost for run in own if run.manifest.cost is not None]
        sums = [total + part for total, part in zip(sums, (hours, gpu_hours, sum(costs)), strict=True)]
        told = number(sum(costs), 2) if costs else NOTHING
        told += f" ({len(costs)} of {len(own)} told)" if costs and len(costs) < len(own) else ""
        rows.append([stage, count(len(own)), number(hours, 3), number(gpu_hours, 3), told])
    any_cost = any(run.manifest.cost is not None for run in runs)
    rows.append(["all", count(len(runs)), *(number(total, 3) for total in sums[:2])])
    rows[-1].append(number(sums[2], 2) if any_cost else NOTHING)
    note = (
        "Hours are of the stages one after the other. GPU-hours count the GPUs that a stage reserved while it ran (of "
        "thoughts, the engines' own hours). Cost is in the currency of the recipe's prices; a dash where none was told."
    )
    return Table("Time and cost", ["Stage", "Made", "Hours", "GPU-hours", "Cost"], rows, note)


def _gpu_hours(run: StageRun, inputs: ReportInputs) -> float:
    """GPU-hours as the stage counted them, else its time with the GPUs that the recipe reserves for it."""
    manifest, recipe = run.manifest, inputs.recipe
    if "gpu_hours" in manifest.details:
        return float(manifest.details["gpu_hours"])
    hours = manifest.seconds / 3600
    match manifest.stage:
        case "training":
            arms = {arm.name: arm.arm or arm.name for arm in inputs.arms}
            known = [arms[name] for name in run.arms if arms.get(name) in recipe.arms]
            training = recipe.arm_settings(known[0]).training if known else recipe.training
            return hours * training.num_workers * training.gpus_per_worker
        case "evaluation":
            return hours * recipe.evaluation.gpus
        case _:
            return 0.0


def _shares(details: dict[str, Any], key: str) -> dict[str, float]:
    shares = details.get(key)
    return shares if isinstance(shares, dict) else {}


def _names(arms: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(arms)) or "all"
