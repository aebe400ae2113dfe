"""Whatever a run leaves out is named, with the setting that would fill it; figures that mislead are told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import open_page
from report_fixtures import ARMS, make_arm, make_comparison, make_evaluated, make_inputs, make_manifest, make_recipe

from rcpt_ray.recipe import load_recipe
from rcpt_ray.records import EVALUATED, SCORE
from rcpt_ray.report.figures import measure_run
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.page import Content, gather
from rcpt_ray.report.write import write_report

DEMO = Path(__file__).parent.parent / "jobs" / "recipes" / "demo.yaml"


def _content(inputs: ReportInputs) -> Content:
    return gather(inputs, measure_run(inputs))


def _evaluated_as(name: str, **details: Any) -> ArmResult:
    """An arm whose evaluation tells this of itself."""
    arm = make_arm(name)
    assert arm.evaluation is not None
    return replace(arm, evaluation=arm.evaluation.model_copy(update={"details": details}))


def _with_beside(name: str, told: dict[str, Any]) -> ArmResult:
    training = make_manifest("training", details={"beside": told})
    return replace(make_arm(name), training=training, evaluated=EVALUATED.empty_table())


def test_the_demos_report_names_every_section_that_it_leaves_out() -> None:
    """The demo's recipe with rows as its run leaves them: one seed and domain, no tiers, no answers, no price."""
    arms = []
    for name in ARMS:
        arm = make_arm(name)
        assert arm.evaluation is not None
        rows = [row | {"difficulty": ""} for row in arm.scores.to_pylist()]
        unpriced = arm.evaluation.model_copy(update={"cost": None})
        scores = arm.scores.from_pylist(rows, schema=SCORE)
        arms.append(replace(arm, scores=scores, evaluation=unpriced, heldout=None))
    unpriced = make_manifest("thoughts")
    content = _content(make_inputs(recipe=load_recipe(DEMO), arms=arms, thoughts=unpriced))
    wanted = {
        "Gain by difficulty": "No question has a difficulty",
        "Transfer between domains": "no transfer matrix (comparison.domains)",
        "Depth of reasoning": "nothing is said of the depth of reasoning",
    }
    shown = [section.title for section in content.sections]
    for title, why in wanted.items():
        assert title not in shown and any(why in sentence for sentence in content.not_shown), title
    for why in (
        "No paraphrase control",
        "One seed, so differences between seeds are not measured",
        "No question has a category",
        "Perplexity of held-out thoughts and their gain were not measured",
        "Checkpoints were not evaluated beside the training (evaluation.beside_training=true).",
        "Held-out bits per byte were not measured while training",
        "use of the pools over time is not shown",
        "Only 2 thoughts are shown beside their texts",
        "No price was given, so no cost is told",
    ):
        assert sum(why in sentence for sentence in content.not_shown) == 1, why
    whole = {section.title for section in _content(make_comparison(228, num_answered=20)).sections}
    assert whole - set(shown) == set(wanted)


def test_checkpoints_without_figures_are_told() -> None:
    recipe = make_recipe(evaluation={"tasks": {"quiz": {"path": "quiz.jsonl"}}, "beside_training": True})
    failures = {"10": "OutOfMemoryError: no room for runs/small-demo/training/x.", "20": "the same"}
    arms = [_with_beside("standard", {"failures": failures, "skipped": []})]
    arms += [_with_beside("reasoning", {"failures": {}, "skipped": [10, 30]})]
    said = _content(make_inputs(recipe=recipe, arms=arms)).not_shown
    assert "No checkpoint was evaluated, although evaluation.beside_training=true asks for it." in said
    assert (
        "standard: evaluation of its checkpoints failed at step 10 and 20, first: OutOfMemoryError: no room for "
        "RUN/training/x."
    ) in said
    assert any(one.startswith("reasoning: its checkpoints of step 10 and 30 were removed before") for one in said)
    some = replace(arms[0], evaluated=make_evaluated(1))
    said = _content(make_inputs(recipe=recipe, arms=[some, arms[1]])).not_shown
    assert not any("No checkpoint was evaluated" in one for one in said)
    assert any("standard: evaluation of its checkpoints failed" in one for one in said)


def test_heldout_thoughts_that_were_asked_for_and_are_not_there() -> None:
    recipe = make_recipe(
        corpus={"sources": {"web": {"path": "web.jsonl", "domain": "stem"}}, "heldout_share": 0.1},
        evaluation={"tasks": {"quiz": {"path": "quiz.jsonl"}}, "heldout_thoughts": True},
    )
    said = _content(make_inputs(recipe=recipe)).not_shown
    assert any(one.startswith("No thought of a held-out document was scored, although") for one in said)
    assert not any("Perplexity of held-out thoughts" in one for one in said)


def test_items_that_arms_do_not_share_are_told() -> None:
    reasoning = make_arm("reasoning")
    fewer = replace(reasoning, scores=reasoning.scores.slice(10))
    said = _content(make_inputs(arms=[make_arm("base"), make_arm("standard"), fewer])).not_shown
    (sentence,) = [one for one in said if "shared items" in one]
    assert sentence == (
        "quiz: differences are over shared items alone, and not all are shared: reasoning and base 30 of 30 and 40; "
        "reasoning and standard 30 of 30 and 40."
    )


@pytest.mark.parametrize(
    ("base", "reasoning", "told"),
    [
        (
            {"precision": "bf16"},
            {"precision": "fp32"},
            "Models were measured in different number formats: bf16 for base; fp32 for reasoning.",
        ),
        (
            {"heldout": {"heldout": {"engine": "vllm"}}},
            {"heldout": {"heldout": {"engine": "transformers"}}},
            "heldout was computed by different engines: vllm for base; transformers for reasoning.",
        ),
        (
            {"tasks": {"quiz": {"engine": "oracle"}}},
            {"tasks": {"quiz": {"engine": "oracle"}}},
            "Answers to quiz of base, reasoning were planted by the oracle, a stand-in for tests",
        ),
        ({"precision": "bf16", "tasks": {"quiz": {"engine": "vllm"}}},) * 2 + ("",),
    ],
)
def test_arms_that_were_measured_differently_are_told(
    base: dict[str, Any], reasoning: dict[str, Any], told: str
) -> None:
    arms = [_evaluated_as("base", **base), _evaluated_as("reasoning", **reasoning)]
    sentences = _content(make_inputs(arms=arms)).read_with_care
    said = [one for one in sentences if any(word in one for word in ("engines", "number formats", "oracle"))]
    assert len(said) == bool(told) and "".join(said).startswith(told)


def test_a_run_without_one_arm_has_an_honest_page(tmp_path: Path) -> None:
    """The arm that it is all about failed in every stage; the page still opens, and says so."""
    lost = ArmResult(
        "reasoning", "thought, then text", None, SCORE.empty_table(), arm="reasoning", failure="thoughts: out of memory"
    )
    inputs = make_inputs(
        arms=[*(make_arm(name) for name in ARMS[:3]), lost], thoughts=None, select=None, thought_tokens=[], examples=[]
    )
    write_report(inputs, tmp_path)
    page = open_page(tmp_path / "report.html", tmp_path, picture=False)
    assert page.console == []
    assert "reasoning failed: thoughts: out of memory." in page.dom and "0 (1 missing)" in page.dom
    assert "No thoughts, so nothing is said of their length" in page.dom
