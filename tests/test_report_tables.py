"""What the tables, the sentences, the Markdown and the summary say, also when much of a run is missing."""

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pytest
from report_fixtures import ARMS, HOSTILE, make_arm, make_inputs, make_manifest, make_recipe, make_scores

from rcpt_ray.errors import UserError
from rcpt_ray.records import SCORE
from rcpt_ray.report.figures import measure_run
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.page import gather
from rcpt_ray.report.tables.table import Table
from rcpt_ray.report.write import render_markdown, write_report


def make_failed(name: str) -> ArmResult:
    """An arm whose training failed."""
    failed = {"evaluation": None, "training": None, "steps": None, "heldout": None}
    why = "the loss became NaN in step 12"
    return dataclasses.replace(make_arm(name), scores=SCORE.empty_table(), failure=why, **failed)


def _tables(inputs: ReportInputs) -> dict[str, Table]:
    return {table.title: table for table in gather(inputs, measure_run(inputs)).tables}


def _table(inputs: ReportInputs, title: str) -> Table:
    return _tables(inputs)[title]


def _by_arm(table: Table) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def _said(inputs: ReportInputs) -> str:
    content = gather(inputs, measure_run(inputs))
    return "\n".join([content.compared, *content.read_with_care, *content.not_shown])


def test_the_arms_table_gives_each_arm_its_figures() -> None:
    by_arm = _by_arm(_table(make_inputs(), "Arms"))
    assert tuple(by_arm) == ARMS
    assert by_arm["base"]["Seeds"] == "–" and by_arm["reasoning"]["Seeds"] == "1"
    assert by_arm["reasoning"]["Trained tokens"] == "122,880"
    assert by_arm["reasoning"]["quiz: accuracy"] == "0.325 (0.201 to 0.480)"


def test_bits_per_byte_of_an_arm_are_weighted_by_bytes() -> None:
    rows = [row for row in make_scores("standard").to_pylist() if row["metric"] == "bits_per_byte"]
    by_hand = sum(row["value"] * row["weight"] for row in rows) / sum(row["weight"] for row in rows)
    shown = _by_arm(_table(make_inputs(), "Arms"))["standard"]["Bits/byte, all domains"]
    assert shown.startswith(f"{by_hand:.4f} (")


def test_differences_have_interval_corrected_p_and_verdict() -> None:
    table = _table(make_inputs(), "Differences from base")
    by_arm = _by_arm(table)
    assert tuple(by_arm) == ARMS[1:]
    assert by_arm["reasoning"]["quiz: accuracy"].endswith(", inside the noise")
    assert by_arm["reasoning"]["Bits/byte"].startswith("−0.0") and by_arm["reasoning"]["Bits/byte"].endswith(", lower")
    assert ", p < 0.001, lower" in by_arm["standard"]["Bits/byte"]
    assert "6 comparisons of this table" in table.note


def test_differences_from_the_control_are_there_too() -> None:
    assert [row[0] for row in _table(make_inputs(), "Differences from standard").rows] == [
        "base",
        "standard_tokens",
        "reasoning",
    ]
    other = make_inputs(recipe=make_recipe(report={"control": "standard_tokens"}))
    assert "Differences from standard_tokens" in _tables(other)


def test_difficulties_stand_from_easy_to_very_hard() -> None:
    table = _table(make_inputs(), "quiz: accuracy by difficulty")
    assert table.columns == ["Arm", "easy (10)", "medium (10)", "hard (10)", "very_hard (10)"]
    assert table.rows[0][1] == "0.300 (0.108 to 0.603)"
    gains = _table(make_inputs(), "Gain over base by difficulty, quiz: accuracy")
    assert gains.columns == ["Arm", "easy", "medium", "hard", "very_hard", "very_hard minus easy"]


def test_difficulties_that_nobody_knows_make_no_table() -> None:
    rows = [row | {"difficulty": ""} for row in make_scores("base").to_pylist()]
    arm = dataclasses.replace(make_arm("base"), scores=pa.Table.from_pylist(rows, schema=SCORE))
    inputs = make_inputs(arms=[arm])
    assert "quiz: accuracy by difficulty" not in _tables(inputs) and "quiz: accuracy by domain" in _tables(inputs)
    assert "No question has a difficulty" in _said(inputs)


