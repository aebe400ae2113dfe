"""Curves of the trainings, step by step: losses, held-out bits, checkpoints' scores, gradients, speed, memory."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.lines import Line
from rcpt_ray.report.plots.curves import Frame, arms_of, over_seeds, plot_curves
from rcpt_ray.report.plots.drawing import Plot

_STEP: Final = "Optimizer step"
_KINDS: Final = {"loss": "all tokens", "loss_text": "text", "loss_thought": "thought"}
Points = tuple[list[float], list[float]]


def plot_trainings(arms: Sequence[ArmResult], lines: Sequence[Line]) -> list[Plot | None]:
    """The plots of the lines that were trained; None for one that has no figures."""
    return [
        _plot_losses(arms, lines),
        _plot_heldout(arms, lines),
        *_plot_evaluated(arms, lines),
        _plot_column(arms, lines, "Gradient norm by step", "Norm before clipping", "grad_norm"),
        _plot_column(arms, lines, "Training speed by step", "Target tokens per second", "tokens_per_s"),
        _plot_column(
            arms, lines, "Memory by step", "Most of any worker so far (GiB)", "memory_bytes", lambda x: x / 2**30
        ),
    ]


def _plot_losses(arms: Sequence[ArmResult], lines: Sequence[Line]) -> Plot | None:
    curves, said = [], []
    for line in lines:
        for kind, name in enumerate(_KINDS):
            seeds = [_column(arm.steps, name) for arm in _of(line, arms) if _has_figures(arm.steps, name)]
            if not seeds:
                continue
            curve = over_seeds(line, kind, seeds)
            curves.append(curve)
            if kind == 0:
                said.append(f"{line.name} from {curve.y[0]:.2f} to {curve.y[-1]:.2f}")
    frame = Frame("Training loss by step", _STEP, "Loss (nats/token)", list(_KINDS.values()))
    return plot_curves(frame, curves, arms_of(lines), said)


def _plot_heldout(arms: Sequence[ArmResult], lines: Sequence[Line]) -> Plot | None:
    measured = {line.name: [arm.heldout for arm in _of(line, arms) if arm.heldout is not None] for line in lines}
    domains = sorted(
        {domain for tables in measured.values() for table in tables for domain in table["domain"].to_pylist()}
    )
    curves, said = [], []
    for line in lines:
        for kind, domain in enumerate(domains):
            seeds = [
                points for table in measured[line.name] if (points := _where(table, "bits_per_byte", domain=domain))
            ]
            if seeds:
                curve = over_seeds(line, kind, seeds)
                curves.append(curve)
                said.append(f"{line.name} in {domain} from {curve.y[0]:.3f} to {curve.y[-1]:.3f}")
    frame = Frame("Held-out bits per byte while training", _STEP, "Bits/byte (less is better)", domains)
    return plot_curves(frame, curves, arms_of(lines), said)


def _plot_evaluated(arms: Sequence[ArmResult], lines: Sequence[Line]) -> list[Plot | None]:
    """One plot a task and metric of the checkpoints that were evaluated beside the training, over all items."""
    tables = {line.name: [arm.evaluated for arm in _of(line, arms) if arm.evaluated is not None] for line in lines}
    keys = sorted(
        {
            (row["task"], row["metric"])
            for own in tables.values()
            for table in own
            for row in table.select(["task", "metric"]).to_pylist()
        }
    )
    plots = []
    for task, metric in keys:
        curves, said = [], []
        for line in lines:
            wanted = {"task": task, "metric": metric, "group": "all"}
            seeds = [points for table in tables[line.name] if (points := _where(table, "value", **wanted))]
            if seeds:
                curve = over_seeds(line, 0, seeds)
                curves.append(curve)
                said.append(f"{line.name} from {curve.y[0]:.3f} to {curve.y[-1]:.3f}")
        what = {"acc": "accuracy", "bits_per_byte": "bits/byte"}.get(metric, metric)
        frame = Frame(f"Checkpoints on {task}: {what}", _STEP, what.capitalize())
        plots.append(plot_curves(frame, curves, arms_of(lines), said))
    return plots


def _plot_column(
    arms: Sequence[ArmResult],
    lines: Sequence[Line],
    title: str,
    y_label: str,
    column: str,
    scaled: Callable[[float], float] = lambda value: value,
) -> Plot | None:
    curves, said = [], []
    for line in lines:
        seeds = [_column(arm.steps, column) for arm in _of(line, arms) if _has_figures(arm.steps, column)]
        if not seeds:
            continue
        curve = over_seeds(line, 0, [(steps, [scaled(value) for value in values]) for steps, values in seeds])
        curves.append(curve)
        middle = float(np.nanmedian(curve.y))
        said.append(f"{line.name} {middle:,.{2 if middle < 100 else 0}f} at the median of its steps")
    return plot_curves(Frame(title, _STEP, y_label, folded=True), curves, arms_of(lines), said)


def _of(line: Line, arms: Sequence[ArmResult]) -> list[ArmResult]:
    return [arms[place] for place in sorted((*line.rows, *line.missing))]


def _has_figures(steps: pa.Table | None, column: str) -> bool:
    if steps is None:
        return False
    return any(value is not None and math.isfinite(value) for value in steps[column].to_pylist())


def _column(table: pa.Table, column: str) -> Points:
    """Steps and their figures, by step; what is not there is NaN."""
    columns = table.sort_by("step").to_pydict()
    return columns["step"], [math.nan if value is None else value for value in columns[column]]


def _where(table: pa.Table, column: str, **wanted: Any) -> Points | None:
    """The points of the rows whose fields are as wanted."""
    rows = [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]
    rows.sort(key=lambda row: row["step"])
    points = [(row["step"], math.nan if row[column] is None else row[column]) for row in rows]
    return ([x for x, _ in points], [y for _, y in points]) if points else None
