"""Write the report of a sweep: report.html, report.md, results.parquet and answer.json.

Invariants: each file is written whole or not at all; the same results give the same bytes; no file tells where on a
machine a trial was.
Price: that of the answers, importing matplotlib (1 s), and 0.1 to 0.2 s a plot.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Outcome, write_atomic, write_table
from rcpt_ray.recipe import Recipe
from rcpt_ray.report.public import public_recipe
from rcpt_ray.report.write import as_json, write_content
from rcpt_ray.sweep.answer import Answer, Baseline, Chosen, answer
from rcpt_ray.sweep.by_seeds import Interval
from rcpt_ray.sweep.page.inputs import SweepInputs, public_results
from rcpt_ray.sweep.page.sections import gather
from rcpt_ray.sweep.result import TrialResult, table_of
from rcpt_ray.sweep.spent import made_by, spent_on
from rcpt_ray.sweep.tried import STATUSES, front_of


def write_sweep(recipe: Recipe, results: Sequence[TrialResult], planned: int, folder: Path) -> Outcome:
    """Write the four files into `folder`; trials that were stopped or refused, or failed, count as rejected.

    `planned` is the number of trials that the sweep was to run.
    """
    return write_answers(recipe, results, planned, folder, answer(recipe, results))


def write_answers(
    recipe: Recipe, results: Sequence[TrialResult], planned: int, folder: Path, answers: list[Answer]
) -> Outcome:
    """The same with answers that were found already."""
    inputs = SweepInputs(recipe, public_results(recipe, results), planned, answers)
    write_content(gather(inputs), folder)
    shown = [
        result.model_copy(
            update={"trial": result.trial.model_copy(update={"point": public_recipe(result.trial.point)})}
        )
        for result in inputs.results
    ]
    write_table(folder / "results.parquet", table_of(shown))
    write_atomic(folder / "answer.json", as_json(summary(inputs)))
    spent = spent_on(made_by(inputs.results))
    rejected = {name: number for name in STATUSES if name != "ok" and (number := _number(results, name))}
    return Outcome(
        Counts.of("trial", _number(results, "ok"), rejected),
        details={"planned": planned, "engine_requests": spent.engine_requests, "gpu_hours": spent.gpu_hours},
        cost=spent.cost,
    )


def summary(inputs: SweepInputs) -> dict[str, Any]:
    """The answers for programs: points by their number, what is not known as null."""
    sweep, results = inputs.sweep, inputs.results
    spent = spent_on(made_by(results))
    several = len(inputs.answers) > 1
    return {
        "arm": sweep.arm,
        "searcher": sweep.searcher,
        "seeds": inputs.seeds,
        "confidence": sweep.confidence,
        "proxy": public_recipe(sweep.proxy),
        "trials": {"planned": inputs.num_planned} | {status: _number(results, status) for status in STATUSES},
        "spent": {name: getattr(spent, name) for name in ("num_stages", "gpu_hours", "cost", "engine_requests")},
        "objectives": {one.name: _told(one) for one in inputs.answers},
        "pareto_front": [inputs.points[place].number for place in front_of(inputs.points, sweep.objectives)]
        if several
        else None,
    }


def _told(answer: Answer) -> dict[str, Any]:
    surface, optimum = answer.surface, answer.optimum
    return {
        "goal": answer.spec.goal,
        "measures": answer.spec.measures,
        "best": _chosen(answer, answer.chosen),
        "best_tried": _tried(answer, answer.best_tried),
        "surface": None
        if surface is None
        else {
            "kind": surface.kind,
            "num_points": surface.num_points,
            "num_measured": surface.num_measured,
            "num_trainings": surface.num_trainings,
            "cv_error": surface.cv_error,
            "cv_skill": surface.cv_skill,
            "noise": surface.noise,
        },
        "optimum": None
        if optimum is None
        else {
            "point": public_recipe(optimum.point),
            "value": optimum.value,
            "low": optimum.low,
            "high": optimum.high,
            "region": public_recipe(optimum.region),
        },
        "left_out": [one.number for one in answer.left_out],
        "noise": None if answer.noise is None else answer.noise.deviation,
        "not_distinguishable": None
        if answer.alike is None
        else [answer.points[place].number for place in answer.alike],
        "importance": answer.importance,
        "baselines": [_baseline(answer, one) for one in answer.baselines],
    }


def _chosen(answer: Answer, chosen: Chosen | None) -> dict[str, Any] | None:
    if chosen is None:
        return None
    told = {"by": chosen.by, "point": public_recipe(chosen.point), "number": _number_of(answer, chosen.tried)}
    return told | _interval(chosen.mean)


def _tried(answer: Answer, place: int | None) -> dict[str, Any] | None:
    if place is None:
        return None
    one = answer.points[place]
    told = {"number": one.number, "point": public_recipe(one.point), "value": answer.mean_of(place)}
    return told | {"standard_error": one.standard_error(answer.name), "num_trials": len(one.values(answer.name))}


def _baseline(answer: Answer, baseline: Baseline) -> dict[str, Any]:
    return {
        "role": baseline.role,
        "point": public_recipe(baseline.point),
        "number": _number_of(answer, baseline.tried),
        "mean": None if baseline.mean is None else _interval(baseline.mean),
        "difference": None if baseline.difference is None else _interval(baseline.difference),
        "distinguishable": baseline.distinguishable,
        "is_best": baseline.is_best,
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _number_of(answer: Answer, place: int | None) -> int | None:
    return None if place is None else answer.points[place].number


def _number(results: Sequence[TrialResult], status: str) -> int:
    return sum(result.status == status for result in results)