def test_time_gpu_hours_and_cost_are_summed() -> None:
    by_stage = _by_arm(_table(make_inputs(), "Time and cost"))
    assert by_stage["thoughts"]["GPU-hours"] == "1.500" and by_stage["thoughts"]["Cost"] == "3.00"
    assert by_stage["all"]["Cost"] == "4.00" and by_stage["corpus"]["Cost"] == "–"


def test_mixtures_show_what_was_asked_for_beside_what_was_reached() -> None:
    rows = _table(make_inputs(), "Mixtures").rows
    assert ["standard", "web/raw", "70.0%", "69.9%", "12,345", "240", "1.2%", "2.00", "1"] in rows


def test_a_mixture_without_details_still_has_its_row() -> None:
    arm = dataclasses.replace(make_arm("standard"), mixture=make_manifest("mixture"), training=None)
    assert _table(make_inputs(arms=[arm]), "Mixtures").rows == [
        ["standard", "–", "–", "–", "12,345", "–", "–", "–", "–"]
    ]


def test_a_stage_that_arms_share_is_shown_once() -> None:
    shared = make_manifest("training", fingerprint="feedfeedfeedfeed")
    arms = [dataclasses.replace(make_arm(name), training=shared) for name in ("standard", "reasoning")]
    rows = [row for row in _table(make_inputs(arms=arms), "Stages").rows if row[0] == "training"]
    assert [row[1:3] for row in rows] == [["standard, reasoning", "feedfeedfeedfeed"]]


def test_every_rejection_is_named_with_its_number() -> None:
    rows = _table(make_inputs(), "Rejections by reason").rows
    assert ["thoughts", "all", "too_long", "9", "4.5%", "doc_id with sample_index"] in rows


def test_versions_name_the_stages_that_had_them() -> None:
    rows = _table(make_inputs(), "Versions and hardware").rows
    assert ["vllm", "version", "0.32.0", "thoughts"] in rows
    assert ["ray", "version", "2.60.0", "all"] in rows


def test_a_teacher_that_is_the_student_is_said_plainly() -> None:
    said = _said(make_inputs())
    assert "Teacher and student are the same model, so no claim" in said
    assert "It was instruction-tuned before this run." in said
    assert "One seed, so differences between seeds are not measured" in said
    other = make_recipe(student={"reference": "example/other-base"})
    assert "It was not instruction-tuned before this run." in _said(make_inputs(recipe=other))
    assert "the same model" not in _said(make_inputs(recipe=other))


def test_thoughts_of_the_fake_engine_are_called_so() -> None:
    faked = make_recipe(thoughts={"engine": "fake", "teacher": {"reference": "example/any"}})
    assert "words without a model" in _said(make_inputs(recipe=faked))


def test_only_arms_whose_interval_contains_chance_are_called_chance() -> None:
    """All 40 answers right is not chance; 11 of 40 is."""
    rows = [row | {"value": 1.0} for row in make_scores("reasoning").to_pylist()]
    sure = pa.Table.from_pylist(rows, schema=SCORE)
    arms = [make_arm("base"), dataclasses.replace(make_arm("reasoning"), scores=sure)]
    said = _said(make_inputs(arms=arms))
    assert "On quiz, base is not distinguishable from chance: its 95% interval contains 0.25." in said


