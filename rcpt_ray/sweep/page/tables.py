"""The sweep's tables of what it says: best settings, region, surface, importance, points."""

import math
from collections.abc import Sequence

from rcpt_ray.report.tables.cells import NOTHING, count, number, percent
from rcpt_ray.report.tables.table import Table
from rcpt_ray.sweep.answer import Answer, observed
from rcpt_ray.sweep.page.inputs import (
    BASELINES,
    SweepInputs,
    better_words,
    digits_of,
    interval_words,
    label_of,
    point_name,
    region_words,
    settings_words,
    value_words,
)
from rcpt_ray.sweep.page.sentences import verdict_of
from rcpt_ray.sweep.space import coordinates_of, position_of
from rcpt_ray.sweep.tried import STATUSES, TriedPoint, front_of


def best_table(answer: Answer) -> Table:
    """The best settings, the best that were tried, and the baselines beside them."""
    chosen, rows, digits = answer.chosen, list[list[str]](), digits_of(answer)
    if chosen is None:
        return Table(f"Best settings by {answer.name}", [], [])
    by_surface = chosen.by == "surface"
    first = "Best by the surface" if by_surface else "Best that was tried"
    rows.append(
        [
            first,
            settings_words(chosen.point),
            interval_words(chosen.mean, digits),
            *_seen(answer, chosen.tried),
            NOTHING,
        ]
    )
    if by_surface and answer.best_tried is not None and answer.best_tried != chosen.tried:
        place = answer.best_tried
        verdict = "not distinguishable" if place in (answer.alike or []) else "distinguishable"
        point = answer.points[place].point
        rows.append(["Best that was tried", settings_words(point), NOTHING, *_seen(answer, place), verdict])
    for one in answer.baselines:
        rows.append(
            [
                BASELINES[one.role].capitalize(),
                settings_words(one.point),
                interval_words(one.mean, digits),
                *_seen(answer, one.tried),
                f"{interval_words(one.difference, digits, '+')}, {verdict_of(one)}",
            ]
        )
    mean = "Surface's mean" if by_surface else "Mean"
    columns = ["", "Settings", f"{mean} ({answer.confidence:.0%} interval)", "Mean of its trials", "Trials"]
    columns += ["Difference from the best"]
    note = (
        f"{better_words(answer).capitalize()}. A difference is a baseline's mean less that of the best settings, its "
        "interval that of this difference alone; whether it is distinguishable is judged with all settings together."
    )
    return Table(f"Best settings by {answer.name}", columns, rows, note)


def region_table(answer: Answer) -> Table:
    """One row a coordinate: the extent of the settings that are not distinguishable from the best."""
    title = f"Not distinguishable from the best, {answer.name}"
    if not answer.has_skill or answer.optimum is None or answer.chosen is None:
        return Table(title, [], [])
    rows = []
    best = position_of(answer.chosen.point, answer.space)
    for coordinate in coordinates_of(answer.space):
        whole = coordinate.names or (coordinate.low, coordinate.high)
        extent = answer.optimum.region.get(coordinate.name)
        shown = NOTHING if extent is None else region_words(extent, coordinate)
        rows.append([label_of(coordinate), value_words(best[coordinate.name]), shown, region_words(whole, coordinate)])
    note = "The extent by each setting alone: not every combination within these extents is as good."
    return Table(title, ["Setting", "Best", "Not distinguishable", "Tried"], rows, note)


def surfaces_table(answers: Sequence[Answer]) -> Table:
    """One row an objective: the regression, its error, the noise."""
    rows = []
    for answer in answers:
        surface, digits = answer.surface, digits_of(answer)
        if surface is None:
            continue
        rows.append(
            [
                answer.name,
                surface.kind,
                count(surface.num_points),
                count(surface.num_measured),
                count(surface.num_trainings),
                number(surface.cv_error, digits),
                number(surface.cv_skill, 2) if math.isfinite(surface.cv_skill) else NOTHING,
                NOTHING if surface.noise is None else number(surface.noise, digits),
            ]
        )
    columns = [
        "Objective",
        "Surface",
        "Settings",
        "Measurements",
        "Trainings",
        "Cross-validated error",
        "Skill",
        "Noise",
    ]
    note = (
        "Without skill (0 or less) a surface predicts no better than the mean of the other settings. Settings that "
        "stand on the same trainings are one measurement."
    )
    return Table("Response surfaces", columns, rows, note)


