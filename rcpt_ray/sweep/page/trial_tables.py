"""The sweep's tables of what was run: trials, stages that trials share, failures, totals.

Invariants: requests, hours and cost are of stages that trials made, now or in an earlier command; a sum over trials
counts a stage once, by its fingerprint, and what was finished in place of an attempt that was not; what it would have
been without sharing is told apart.
"""

from rcpt_ray.report.tables.cells import NOTHING, count, number
from rcpt_ray.report.tables.table import Table
from rcpt_ray.sweep.page.inputs import BASELINES, SweepInputs
from rcpt_ray.sweep.result import StageUse
from rcpt_ray.sweep.spent import made_by, spent_on
from rcpt_ray.sweep.tried import STATUSES


def trials_table(inputs: SweepInputs) -> Table:
    """One row a trial: which stages it made and which were there, what it paid."""
    rows = []
    for result in inputs.results:
        spent = spent_on(made_by([result]))
        rows.append(
            [
                result.trial.name,
                BASELINES.get(result.trial.role, "searched"),
                result.status,
                ", ".join(name for name, use in result.stages.items() if use.made_here) or NOTHING,
                ", ".join(name for name, use in result.stages.items() if not use.made_here) or NOTHING,
                count(spent.engine_requests),
                count(result.num_tokens),
                number(result.seconds, 1),
                number(result.overhead_seconds, 1),
                number(spent.gpu_hours, 3),
                _cost(spent.cost),
            ]
        )
    columns = ["Trial", "Why", "Status", "Made", "Was there", "Engine requests", "Tokens"]
    columns += ["Seconds", "beside its stages", "GPU-hours", "Cost"]
    note = (
        "A trial is named by its point and seed. Requests, GPU-hours and cost are of the stages that it made itself; "
        "seconds beside its stages hold waiting for those that another trial was making."
    )
    return Table("All trials", columns, rows, note, folded=True)


def sharing_table(inputs: SweepInputs) -> Table:
    """One row a kind of stage: how often trials needed it, and how often it was made."""
    kinds: dict[str, list[StageUse]] = {}
    for result in inputs.results:
        for name, use in result.stages.items():
            kinds.setdefault(name, []).append(use)
    rows, made = [], made_by(inputs.results)
    for name, uses in kinds.items():
        distinct = {use.fingerprint for use in uses}
        mine = [use for use in made if use.fingerprint in distinct]
        paid, needed = spent_on(mine), spent_on(uses)
        before = distinct - {use.fingerprint for use in mine}
        rows.append(
            [
                name,
                count(len(uses)),
                count(len(distinct)),
                count(paid.num_stages),
                count(sum(not use.is_finished for use in mine)),
                count(len(before)),
                count(paid.engine_requests),
                count(needed.engine_requests),
                number(paid.seconds, 1),
                number(needed.seconds, 1),
            ]
        )
    columns = ["Stage", "Needed by trials", "Distinct", "Made", "not finished", "There before", "Engine requests"]
    columns += ["without sharing", "Seconds", "without sharing"]
    note = "A stage that several trials need is made once. Without sharing each trial would have made its own."
    return Table("Stages that trials share", columns, rows, note)


def failures_table(inputs: SweepInputs) -> Table:
    """One row a trial that was stopped, refused or failed, those of an end together."""
    bad = [result for status in STATUSES for result in inputs.results if result.status == status != "ok"]
    rows = [
        [
            result.trial.name,
            result.status,
            result.reason or NOTHING,
            ", ".join(name if use.is_finished else f"part of {name}" for name, use in result.stages.items()) or "none",
            number(result.seconds, 1),
        ]
        for result in bad
    ]
    return Table("Trials without figures", ["Trial", "Status", "Why", "Stages", "Seconds"], rows)


def totals_table(inputs: SweepInputs) -> Table:
    """The whole sweep in figures."""
    results, made = inputs.results, made_by(inputs.results)
    spent = spent_on(made)
    statuses = [str(result.status) for result in results]
    beside = sum(result.overhead_seconds for result in results)
    rows = [
        ["Trials planned", count(inputs.num_planned)],
        *([f"Trials {status}", count(statuses.count(status))] for status in STATUSES),
        ["Settings tried", count(len(inputs.points))],
        ["Seconds of trials, one after the other", number(sum(result.seconds for result in results), 1)],
        ["of them beside the trials' own stages", number(beside, 1)],
        ["Stages made", count(spent.num_stages)],
        ["of them trainings that did not finish", count(sum(not use.is_finished for use in made))],
        ["Seconds of stages", number(spent.seconds, 1)],
        ["GPU-hours", number(spent.gpu_hours, 3)],
        ["Cost", _cost(spent.cost)],
        ["Engine requests", count(spent.engine_requests)],
    ]
    note = "Each stage is counted once. Cost is in the currency of the recipe's prices; a dash where none was told."
    return Table("Totals", ["", "In all"], rows, note)


def _cost(cost: float | None) -> str:
    return number(cost, 4 if cost is not None and abs(cost) < 1 else 2)
