"""What trials do not tell, in sentences: those without figures, where these lie, and those that share a training."""

import math
from collections.abc import Sequence

from rcpt_ray.report.words import listed
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.inputs import SweepInputs, label_of, region_words, value_words
from rcpt_ray.sweep.space import position_of
from rcpt_ray.sweep.tried import TriedPoint

_REASONS_SHOWN = 4
_NAMES_SHOWN = 8
_ENDS = {
    "failed": "failed, so the surface knows nothing of them",
    "refused": "{were} refused, because such settings cannot be had",
    "stopped": "fell behind and {were} stopped, so the surface knows nothing of them",
}
"""What is said of trials by how they ended, other than well."""


def about_gaps(inputs: SweepInputs) -> list[str]:
    """What trials do not tell, though they were made or planned."""
    sentences = _shared(inputs) + _not_ok(inputs)
    sentences += [sentence for one in inputs.answers for sentence in _left_out(one)]
    return sentences + _regions(inputs)


def _shared(inputs: SweepInputs) -> list[str]:
    """Where trials of several settings stand on one training."""
    if not inputs.answers:
        return []
    answer = max(inputs.answers, key=lambda one: len(one.points))
    measured = answer.measurements
    num_trials = sum(len(one.values(answer.name)) for one in answer.points)
    num_trainings = sum(len(one.values) for one in measured)
    if num_trials == num_trainings:
        return []
    alike: dict[tuple[str, ...], list[list[TriedPoint]]] = {}
    for one in measured:
        group = [answer.points[place] for place in one.places]
        if differing := _differing(inputs, group):
            alike.setdefault(differing, []).append(group)
    told = []
    for names, groups in alike.items():
        members = [point for group in groups for point in group]
        changing = _differing(inputs, members)
        at = position_of(members[0].point, inputs.sweep.space)
        fixed = [
            f"{label_of(one)} {value_words(at[one.name])}" for one in inputs.coordinates if one.name not in changing
        ]
        labels = listed([label_of(one) for one in inputs.coordinates if one.name in names])
        where = f" at {listed(fixed)}" if fixed else ""
        told.append(f"{labels} {'makes' if len(names) == 1 else 'make'} no difference{where}")
    why = f": {'; '.join(told)}" if told else ""
    return [
        f"{num_trials:,} trials stand on {num_trainings:,} trainings{why}. What stands on the same trainings counts as "
        "one measurement, in the noise and in the surface."
    ]


def _differing(inputs: SweepInputs, points: Sequence[TriedPoint]) -> tuple[str, ...]:
    """Names of the coordinates in which points differ."""
    positions = [position_of(point.point, inputs.sweep.space) for point in points]
    names = (one.name for one in inputs.coordinates)
    return tuple(name for name in names if len({position[name] for position in positions}) > 1)


def _not_ok(inputs: SweepInputs) -> list[str]:
    """Trials without figures: failed, refused, stopped, or not begun."""
    sentences = []
    for status, words in _ENDS.items():
        own = [result for result in inputs.results if result.status == status]
        reasons: dict[str, list[str]] = {}
        for result in own:
            reasons.setdefault(result.reason or "no reason was given", []).append(result.trial.name)
        told = [f"{_some(names)} ({why})" for why, names in list(reasons.items())[:_REASONS_SHOWN]]
        if len(reasons) > _REASONS_SHOWN:
            told.append("and others, in the table of trials without figures")
        if own:
            verb = words.format(were="was" if len(own) == 1 else "were")
            sentences.append(f"{_trials(len(own))} of {len(inputs.results):,} {verb}: {'; '.join(told)}.")
    lacking = inputs.num_planned - len(inputs.results)
    if lacking > 0:
        sentences.append(f"{_trials(lacking)} of {inputs.num_planned:,} planned had not ended (sweep.budget).")
    nameless = [
        result.trial.name
        for result in inputs.results
        if result.status == "ok"
        and not any(math.isfinite(result.objectives.get(one.name, math.nan)) for one in inputs.answers)
    ]
    if nameless:
        sentences.append(f"Ended without a finite figure, and left out: {', '.join(nameless)}.")
    return sentences


def _left_out(answer: Answer) -> list[str]:
    """Settings of which some seeds alone have a figure."""
    if not answer.left_out:
        return []
    numbers = [str(one.number) for one in answer.left_out]
    left_out = "one setting is" if len(numbers) == 1 else f"{len(numbers):,} settings are"
    return [
        f"{answer.name}: {left_out} left out of the surface and cannot be the best (point {_some(numbers)}), because "
        "only some of the trials there have a figure, which may be the lucky ones."
    ]


def _regions(inputs: SweepInputs) -> list[str]:
    """Where in the space there are no figures."""
    stopped = [one for one in inputs.points if "stopped" in one.ends]
    refused = [one for one in inputs.points if one.ends == {"refused"}]
    sentences = []
    if stopped:
        sentences.append(
            f"At {len(stopped):,} of {len(inputs.points):,} settings trainings were stopped, within "
            f"{_extent_words(inputs, stopped)}. The surface knows nothing there, so the best settings are looked for "
            "only where settings with figures are nearer than these."
        )
    if refused:
        sentences.append(
            f"{len(refused):,} of {len(inputs.points):,} settings were only refused, within "
            f"{_extent_words(inputs, refused)}; they are no candidates for the best."
        )
    return sentences


def _extent_words(inputs: SweepInputs, points: Sequence[TriedPoint]) -> str:
    """`share of law/raw 0.5 to 1, mixture.layout packed`: what points have in each coordinate."""
    positions = [position_of(point.point, inputs.sweep.space) for point in points]
    told = []
    for one in inputs.coordinates:
        found = {position[one.name] for position in positions}
        if one.names:
            extent: Sequence[float | str] = [name for name in one.names if name in found]
        else:
            extent = (min(map(float, found)), max(map(float, found)))
        told.append(f"{label_of(one)} {region_words(extent, one)}")
    return ", ".join(told)


def _trials(number: int) -> str:
    return "One trial" if number == 1 else f"{number:,} trials"


def _some(names: Sequence[str]) -> str:
    """The first of many."""
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
