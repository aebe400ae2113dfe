"""A comparison over training domains and seeds: gains, transfer, depth; what was planted comes back."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from report_fixtures import make_comparison

from rcpt_ray.records import SCORE
from rcpt_ray.report.figures import Figures, measure_run
from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.lines import control_of, counterpart
from rcpt_ray.report.page import Content, gather
from rcpt_ray.report.samples import depth_by, diversity_of
from rcpt_ray.report.statistics.measures import ALL, read_measures
from rcpt_ray.report.tables.table import Table

MMLU = ("mmlu", "acc")


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return make_comparison(num_questions=4000, failed="paraphrase.law.s18")


@pytest.fixture(scope="module")
def figures(inputs: ReportInputs) -> Figures:
    return measure_run(inputs)


@pytest.fixture(scope="module")
def content(inputs: ReportInputs, figures: Figures) -> Content:
    return gather(inputs, figures)


def table(content: Content, title: str) -> Table:
    return next(table for table in content.tables if table.title == title)


def test_variants_become_lines_over_seeds(figures: Figures) -> None:
    lines = {line.name: line for line in figures.lines}
    assert list(lines)[:3] == ["base", "standard.stem", "standard.law"] and len(lines) == 13
    assert lines["reasoning.both"].num_seeds == 3
    assert lines["paraphrase.law"].num_seeds == 2 and len(lines["paraphrase.law"].missing) == 1


def test_a_line_is_compared_within_its_training_domain(inputs: ReportInputs, figures: Figures) -> None:
    lines = {line.name: line for line in figures.lines}
    assert control_of(inputs.recipe) == "standard"
    assert counterpart(lines["reasoning.law"], "standard", figures.lines) == lines["standard.law"]
    assert counterpart(lines["reasoning.law"], "base", figures.lines) == lines["base"]
    assert counterpart(lines["standard.law"], "standard", figures.lines) is None


def test_the_planted_gain_by_difficulty_comes_back(figures: Figures) -> None:
    """Nothing on easy questions, 0.10 and a little for the own domain on very hard ones; the rise is a finding."""
    family = figures.family("standard", [figures.measures[MMLU]], "difficulty")
    hardest, rise = (family.differences["reasoning.both", MMLU, name] for name in ("very_hard", "very_hard minus easy"))
    assert hardest.may_be(0.115) and hardest.verdict == "higher"
    assert rise.may_be(0.10) and rise.verdict == "higher"
    others = [one.verdict for (name, _, _), one in family.differences.items() if not name.startswith("reasoning")]
    assert set(others) == {"inside the noise"}


def test_a_mean_is_over_items_and_seeds(inputs: ReportInputs, figures: Figures) -> None:
    estimate = figures.by(figures.measures[MMLU])["reasoning.stem", ALL]
    seeds = [arm.scores for arm in inputs.arms if arm.arm == "reasoning" and arm.training_domain == "stem"]
    by_hand = [np.mean([row["value"] for row in scores.to_pylist() if row["task"] == "mmlu"]) for scores in seeds]
    assert estimate.value == pytest.approx(np.mean(by_hand)) and estimate.num_seeds == 3


def test_the_transfer_matrix_has_a_row_a_domain_and_a_column_a_category(content: Content) -> None:
    shown = table(content, "mmlu: accuracy, gain over standard")
    assert shown.columns == ["Trained on", "STEM", "humanities", "social sciences", "other"]
    assert [row[0] for row in shown.rows] == ["reasoning.stem", "reasoning.law", "reasoning.both"]
    assert "12 comparisons" in shown.note
    bits = table(content, "Bits/byte minus base")
    assert bits.columns == ["Trained on", "stem", "law"] and all(
        ", lower" in cell for row in bits.rows for cell in row[1:]
    )


def test_depth_by_difficulty_is_what_was_planted(content: Content, inputs: ReportInputs) -> None:
    rows = {(row[0], row[2]): row for row in table(content, "Depth of reasoning by difficulty").rows}
    assert float(rows["reasoning.stem", "easy"][4].split()[0]) == pytest.approx(40, abs=2)
    assert float(rows["reasoning.stem", "very_hard"][4].split()[0]) == pytest.approx(160, abs=2)
    assert rows["reasoning.stem", "very_hard minus easy"][4].endswith("higher")
    assert rows["reasoning.stem", "all"][3] == "1,440"
    answers = inputs.arms[-1].answers
    assert answers is not None
    own = [row for row in answers.to_pylist() if row["difficulty"] == "hard"]
    depth = depth_by([answers], "thinking", "difficulty")["hard"]
    right = [row["num_thought_tokens"] for row in own if row["right"]]
    assert depth.tokens_right == pytest.approx(np.mean(right)) and depth.num_answers == len(own)
    assert depth.not_extracted_share == pytest.approx(np.mean([row["answer"] is None for row in own]))


def test_samples_show_votes_and_diversity(content: Content) -> None:
    shown = table(content, "Samples of a question")
    assert shown.columns[-4:] == ["maj@4", "pass@1", "pass@2", "pass@4"]
    assert shown.rows[0][:3] == ["base", "thinking", "4"]


def test_distinct_ngrams_by_hand() -> None:
    """`a b a` and `A c` about one question: 3 of 5 words differ, of (a b, b a, a c) all 3; answers A, none and B."""
    template = make_comparison(57, (), (17,), 3).arms[0].answers
    assert template is not None
    rows = [dict(row) for row in template.to_pylist()[:3]]
    for row, thought, answer in zip(rows, ["a b a", "A  c ", "d e"], ["A", None, "B"], strict=True):
        row |= {"thought": thought, "answer": answer, "item_id": "q1" if thought != "d e" else "q2"}
    found = diversity_of([pa.Table.from_pylist(rows, schema=template.schema)], "thinking")
    assert found is not None and (found.num_questions, found.num_samples, found.answers) == (2, 1.5, 1.0)
    assert found.distinct_1 == pytest.approx((3 / 5 + 1) / 2) and found.distinct_2 == pytest.approx((3 / 5 + 1 / 2) / 2)


def test_perplexity_and_gain_of_heldout_thoughts_are_shown(content: Content) -> None:
    rows = {row[0]: row for row in table(content, "Thoughts of held-out documents").rows}
    assert float(rows["base"][1].split()[0]) == pytest.approx(np.exp(2.5), rel=0.03)
    assert float(rows["reasoning.stem"][1].split()[0]) < float(rows["base"][1].split()[0]) / 2


def test_nothing_but_what_is_missing_is_said_to_be(content: Content) -> None:
    assert content.not_shown == [
        "paraphrase.law.s18 failed: the loss became NaN in step 12.",
        "No training read a stream, so use of the pools over time is not shown (training.feed=stream).",
    ]


def test_every_section_is_there(content: Content) -> None:
    assert [section.title for section in content.sections] == [
        "Arms",
        "Gain by difficulty",
        "Accuracy by category, domain and subject",
        "Transfer between domains",
        "Depth of reasoning",
        "Trainings",
        "Thoughts and their rejections",
        "Corpus and mixtures",
        "What was run",
    ]
    plots = [plot.title for section in content.sections for plot in section.plots]
    assert "Checkpoints on quiz: accuracy" in plots and "pass@k on thinking" in plots
    assert len(table(content, "mmlu: accuracy by subject").rows) == 57
    assert len(table(content, "Arms, seed by seed").rows) == 36
    assert len(content.examples) == 10


def test_the_order_of_rows_changes_no_figure(inputs: ReportInputs, figures: Figures) -> None:
    turned = [
        dataclasses.replace(arm, scores=arm.scores.take(pa.array(range(len(arm.scores) - 1, -1, -1), pa.int64())))
        for arm in inputs.arms
    ]
    again = measure_run(dataclasses.replace(inputs, arms=turned))
    assert again.by(again.measures[MMLU]) == figures.by(figures.measures[MMLU])
    assert (
        again.family("base", [again.measures[MMLU]]).differences
        == figures.family("base", [figures.measures[MMLU]]).differences
    )


def test_differences_are_over_the_items_that_both_have() -> None:
    whole = make_comparison(570, (), (17,), 3)
    base, reasoning = whole.arms[0], whole.arms[-1]
    half = dataclasses.replace(reasoning, scores=reasoning.scores.slice(0, 285))
    figures = measure_run(dataclasses.replace(whole, arms=[base, half]))
    difference = figures.family("base", [figures.measures[MMLU]]).differences["reasoning", MMLU, ALL]
    rows = [arm.scores.slice(0, 285)["value"] for arm in (half, base)]
    assert difference.num_items == 285
    assert difference.value == pytest.approx(np.mean(rows[0].to_numpy()) - np.mean(rows[1].to_numpy()))


def test_an_item_that_is_scored_twice_is_a_defect() -> None:
    scores = make_comparison(57, (), (17,), 3).arms[0].scores
    with pytest.raises(AssertionError, match="scored twice"):
        read_measures([pa.concat_tables([scores, scores])])


def test_variants_without_scores_have_no_measures() -> None:
    assert read_measures([SCORE.empty_table()]) == {}
