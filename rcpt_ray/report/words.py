"""Sentences of the report: what was compared, and what to read with care."""

from collections.abc import Sequence

from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.measured_alike import how_measured
from rcpt_ray.report.statistics.bootstrap import NUM_RESAMPLES
from rcpt_ray.report.statistics.estimates import INSIDE_THE_NOISE
from rcpt_ray.report.statistics.measures import ALL


def compared(inputs: ReportInputs, figures: Figures) -> str:
    """One sentence: which arms, on how many items."""
    if not inputs.arms:
        return "No arm of this run has been measured, so nothing is compared."
    described = {line.arm: line.description for line in figures.lines}
    arms = [f"{arm} ({description})" if description else arm for arm, description in described.items()]
    domains = [domain for domain in dict.fromkeys(line.domain for line in figures.lines) if domain]
    num_seeds = max((line.num_seeds for line in figures.lines), default=1)
    over = [f"{len(domains)} training domains"] if len(domains) > 1 else []
    over += [f"{num_seeds} seeds"] if num_seeds > 1 else []
    items = [
        (f"questions of {measure.task}", measure)
        for measure in figures.questions
        if not measure.metric.startswith("maj@")
    ]
    items += [("held-out documents", measure) for measure in figures.scored(lambda key: key[1] == "bits_per_byte")]
    measures = {
        name: max((one.num_items for one in figures.by(measure, ALL).values()), default=0) for name, measure in items
    }
    told = [f"{number:,} {name}" for name, number in measures.items()]
    verb = f"{len(arms)} arms were compared" if len(arms) > 1 else "One arm was measured"
    over_words = f", over {listed(over)}" if over else ""
    return f"{verb} on {listed(told) or 'nothing'}{over_words}: {'; '.join(arms)}."


def read_with_care(inputs: ReportInputs, figures: Figures) -> list[str]:
    """Who wrote the thoughts, who was trained, and how far the figures carry."""
    student = inputs.recipe.student
    tuned = "was" if student.instruction_tuned else "was not"
    sentences = [f"Student: {inputs.student}. It {tuned} instruction-tuned before this run."]
    if inputs.thoughts is None:
        sentences.insert(0, "Teacher: none. No arm of this run needed thoughts.")
    else:
        sentences.insert(0, f"Teacher: {inputs.teacher}.")
        sentences += _about_teachers(inputs.recipe)
    sentences += how_measured(inputs.arms)
    by_chance = _not_distinguishable_from_chance(figures)
    if by_chance:
        sentences += by_chance
        sentences.append(
            "Accuracy near chance, which MMLU-like scores of small models are, cannot tell arms apart; the living "
            "figures are held-out bits per byte, losses, lengths and throughput."
        )
    return sentences


def how_sure() -> list[str]:
    """How intervals and p values were made, said once for all tables."""
    return [
        "Intervals are of 95%. With several seeds they cover the choice of items and the seeds (items crossed with "
        "seeds, t quantile with Satterthwaite's degrees of freedom): two seeds that differ say little, and their "
        "intervals are wide. With one seed they cover the choice of items alone.",
        "A difference is over the seeds that both lines have. Where one line has a single seed and the other several, "
        "the spread of the latter counts for both.",
        f"Differences are between the same items: a paired bootstrap of {NUM_RESAMPLES:,} draws. Their p values are "
        "corrected for all comparisons of their table (Holm), their intervals are not.",
        f"A difference is called {INSIDE_THE_NOISE} unless its corrected p is below 0.05.",
    ]


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _about_teachers(recipe: Recipe) -> list[str]:
    trained: list[ArmSettings] = [recipe.arm_settings(name) for name, arm in recipe.arms.items() if arm.train]
    writers = [settings.thoughts for settings in trained if settings.mixture.needs_thoughts]
    sentences = []
    if any(writer.engine == "fake" for writer in writers):
        sentences.append(
            "The thoughts were written by the fake engine, words without a model: nothing about thoughts can be "
            "read from this run."
        )
    if any(writer.teacher.reference == recipe.student.reference for writer in writers):
        sentences.append(
            "Teacher and student are the same model, so no claim about distillation or about the method rests on "
            "this run."
        )
    return sentences


def _not_distinguishable_from_chance(figures: Figures) -> list[str]:
    sentences = []
    for measure in figures.questions:
        chance = figures.chance.get(measure.task)
        if chance is None or measure.metric != "acc":
            continue
        found = figures.by(measure)
        names = [name for name, _ in found if found[name, ALL].may_be(chance)]
        if names:
            verb, whose = (
                ("is", "its 95% interval contains") if len(names) == 1 else ("are", "their 95% intervals contain")
            )
            sentences.append(
                f"On {measure.task}, {listed(names)} {verb} not distinguishable from chance: {whose} {chance:g}."
            )
    return sentences