def test_a_missing_control_for_tokens_is_named() -> None:
    arms = {"base": {"train": False}, "reasoning": {}}
    assert "No token-matched control" in _said(make_inputs(recipe=make_recipe(arms=arms), arms=[make_arm("reasoning")]))
    assert "No token-matched control" not in _said(make_inputs())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"arms": []}, "Not measured yet: base, standard, standard_tokens and reasoning"),
        ({"arms": [make_failed("reasoning")]}, "reasoning failed: the loss became NaN in step 12."),
        ({"arms": [make_arm("base")]}, "No arm was trained"),
        ({"arms": [make_arm("standard")]}, "The baseline base is missing"),
        ({"arms": [dataclasses.replace(make_arm("standard"), steps=None)]}, "The baseline base is missing"),
        ({"arms": [dataclasses.replace(make_arm("base"), scores=make_scores("base").slice(0, 0))]}, "no accuracy"),
        ({"arms": [dataclasses.replace(make_arm("base"), scores=make_scores("base").slice(40))]}, "no accuracy"),
        ({"arms": [dataclasses.replace(make_arm("base"), scores=make_scores("base", 1, 1))]}, "One arm was measured"),
        ({"arms": [dataclasses.replace(make_arm("base"), scores=make_scores("base", 9, 0))]}, "no bits per byte"),
        ({"thoughts": None, "select": None, "thought_tokens": [], "examples": []}, "Teacher: none."),
        ({"thought_tokens": []}, "No thought was kept"),
    ],
)
def test_a_report_of_half_a_run_says_what_is_missing(changed: dict[str, object], sentence: str) -> None:
    inputs = make_inputs(**changed)
    assert sentence in _said(inputs)
    assert sentence in render_markdown(gather(inputs, measure_run(inputs))).replace("\\", "")


def test_the_summary_is_plain_json_by_line(tmp_path: Path) -> None:
    write_report(make_inputs(), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert tuple(summary) == ARMS
    assert summary["reasoning"]["measures"]["quiz/acc"]["value"] == 0.325
    assert json.loads((tmp_path / "inputs.json").read_text())["variants"][0]["arm"] == "base"
    assert summary["reasoning"]["differences_from_base"]["heldout/bits_per_byte"]["verdict"] == "lower"


def test_a_failed_arm_keeps_its_place_and_says_why(tmp_path: Path) -> None:
    inputs = make_inputs(arms=[make_arm("base"), make_arm("standard"), make_failed("reasoning")])
    outcome = write_report(inputs, tmp_path)
    assert outcome.counts.rejected == {"not_measured": 1}
    row = _by_arm(_table(inputs, "Arms"))["reasoning"]
    assert row["Seeds"] == "0 (1 missing)" and row["quiz: accuracy"] == "–"
    assert "reasoning failed: the loss became NaN in step 12." in (tmp_path / "report.md").read_text()


def test_hostile_texts_stay_text_in_markdown(tmp_path: Path) -> None:
    """The thought holds ``` and so stands in a longer fence; a name with | or < breaks no table."""
    write_report(make_inputs(student="a|b <b>bold</b>"), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert f"````text\n{HOSTILE}\n````" in markdown
    assert "a\\|b &lt;b>bold&lt;/b>" in markdown
    assert "| standard_tokens |" in markdown


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_report(make_inputs(), tmp_path / folder)
    for name in ("report.html", "report.md", "summary.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_an_arm_without_scores_has_dashes() -> None:
    empty = dataclasses.replace(make_arm("reasoning"), scores=make_scores("reasoning").slice(0, 0))
    row = _table(make_inputs(arms=[make_arm("base"), empty]), "Arms").rows[1]
    assert row[0] == "reasoning" and set(row[4:]) == {"–"}


def test_scores_of_a_diverged_model_are_no_numbers_and_no_difference() -> None:
    rows = [row | {"value": float("nan")} for row in make_scores("reasoning").to_pylist()]
    arm = dataclasses.replace(make_arm("reasoning"), scores=pa.Table.from_pylist(rows, schema=SCORE))
    inputs = make_inputs(arms=[make_arm("base"), arm])
    assert _by_arm(_table(inputs, "Differences from base"))["reasoning"]["Bits/byte"].endswith("inside the noise")
    assert "nan" in _by_arm(_table(inputs, "Arms"))["reasoning"]["Bits/byte, all domains"]


def test_a_control_that_is_no_arm_is_refused() -> None:
    with pytest.raises(UserError, match="report.control=plain is not one of the arms: base, standard"):
        make_recipe(report={"control": "plain"})
