"""What to read with care on the sweep's page: what a reader could take for more than it is."""

from rcpt_ray.report.words import listed
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.gaps import about_gaps
from rcpt_ray.sweep.page.inputs import BASELINES, SweepInputs, label_of, value_words
from rcpt_ray.sweep.page.sentences import proxy_words
from rcpt_ray.sweep.space import coordinates_of, position_of

_TOKENS_APART = 1.02
"""Mixtures fill whole rows, so that tokens differ by a little at any settings."""


def read_with_care(inputs: SweepInputs) -> list[str]:
    """What a reader could take for more than it is, the gravest first."""
    sentences = _proxy(inputs)
    sentences += [sentence for one in inputs.answers for sentence in _about_surface(one)]
    sentences += _noise(inputs)
    sentences += about_gaps(inputs)
    sentences += _tokens(inputs)
    sentences += [sentence for one in inputs.answers for sentence in _about_best(one)]
    sentences += _baselines(inputs)
    if len(inputs.answers) > 1:
        sentences.append(
            f"With several objectives there is no one best; --apply goes by the first, {inputs.answers[0].name}."
        )
    return sentences


def _proxy(inputs: SweepInputs) -> list[str]:
    return list(filter(None, [proxy_words(inputs)]))


def _about_surface(answer: Answer) -> list[str]:
    if answer.chosen is None:
        return [f"{answer.name}: no trial has a figure."]
    if answer.surface is None:
        return [
            f"{answer.name}: {len(answer.measurements):,} measured settings are too few for a response surface, so the "
            "best is the best that was tried (sweep.budget.trials)."
        ]
    if not answer.has_skill:
        return [
            f"{answer.name}: the response surface does not predict settings that it has not seen (skill "
            f"{answer.surface.cv_skill:.2f}), so its optimum is not used and the best is the best that was tried; what "
            "its curves show may be noise."
        ]
    return []


def _about_best(answer: Answer) -> list[str]:
    """Where the best settings rest on the surface more than on trials."""
    chosen = answer.chosen
    if chosen is None or chosen.by != "surface":
        return []
    sentences = []
    if chosen.tried is None:
        sentences.append(
            f"{answer.name}: no trial was at the best settings; their figure is the surface's alone, and a trial there "
            "may turn out otherwise."
        )
    edges = edges_of(answer)
    if edges:
        sentences.append(
            f"{answer.name}: the best settings lie at the edge of the space ({listed(edges)}); what lies beyond it was "
            "not tried, and a surface is least sure at its edges."
        )
    return sentences


def edges_of(answer: Answer) -> list[str]:
    """Coordinates of the best settings that are at an end of what was tried, with their values."""
    assert answer.chosen is not None
    position, found = position_of(answer.chosen.point, answer.space), []
    for coordinate in coordinates_of(answer.space):
        value = position[coordinate.name]
        ends = (coordinate.low, coordinate.high)
        if isinstance(value, float) and any(abs(value - end) <= 1e-9 * max(1.0, abs(end)) for end in ends):
            found.append(f"{label_of(coordinate)} {value_words(value)}")
    return found


def _noise(inputs: SweepInputs) -> list[str]:
    if any(one.noise is not None for one in inputs.answers) or not inputs.results:
        return []
    return [
        "No setting has figures of two seeds, so the noise between seeds is not known and effect and luck cannot be "
        "told apart but by the surface (sweep.seeds)."
    ]


def _tokens(inputs: SweepInputs) -> list[str]:
    tokens = [result.num_tokens for result in inputs.results if result.status == "ok" and result.num_tokens]
    if not tokens or max(tokens) / min(tokens) < _TOKENS_APART:
        return []
    return [
        f"Trials were trained on {min(tokens):,} to {max(tokens):,} tokens ({max(tokens) / min(tokens):.2f} times as "
        "many), so more tokens and other settings are not told apart (mixture.num_tokens makes them equal)."
    ]


def _baselines(inputs: SweepInputs) -> list[str]:
    """Baselines that the sweep should have had."""
    if not inputs.answers or inputs.answers[0].chosen is None:
        return []
    lacking = [one for one in inputs.answers[0].baselines if one.tried is None]
    sentences = []
    if lacking:
        names = listed([BASELINES[one.role] for one in lacking])
        sentences.append(
            f"Trials at {names} settings are not there, or have no figure of every seed (sweep.add_baselines)."
        )
    if not any(one.role == "recipe" for one in inputs.answers[0].baselines):
        sentences.append(
            "The recipe's own settings are no point of the space, so nothing is compared with the recipe as it is."
        )
    return sentences
