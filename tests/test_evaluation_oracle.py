"""The planted oracle gives exactly what was planted, by the way that every model goes."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from evaluation_fixtures import write_rows

from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import close_models, open_model
from rcpt_ray.evaluation.oracle import planted_answer
from rcpt_ray.evaluation.run import evaluate
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.evaluation.thinking import Answered
from rcpt_ray.report.samples import depth_by
from rcpt_ray.report.statistics.measures import read_measures

TIERS = ["easy", "medium", "hard", "very_hard"]


def answers(model: Path, num_questions: int, repeats: int = 1, max_thought_tokens: int = 512, **oracle: Any) -> Any:
    """Items and what the oracle said of them; item n is of tier n % 4 and has the answer n // 4 % 4."""
    from lm_eval.api.instance import Instance

    spec = EvaluationSpec.model_validate({"generation_engine": "oracle", "oracle": oracle})
    job = EvaluationJob(spec, str(model), [], Path("unused"), seed=17, thought_close="</thought>")
    lm = open_model(job, "generation")
    assert (lm.engine, lm.seeds) == ("oracle", "none")
    settings = {
        "thought_close": "</thought>",
        "answer_cue": "Answer:",
        "max_thought_tokens": max_thought_tokens,
        "max_answer_tokens": 8,
    }
    items = [
        {"item_id": f"q{number}", "difficulty": TIERS[number % 4], "answer": number // 4 % 4}
        for number in range(num_questions)
    ]
    asked = [
        Instance("generate_until", item, ("Which one is it?", dict(settings)), 0, ("quiz", number, repeats))
        for number, item in enumerate(items)
    ]
    written = lm.generate_until([one for one in asked for _ in range(repeats)])
    close_models()
    return [item for item in items for _ in range(repeats)], [Answered.from_json(text) for text in written]


def letter(answered: Answered) -> str:
    return answered.output.strip()


def test_tiers_that_it_knows_are_right_and_the_others_one_letter_off(tiny_model_folder: Path) -> None:
    items, said = answers(tiny_model_folder, 32, knows=["easy", "medium"])
    for item, answered in zip(items, said, strict=True):
        off = 0 if item["difficulty"] in ("easy", "medium") else 1
        assert letter(answered) == "ABCD"[(item["answer"] + off) % 4]


def test_it_thinks_as_many_words_as_it_is_told(tiny_model_folder: Path) -> None:
    items, said = answers(tiny_model_folder, 8, thought_tokens={"easy": 10, "hard": 100, "very_hard": 3})
    planted = {"easy": 10, "medium": 10, "hard": 100, "very_hard": 3}
    assert [each.num_thought_tokens for each in said] == [planted[item["difficulty"]] for item in items]
    assert [len(each.thought.split()) for each in said] == [planted[item["difficulty"]] for item in items]
    assert not any(each.hit_limit for each in said)


def test_a_thought_above_the_limit_is_cut_there_and_answered(tiny_model_folder: Path) -> None:
    items, said = answers(tiny_model_folder, 8, max_thought_tokens=50, thought_tokens={"hard": 100})
    hard = [each for item, each in zip(items, said, strict=True) if item["difficulty"] == "hard"]
    assert [(each.hit_limit, each.num_thought_tokens) for each in hard] == [(True, 50)] * 2
    assert [each.hit_limit for each in said].count(True) == 2
    assert all(letter(each) in "ABCD" for each in said)


@pytest.mark.parametrize("repeats", [1, 3])
def test_every_so_manyth_question_is_mute_in_all_its_samples(tiny_model_folder: Path, repeats: int) -> None:
    _, said = answers(tiny_model_folder, 12, repeats=repeats, mute_every=4)
    mute = [letter(each) not in "ABCD" for each in said]
    assert mute == [number % 4 == 3 for number in range(12) for _ in range(repeats)]


def test_number_problems_are_answered_by_their_number_or_the_next() -> None:
    item = {"answer": "He has 3 boxes of 400.\n#### 1,200"}
    assert (planted_answer(item, True), planted_answer(item, False)) == ("1200", "1201")


def test_what_was_planted_is_what_the_report_tells(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Through lm-eval, the rows and the report's own figures: 24 questions of three tiers, every fourth one mute."""
    tiers = ["easy", "medium", "hard"]
    questions = [
        {
            "id": f"q{number:02}",
            "question": f"What is {number} plus one?",
            "choices": [str(number + 1 + 5 * (place - number // 3 % 4)) for place in range(4)],
            "answer": number // 3 % 4,
            "difficulty": tiers[number % 3],
        }
        for number in range(24)
    ]
    spec = EvaluationSpec.model_validate(
        {
            "tasks": {"quiz": {"kind": "generated", "path": write_rows(tmp_path / "quiz.jsonl", questions)}},
            "heldout_bits_per_byte": False,
            "generation_engine": "oracle",
            "oracle": {"knows": ["easy", "medium"], "thought_tokens": {"hard": 100}, "mute_every": 4},
        }
    )
    evaluate(EvaluationJob(spec, str(tiny_model_folder), [], tmp_path, 17, "<thought>\n", "\n</thought>\n\n"))
    close_models()
    measures = read_measures([pq.read_table(tmp_path / "scores.parquet")])
    of_tier = {}
    for metric in ("acc", "extracted"):
        measure = measures["quiz", metric]
        groups = measure.groups("difficulty")
        shares = groups.sums(measure.values_VN[0]) / groups.sums(measure.present_VN[0].astype(float))
        of_tier[metric] = dict(zip(groups.names, shares.tolist(), strict=True))
    assert of_tier == {
        "acc": {"easy": 0.75, "medium": 0.75, "hard": 0.0},
        "extracted": {"easy": 0.75, "medium": 0.75, "hard": 0.75},
    }
    answers = pq.read_table(tmp_path / "answers.parquet")
    depths = depth_by([answers], "quiz", "difficulty")
    assert {tier: (depths[tier].num_answers, depths[tier].tokens, depths[tier].sentences) for tier in tiers} == {
        "easy": (8, 10.0, 2.0),
        "medium": (8, 10.0, 2.0),
        "hard": (8, 100.0, 20.0),
    }
    assert (depths["all"].tokens, depths["all"].limit_share, depths["all"].not_extracted_share) == (40.0, 0.0, 0.25)
    assert (depths["all"].tokens_right, depths["hard"].tokens_right, depths["hard"].tokens_wrong) == (10.0, None, 100.0)
