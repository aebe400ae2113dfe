"""The report's tables of thoughts at evaluation: how deep, how different over samples, how likely held-out ones are."""

import math
from collections.abc import Sequence

import pyarrow as pa

from rcpt_ray.report.figures import Figures
from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.lines import Line
from rcpt_ray.report.samples import NUM_DIVERSE, Depth, depth_by, diversity_of
from rcpt_ray.report.statistics.estimates import Estimate
from rcpt_ray.report.statistics.measures import ALL, Measure
from rcpt_ray.report.tables.cells import NOTHING, count, difference_cell, estimate_cell, number, percent
from rcpt_ray.report.tables.table import Table

_NONE = Depth(0, *[None] * 8)


def depth_table(arms: Sequence[ArmResult], figures: Figures) -> Table:
    """One row a task, line and tier of difficulty, and one over all."""
    rows = []
    for measure in figures.scored(lambda key: key[1] == "thought_tokens"):
        tokens, of_all = figures.by(measure, "difficulty"), figures.by(measure)
        tiers = figures.groups(measure, "difficulty")
        for line in figures.measured:
            depths = depth_by(answers_of(arms, line), measure.task, "difficulty")
            for tier in [*tiers, ALL] if depths else []:
                estimate = (of_all if tier == ALL else tokens).get((line.name, tier))
                rows.append([line.name, measure.task, tier, *_depth_cells(depths.get(tier, _NONE), estimate)])
            if depths and len(tiers) > 1:
                apart = figures.contrast(measure, line, "difficulty", tiers[-1], tiers[0])
                words = difference_cell(apart, 1)
                rows.append([line.name, measure.task, f"{tiers[-1]} minus {tiers[0]}", "", words, *[""] * 7])
    columns = ["Arm", "Task", "Difficulty", "Answers", "Thought tokens", "right", "wrong"]
    columns += ["Sentences", "right", "wrong", "Hit the limit", "No answer found"]
    note = (
        "Means over the answers of all seeds and samples, for right and wrong answers apart. A thought that hit the "
        "limit was cut there and its answer asked for all the same; an answer that is not found counts as wrong. "
        "The p value of the last row of an arm is not corrected."
    )
    return Table("Depth of reasoning by difficulty", columns, rows, note)


def samples_table(arms: Sequence[ArmResult], figures: Figures) -> Table:
    """One row a task and line: how its samples differ, and what several of them are worth."""
    several = figures.scored(lambda key: key[1].startswith(("pass@", "maj@")))
    metrics = list(dict.fromkeys(measure.metric for measure in several))
    rows = []
    for tokens in figures.scored(lambda key: key[1] == "thought_tokens"):
        of_task = {measure.metric: measure for measure in several if measure.task == tokens.task}
        for line in figures.measured:
            found = diversity_of(answers_of(arms, line), tokens.task)
            if found is None:
                continue
            cells = [f"{found.num_samples:g}", number(found.answers, 2)]
            cells += [number(found.distinct_1, 3), number(found.distinct_2, 3)]
            for metric in metrics:
                measure = of_task.get(metric)
                cells.append(estimate_cell(figures.by(measure).get((line.name, ALL))) if measure else NOTHING)
            rows.append([line.name, tokens.task, *cells])
    columns = ["Arm", "Task", "Samples a question", "Different answers", "Distinct-1", "Distinct-2", *metrics]
    note = (
        "Different answers are those of one question, no answer not counted. Distinct-n is the number of different "
        f"n-grams over the number of words, over all thoughts about one question, its mean over at most {NUM_DIVERSE} "
        "questions; thoughts that are longer have less of it. pass@k is the chance that one of k samples is right, "
        f"maj@k the share of questions whose most frequent answer is."
    )
    return Table("Samples of a question", columns, rows, note)


def heldout_thoughts_table(figures: Figures) -> Table:
    """One row a line: perplexity of the thoughts of held-out documents, and what these save on their texts."""
    nats = figures.scored(lambda key: key[1] == "thought_nats")
    gains = figures.scored(lambda key: key[1] == "gain")
    rows = []
    for line in figures.measured if nats or gains else []:
        perplexity = [_exponential(figures.by(measure).get((line.name, ALL))) for measure in nats]
        saved = [figures.by(measure).get((line.name, ALL)) for measure in gains]
        domains = [cell for measure in gains for cell in _by_domain(figures, measure, line)]
        cells = [*(estimate_cell(one, 2) for one in perplexity), *(estimate_cell(one, 4) for one in saved), *domains]
        rows.append([line.name, *cells])
    columns = ["Arm", *("Perplexity of thoughts" for _ in nats), *("Gain (bits/byte)" for _ in gains)]
    columns += [f"Gain, {domain}" for measure in gains for domain in figures.groups(measure, "domain")]
    note = (
        "Thoughts that the teacher wrote about held-out documents. Perplexity is the exponential of the mean nats a "
        "token, less is better; the gain is what a byte of the text costs less when its thought is read first, more is "
        "better."
    )
    return Table("Thoughts of held-out documents", columns, rows, note)


def answers_of(arms: Sequence[ArmResult], line: Line) -> list[pa.Table]:
    """The generated answers of each measured seed of a line."""
    return [answers for place in line.rows if (answers := arms[place].answers) is not None]


def _by_domain(figures: Figures, measure: Measure, line: Line) -> list[str]:
    found = figures.by(measure, "domain")
    return [estimate_cell(found.get((line.name, domain)), 4) for domain in figures.groups(measure, "domain")]


def _depth_cells(depth: Depth, tokens: Estimate | None) -> list[str]:
    return [
        count(depth.num_answers),
        estimate_cell(tokens, 1),
        number(depth.tokens_right, 1),
        number(depth.tokens_wrong, 1),
        number(depth.sentences, 1),
        number(depth.sentences_right, 1),
        number(depth.sentences_wrong, 1),
        percent(depth.limit_share),
        percent(depth.not_extracted_share),
    ]


def _exponential(estimate: Estimate | None) -> Estimate | None:
    if estimate is None:
        return None
    value, low, high = (None if x is None else math.exp(x) for x in (estimate.value, estimate.low, estimate.high))
    return Estimate(value or math.nan, None, low, high, estimate.num_items, estimate.num_seeds)
