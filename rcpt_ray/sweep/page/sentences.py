"""Sentences of the sweep's page: what was tried and judged by what, what it says, and how sure that is."""

from rcpt_ray.report.words import listed
from rcpt_ray.sweep.answer import Answer, Baseline
from rcpt_ray.sweep.page.inputs import (
    BASELINES,
    SweepInputs,
    digits_of,
    interval_words,
    measured_by,
    settings_words,
    space_words,
)

PROXY_WARNING = (
    "small proxies rank mixtures badly (Olmix warns of those below about 15 million parameters), so the order of "
    "settings may be another at full size"
)


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


def how_sure(inputs: SweepInputs) -> list[str]:
    """How intervals, region and skill were made."""
    confidence = f"{inputs.sweep.confidence:.0%}"
    return [
        f"Intervals are of {confidence} (sweep.confidence) and of means over seeds, not of a single run. That of the "
        "best settings by the surface allows for their having been chosen among all; others are each for itself. "
        "Where the best is a narrow peak, which a surface rounds off, that interval may be too narrow: one of 90% held "
        "the mean in 69 to 76% of simulations of a narrow peak with 30 settings.",
        "Settings are not distinguishable where no difference from the best is shown, with all settings looked at "
        "together; that is stricter than an interval of one difference, and no sign that they are equal.",
        "The surface's error is that of predicting each tried setting from the others; its skill is 1 for a perfect "
        "prediction and 0 where their mean predicts as well.",
        "The noise is the standard deviation between seeds of one setting, over all settings; settings that stand on "
        "the same trainings count once in it and in the surface, as one measurement of them all. The mean of the best "
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
