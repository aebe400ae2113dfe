"""Sentences of the sweep's page: what was tried and judged by what, what it says, and what to read with care."""

from rcpt_ray.report.words import listed
from rcpt_ray.sweep.answer import Answer, Baseline
from rcpt_ray.sweep.page.inputs import (
    BASELINES,
    SweepInputs,
    digits_of,
    interval_words,
    label_of,
    measured_by,
    settings_words,
    space_words,
    value_words,
)
from rcpt_ray.sweep.space import position_of

PROXY_WARNING = (
    "small proxies rank mixtures badly (Olmix warns of those below about 15 million parameters), so the order of "
    "settings may be another at full size"
)
_REASONS_SHOWN = 4
_TOKENS_APART = 1.02
"""Mixtures fill whole rows, so that tokens differ by a little at any settings."""


def swept(inputs: SweepInputs) -> str:
    """One sentence: what was tried, how often, and what it is judged by."""
    sweep, num_points = inputs.sweep, len(inputs.points)
    seeds = f"{len(inputs.seeds)} seeds each" if len(inputs.seeds) > 1 else "one seed"
    judged = listed([f"{one.name} ({measured_by(one)})" for one in inputs.answers])
    points = f"{num_points:,} settings" if num_points != 1 else "One setting"
    return (
        f"{points} of arm {sweep.arm} {'were' if num_points != 1 else 'was'} tried with {seeds} (searcher "
        f"{sweep.searcher}), over {space_words(sweep.space)}, and judged by {judged}."
    )


def read_with_care(inputs: SweepInputs) -> list[str]:
    """What a reader could take for more than it is, the gravest first."""
    sentences = _proxy(inputs)
    sentences += [sentence for one in inputs.answers for sentence in _about_surface(one)]
    sentences += _noise(inputs)
    sentences += _not_ok(inputs)
    sentences += _tokens(inputs)
    sentences += [sentence for one in inputs.answers for sentence in _about_best(one)]
    sentences += _baselines(inputs)
    if len(inputs.answers) > 1:
        sentences.append(
            f"With several objectives there is no one best; --apply goes by the first, {inputs.answers[0].name}."
        )
    return sentences


def how_sure(inputs: SweepInputs) -> list[str]:
    """How intervals, region and skill were made."""
    confidence = f"{inputs.sweep.confidence:.0%}"
    return [
        f"Intervals are of {confidence} (sweep.confidence) and of means over seeds, not of a single run. That of the "
        "best settings by the surface allows for their having been chosen among all; others are each for itself.",
        "Settings are not distinguishable where no difference from the best is shown, with all settings looked at "
        "together; that is stricter than an interval of one difference, and no sign that they are equal.",
        "The surface's error is that of predicting each tried setting from the others; its skill is 1 for a perfect "
        "prediction and 0 where their mean predicts as well.",
        "The noise is the standard deviation between seeds of one setting, over all settings. The mean of the best "
        "tried setting looks better than it is, because it was chosen for it.",
    ]


def conclusion(answer: Answer) -> str:
    """The answer of one objective in words."""
    chosen, digits = answer.chosen, digits_of(answer)
    if chosen is None:
        return f"No trial has a figure for {answer.name}, so nothing is said of it."
    where = "the surface's optimum" if chosen.by == "surface" else "the best that was tried"
    mean = interval_words(chosen.mean, digits, unknown=" (interval not known)")
    told = [f"By {answer.name} the best settings are {settings_words(chosen.point)} ({where}): {mean}."]
    told += [beside_words(answer, one) for one in answer.baselines]
    if answer.alike is not None:
        told.append(_alike_words(len(answer.alike), len(answer.points)))
    return " ".join(told)


def _alike_words(number: int, of_all: int) -> str:
    if not number:
        return "Every tried setting is distinguishable from it."
    return f"{number:,} of {of_all:,} tried settings {'is' if number == 1 else 'are'} not distinguishable from it."


def beside_words(answer: Answer, baseline: Baseline) -> str:
    """A baseline beside the best settings, as a sentence."""
    name, digits = BASELINES[baseline.role], digits_of(answer)
    subject = "The recipe's own settings" if baseline.role == "recipe" else "Equal shares"
    if baseline.is_best:
        return f"They are {name}{' settings' if baseline.role == 'recipe' else ''} themselves."
    if baseline.mean is None or baseline.difference is None:
        return f"{subject} have no figure, so nothing is compared with them."
    apart = interval_words(baseline.difference, digits, "+")
    together = " when all settings are looked at together" if baseline.distinguishable is False else ""
    return (
        f"{subject} have {interval_words(baseline.mean, digits)}, {apart} beside it: {verdict_of(baseline)}{together}."
    )


def verdict_of(baseline: Baseline) -> str:
    """Whether a baseline is told apart from the best settings."""
    if baseline.is_best:
        return "the best settings themselves"
    if baseline.distinguishable is None:
        return "whether that is more than noise is not known"
    return "distinguishable" if baseline.distinguishable else "not distinguishable"


def proxy_words(inputs: SweepInputs) -> str:
    """The proxy's settings with the warning; empty without one."""
    if not inputs.sweep.proxy:
        return ""
    return f"Trials ran on a proxy of the recipe ({settings_words(inputs.sweep.proxy)}): {PROXY_WARNING}."


def _proxy(inputs: SweepInputs) -> list[str]:
    return list(filter(None, [proxy_words(inputs)]))


def _about_surface(answer: Answer) -> list[str]:
    if answer.chosen is None:
        return [f"{answer.name}: no trial has a figure."]
    if answer.surface is None:
        return [
            f"{answer.name}: {len(answer.points):,} settings are too few for a response surface, so the best is the "
            "best that was tried (sweep.budget.trials)."
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
    from rcpt_ray.sweep.space import coordinates_of

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


def _not_ok(inputs: SweepInputs) -> list[str]:
    """Trials without figures: failed, stopped, or not begun."""
    sentences = []
    for status in ("failed", "stopped"):
        own = [result for result in inputs.results if result.status == status]
        reasons: dict[str, list[str]] = {}
        for result in own:
            reasons.setdefault(result.reason or "no reason was given", []).append(result.trial.name)
        told = [f"{', '.join(names)} ({why})" for why, names in list(reasons.items())[:_REASONS_SHOWN]]
        if len(reasons) > _REASONS_SHOWN:
            told.append("and others, in the table of failures")
        if own:
            verb = (
                "failed"
                if status == "failed"
                else "fell behind and " + ("was" if len(own) == 1 else "were") + " stopped"
            )
            sentences.append(
                f"{_trials(len(own))} of {len(inputs.results):,} {verb}, so the surface knows nothing of them: "
                f"{'; '.join(told)}."
            )
    lacking = inputs.num_planned - len(inputs.results)
    if lacking > 0:
        sentences.append(f"{_trials(lacking)} of {inputs.num_planned:,} planned had not ended (sweep.budget).")
    nameless = [
        result.trial.name
        for result in inputs.results
        if result.status == "ok" and not any(result in point.trials for one in inputs.answers for point in one.points)
    ]
    if nameless:
        sentences.append(f"Ended without a finite figure, and left out: {', '.join(nameless)}.")
    return sentences


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
        sentences.append(f"No trial at {names} settings has a figure (sweep.add_baselines).")
    if not any(one.role == "recipe" for one in inputs.answers[0].baselines):
        sentences.append(
            "The recipe's own settings are no point of the space, so nothing is compared with the recipe as it is."
        )
    return sentences


def _trials(number: int) -> str:
    return "One trial" if number == 1 else f"{number:,} trials"