def importance_table(answers: Sequence[Answer]) -> Table:
    """One row a swept setting, a column an objective."""
    shown = [answer for answer in answers if answer.importance]
    names = list(dict.fromkeys(name for answer in shown for name in answer.importance))
    names.sort(key=lambda name: -shown[0].importance.get(name, 0.0))
    rows = [
        [
            name if name in shown[0].space else f"share of {name}",
            *(percent(answer.importance.get(name)) for answer in shown),
        ]
        for name in names
    ]
    note = (
        "What would stay of the surface's variance over the space if all but this setting (or share, with the others "
        "in proportion) were fixed; settings that work together count with both, so the sum may exceed 100%."
    )
    if any(not answer.has_skill for answer in shown):
        note += " A surface without skill has nothing to share out."
    return Table("Importance of settings", ["Setting", *(answer.name for answer in shown)], rows, note)


def points_table(inputs: SweepInputs) -> Table:
    """One row a point, the best by the first objective first; then those with a figure of some seeds or of none."""
    front = set(front_of(inputs.points, inputs.sweep.objectives)) if len(inputs.answers) > 1 else set()
    places = list(range(len(inputs.points)))
    places.sort(key=lambda place: _rank(inputs, inputs.points[place]))
    rows = [_row(inputs, inputs.points[place], place in front) for place in places]
    columns = ["Point", *(label_of(one) for one in inputs.coordinates), "Seeds"]
    for answer in inputs.answers:
        columns += [answer.name, "Standard error", "Not distinguishable"]
    columns += ["On the front"] if len(inputs.answers) > 1 else []
    note = (
        "Means over seeds; the standard error is between the seeds of this point alone. A point of which some trials "
        "have no figure is left out of all else, and its mean is of the others. Tokens are those of a trial's mixture."
    )
    return Table("Tried settings", [*columns, "Tokens", "Trials"], rows, note)


def status_words(point: TriedPoint) -> str:
    """`2 ok`, or `1 ok, 1 failed`, or `only refused (2)`."""
    statuses = [result.status for result in point.trials]
    if point.ends == {"refused"}:
        return f"only refused ({len(statuses)})"
    return ", ".join(f"{statuses.count(one)} {one}" for one in STATUSES if one in statuses)


def tokens_words(tokens: Sequence[int]) -> str:
    """`12,345`, or `12,000 to 12,345` where trials differ."""
    ends = sorted({min(tokens), max(tokens)}) if tokens else []
    return " to ".join(f"{end:,}" for end in ends) or NOTHING


def _row(inputs: SweepInputs, point: TriedPoint, on_front: bool) -> list[str]:
    position = position_of(point.point, inputs.sweep.space)
    row = [point_name(point), *(value_words(position[one.name]) for one in inputs.coordinates)]
    row.append(", ".join(str(result.trial.seed) for result in point.trials))
    for answer in inputs.answers:
        digits, error = digits_of(answer), point.standard_error(answer.name)
        mean = point.mean(answer.name)
        alike = {answer.points[place].number for place in answer.alike or []}
        row += [number(mean, digits), number(error, digits)]
        row.append(
            NOTHING
            if not point.is_whole(answer.name) or answer.alike is None
            else "yes"
            if point.number in alike
            else "no"
        )
    row += [("yes" if on_front else "no")] if len(inputs.answers) > 1 else []
    return [*row, tokens_words(point.num_tokens), status_words(point)]


def _rank(inputs: SweepInputs, point: TriedPoint) -> tuple[int, float, int]:
    first = inputs.answers[0]
    mean = point.mean(first.name)
    sign = 1 if first.spec.goal == "minimize" else -1
    return (0 if point.is_whole(first.name) else 1 if mean is not None else 2), sign * (mean or 0.0), point.number


def _seen(answer: Answer, place: int | None) -> list[str]:
    """The mean of a point's own trials, and how many they are."""
    if place is None:
        return [NOTHING, "0"]
    number_of = len(answer.points[place].values(answer.name))
    return [interval_words(observed(answer, place), digits_of(answer)), str(number_of)]
