"""Tasks of four kinds through the real lm-eval: prompts, scores, rows, and what is checked of the tool.

One file, because the first import of lm-eval costs more than all that is tested here.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_fixtures import (
    EXAMPLES,
    PROBLEMS,
    QUESTIONS,
    SOLVED,
    assert_same_choices,
    first_of_each,
    stock_mmlu,
    table_lm,
    write_rows,
)
from processes import PROJECT

from rcpt_ray.artifacts import write_table
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation import run, stock
from rcpt_ray.evaluation.checks import LmEvalDiffers
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.run import evaluate
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.evaluation.tokens import TextTokens
from rcpt_ray.records import ANSWER, CHOICE, SCORE, THOUGHT

Row = dict[str, Any]
MMLU = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared")) / "data" / "eval"
OPEN, CLOSE = "<thought>\n", "\n</thought>\n\n"


def job_of(folder: Path, model: Path | str, tasks: dict[str, Row], **more: Any) -> EvaluationJob:
    settings = {"heldout_bits_per_byte": False, "precision": "fp32", "batch_size": 4} | more
    spec = EvaluationSpec(tasks=tasks, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    return EvaluationJob(spec, str(model), [], folder, seed=1, thought_open=OPEN, thought_close=CLOSE)


def rows_of(folder: Path, table: str) -> list[Row]:
    rows: list[Row] = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("questions")
    named = {"test.parquet": QUESTIONS, "dev.jsonl": EXAMPLES, "gsm.jsonl": PROBLEMS, "solved.jsonl": SOLVED}
    return {name.split(".")[0]: write_rows(folder / name, rows) for name, rows in named.items()}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Have a table answer instead of a model."""

    def use(answers: Callable[[Row, int], Any], num_truncated: int = 0) -> Any:
        model = table_lm(answers, num_truncated)
        monkeypatch.setattr(run, "open_model", lambda job, use: model)
        return model

    return use


def test_likelihood_choices_scores_and_manifest(files: dict[str, str], tiny_model_folder: Path, tmp_path: Path) -> None:
    task = {"path": files["test"], "examples_path": files["dev"], "num_fewshot": 2}
    outcome = evaluate(job_of(tmp_path / "out", tiny_model_folder, {"sums": task}))
    scores, choices = rows_of(tmp_path / "out", "scores"), rows_of(tmp_path / "out", "choices")
    assert pq.read_schema(tmp_path / "out" / "scores.parquet").equals(SCORE)
    assert pq.read_schema(tmp_path / "out" / "choices.parquet").equals(CHOICE)
    assert not (tmp_path / "out" / "answers.parquet").exists()
    assert {row["item_id"]: row["answer"] for row in choices} == {one["id"]: one["answer"] for one in QUESTIONS}
    for row, score in zip(choices, scores, strict=True):
        assert row["choice"] == row["log_likelihoods"].index(max(row["log_likelihoods"]))
        assert (score["item_id"], score["metric"], score["value"]) == (
            row["item_id"],
            "acc",
            row["choice"] == row["answer"],
        )
    assert {(one["subject"], one["category"]) for one in scores} == {
        ("formal_logic", "humanities"),
        ("virology", "other"),
    }
    assert outcome.details["tasks"]["sums"] == {
        "kind": "likelihood",
        "num_fewshot": 2,
        "num_samples": 1,
        "chance": 0.25,
        "num_items": 5,
        "num_truncated": 0,
        "engine": "transformers",
        "seeds": "engine",
    }
    assert (outcome.counts.num_in, outcome.counts.num_ok) == (5, 5)


def test_generated_answers_right_and_mute_and_cut(
    files: dict[str, str], say: Callable[..., Any], tmp_path: Path
) -> None:
    """Right in the first two of four samples, silent in the third, another letter in the last."""

    def answers(item: Row, sample: int) -> Row:
        other = "ABCD"[(item["answer"] + 1) % 4]
        output = [f" ({item['target']})", f" {item['target']}.", " I would rather not say", f" The answer is {other}."]
        return {
            "thought": "First. Then more. At last" if sample else "one two three four five six",
            "output": output[sample],
        }

    say(answers)
    task = {"kind": "generated", "path": files["test"], "num_samples": 4, "temperature": 0.7, "max_thought_tokens": 5}
    outcome = evaluate(job_of(tmp_path / "out", "none", {"sums": task}))
    rows = rows_of(tmp_path / "out", "answers")
    assert pq.read_schema(tmp_path / "out" / "answers.parquet").equals(ANSWER)
    assert not (tmp_path / "out" / "choices.parquet").exists()
    assert len(rows) == 4 * len(QUESTIONS)
    assert [(row["right"], row["answer"] is None) for row in rows[:4]] == [(True, False)] * 2 + [
        (False, True),
        (False, False),
    ]
    assert [row["sample_index"] for row in rows[:4]] == [0, 1, 2, 3]
    assert [(row["hit_limit"], row["num_thought_tokens"], row["num_thought_sentences"]) for row in rows[:2]] == [
        (True, 5, 1),
        (False, 5, 3),
    ]
    of_item = {row["metric"]: row["value"] for row in rows_of(tmp_path / "out", "scores") if row["item_id"] == "q0"}
    assert of_item == {
        "acc": 0.5,
        "extracted": 0.75,
        "pass@1": 0.5,
        "pass@2": pytest.approx(5 / 6),
        "pass@4": 1.0,
        "maj@4": 1.0,
    }
    assert outcome.details["tasks"]["sums"] | {"num_items": 0} == {
        "kind": "generated",
        "num_fewshot": 0,
        "num_samples": 4,
        "chance": 0.25,
        "num_items": 0,
        "num_truncated": 0,
        "engine": "table",
        "seeds": "none",
    }


def test_prompt_of_a_generated_task_ends_where_the_thought_begins(
    files: dict[str, str], say: Callable[..., Any], tmp_path: Path
) -> None:
    model = say(lambda item, sample: {"thought": "so", "output": f" {item['target']}"})
    task = {"kind": "generated", "path": files["test"], "examples_path": files["dev"], "num_fewshot": 1}
    evaluate(job_of(tmp_path / "out", "none", {"sums": task}))
    prompt, settings = model.requests[0].args
    assert prompt == (
        "The following are multiple choice questions (with answers) about formal logic.\n\n"
        "What is 20 plus 44?\nA. 64\nB. 69\nC. 74\nD. 79\nAnswer: A\n\n"
        "What is 0 plus 4?\nA. 4\nB. 9\nC. 14\nD. 19\n<thought>\n"
    )
    assert settings == {
        "thought_close": CLOSE,
        "answer_cue": "Answer:",
        "max_thought_tokens": 512,
        "max_answer_tokens": 32,
        "do_sample": False,
        "temperature": 0.0,
        "top_p": 1.0,
        "until": ["\n"],
    }


def test_word_problems_show_their_solutions_as_thoughts(
    files: dict[str, str], say: Callable[..., Any], tmp_path: Path
) -> None:
    model = say(
        lambda item, sample: {"thought": "half of it", "output": " $600.00" if "tank" in item["question"] else " 8"}
    )
    task = {"kind": "gsm8k", "path": files["gsm"], "examples_path": files["solved"], "num_fewshot": 2}
    outcome = evaluate(job_of(tmp_path / "out", "none", {"words": task}))
    assert model.requests[1].args[0] == (
        "The following are word problems (with answers).\n\n"
        "Question: What is 3 times 3?\n<thought>\n3 * 3 is 9.\n</thought>\n\nAnswer: 9\n\n"
        "Question: What is 4 times 4?\n<thought>\n4 * 4 is 16.\n</thought>\n\nAnswer: 16\n\n"
        "Question: Ropes cost $2.50 each. What do three cost?\n<thought>\n"
    )
    assert [(row["answer"], row["right"]) for row in rows_of(tmp_path / "out", "answers")] == [
        ("600", True),
        ("8", False),
    ]
    assert outcome.details["tasks"]["words"]["chance"] is None


def test_question_longer_than_the_context_is_told_with_its_setting(
    files: dict[str, str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    task = {"path": files["test"], "examples_path": files["dev"], "num_fewshot": 2}
    with pytest.raises(
        UserError, match=r"^evaluation.max_length_tokens=128: 20 requests of sums .* evaluation.tasks.sums.num_fewshot"
    ):
        evaluate(job_of(tmp_path / "out", tiny_model_folder, {"sums": task}, max_length_tokens=128))
    assert not (tmp_path / "out" / "scores.parquet").exists()


Spoil = Callable[[dict[str, Any]], None]


def _samples(results: dict[str, Any]) -> list[Row]:
    samples: list[Row] = results["samples"]["sums/all"]
    return samples


def _other_prompt(results: dict[str, Any]) -> None:
    sample = _samples(results)[2]
    prompt, settings = sample["arguments"][0]
    sample["arguments"] = [(prompt.replace("A. ", "A) "), settings)]


def _hotter(results: dict[str, Any]) -> None:
    prompt, settings = _samples(results)[0]["arguments"][0]
    _samples(results)[0]["arguments"] = [(prompt, settings | {"temperature": 1.0})]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda results: results["n-shot"].update({"sums/all": 1}), "sums/all with shots 1, but 0 was asked for"),
        (lambda results: results["n-samples"]["sums/all"].update(effective=4), "with items 4, but 5 was asked for"),
        (lambda results: _samples(results).pop(), "with logged items"),
        (lambda results: _samples(results)[0]["resps"][0].pop(), "with samples of item 0 0, but 1 was asked for"),
        (_other_prompt, r"item 2 of sums/all with another prompt .* from character \d+ on: '\) "),
        (_hotter, "with generation of item 0"),
    ],
    ids=["shots", "items", "logged items", "samples", "prompt", "generation"],
)
def test_what_lm_eval_did_otherwise_fails_the_stage(
    files: dict[str, str],
    say: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    spoil: Spoil,
    said: str,
) -> None:
    import lm_eval

    say(lambda item, sample: {"thought": "so", "output": f" {item['target']}"})
    honest = lm_eval.evaluate

    def spoiled(**asked: Any) -> Any:
        results = honest(**asked)
        spoil(results)
        return results

    monkeypatch.setattr(lm_eval, "evaluate", spoiled)
    with pytest.raises(LmEvalDiffers, match=said):
        evaluate(job_of(tmp_path / "out", "none", {"sums": {"kind": "generated", "path": files["test"]}}))


def test_held_out_thoughts_cost_and_save_what_the_model_itself_says(tiny_model_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    thought = dict.fromkeys(THOUGHT.names) | {"domain": "law", "status": "ok", "sample_index": 0}
    rows = [
        thought | {"doc_id": "d0", "text": "The appeal fails.", "thought": "Was it filed in time? No."},
        thought | {"doc_id": "d1", "text": "It stands. Ω", "thought": "Either way."},
        thought | {"doc_id": "d2", "text": "Long. " * 300, "thought": "Too long."},
        thought | {"doc_id": "d3", "text": "None.", "thought": "", "status": "rejected", "reason": "too_short"},
        thought
        | {"doc_id": "d1", "sample_index": 1, "text": "It stands. Ω", "status": "rejected", "reason": "not_chosen"},
    ]
    write_table(tmp_path / "part-0.parquet", pa.Table.from_pylist(rows, schema=THOUGHT))
    job = job_of(tmp_path / "out", tiny_model_folder, {}, max_length_tokens=256)
    outcome = evaluate(replace(job, thought_parts=[tmp_path / "part-0.parquet"]))
    assert (outcome.counts.num_in, outcome.counts.num_ok) == (4, 2)
    assert outcome.counts.rejected == {"too_long": 1, "too_short": 1}
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)

    def nats(*pieces: str) -> tuple[float, int]:
        """Of the last piece behind the others, and its tokens."""
        ids = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in pieces]
        row = torch.tensor([[tokenizer.bos_token_id, *(token for own in ids for token in own)]])
        with torch.no_grad():
            logprobs = model(row).logits[0].log_softmax(-1)
        last = range(row.shape[1] - len(ids[-1]), row.shape[1])
        return sum(float(logprobs[place - 1, row[0, place]]) for place in last), len(ids[-1])

    found = {(row["item_id"], row["metric"]): row for row in rows_of(tmp_path / "out", "scores")}
    assert len(found) == 4
    for row in rows[:2]:
        cost, num_tokens = nats(OPEN, row["thought"])
        saved = nats(OPEN, row["thought"], CLOSE, row["text"])[0] - nats(row["text"])[0]
        num_bytes = len(row["text"].encode())
        own = found[(row["doc_id"], "thought_nats")], found[(row["doc_id"], "gain")]
        assert (own[0]["task"], own[0]["domain"], own[0]["weight"]) == ("heldout", "law", num_tokens)
        assert own[0]["value"] == pytest.approx(-cost / num_tokens, abs=1e-4)
        assert own[1]["value"] == pytest.approx(saved / math.log(2) / num_bytes, abs=1e-4)
        assert own[1]["weight"] == num_bytes


@pytest.mark.parametrize(("engine", "room"), [("transformers", 64), ("vllm", 62)])
def test_held_out_thoughts_fit_as_the_engine_reads_them(
    tiny_model_folder: Path, tmp_path: Path, engine: str, room: int
) -> None:
    """Up to the last token of a model's context, of which vLLM needs two for itself, delimiters cut apart."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 64}
    (model / "config.json").write_text(json.dumps(config))
    tokens = TextTokens(str(model), [OPEN, CLOSE])
    thought = dict.fromkeys(THOUGHT.names) | {"domain": "law", "status": "ok", "sample_index": 0, "thought": "Why?"}
    rows = [thought | {"doc_id": f"d{number}", "text": "x" * number} for number in range(1, 150)]
    lengths = [len(tokens.encode(OPEN + "Why?" + CLOSE + row["text"], False)) for row in rows]
    assert {room, room + 1} <= set(lengths)
    write_table(tmp_path / "part-0.parquet", pa.Table.from_pylist(rows, schema=THOUGHT))
    job = job_of(tmp_path / "out", model, {}, max_length_tokens=64, likelihood_engine=engine)
    (own,) = run.task_sets(replace(job, thought_parts=[tmp_path / "part-0.parquet"]), tmp_path)
    assert own.num_items == sum(length <= room for length in lengths)
    assert own.rejected == {"too_long": len(rows) - own.num_items}


def small_index(monkeypatch: pytest.MonkeyPatch, *folders: str) -> None:
    """Only some of lm-eval's task files: the index of all takes ten seconds."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.__file__).parent / "tasks"
    paths = [str(root / folder) for folder in folders]
    monkeypatch.setattr(stock, "task_manager", lambda: TaskManager(include_defaults=False, include_path=paths))


SUBJECTS_OF_PRO = ["biology", "business", "chemistry", "computer science", "economics", "engineering", "health"]
SUBJECTS_OF_PRO += ["history", "law", "math", "other", "philosophy", "physics", "psychology"]


def pro_rows(prefix: str, number: int) -> list[Row]:
    """In the columns of TIGER-Lab/MMLU-Pro: ten options, the answer as a letter, a worked example's thought."""
    return [
        {
            "question_id": 100 * place + one,
            "question": f"{prefix} {one} of {subject}: what is {place} plus {one}?",
            "options": [str(place + one + step) for step in range(10)],
            "answer": "A",
            "answer_index": 0,
            "cot_content": f"A: Let's think step by step. It is {place + one}. The answer is (A).",
            "category": subject,
            "src": "own",
        }
        for place, subject in enumerate(SUBJECTS_OF_PRO)
        for one in range(number)
    ]


def test_stock_mmlu_pro_on_local_files(
    say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All fourteen tasks of the group; the model is right but in law."""
    small_index(monkeypatch, "mmlu_pro")
    model = say(
        lambda item, sample: f" It is so. The answer is ({'B' if item['category'] == 'law' else item['answer']})."
    )
    data = {"test": write_rows(tmp_path / "test.parquet", pro_rows("Test", 3))}
    data["validation"] = write_rows(tmp_path / "validation.jsonl", pro_rows("Shown", 2))
    task = {"kind": "stock", "name": "mmlu_pro", "data": data, "num_fewshot": 2, "max_questions": 2}
    outcome = evaluate(job_of(tmp_path / "out", "none", {"pro": task}))
    scores = rows_of(tmp_path / "out", "scores")
    assert {row["metric"] for row in scores} == {"exact_match,custom-extract"}
    assert len(scores) == len({row["item_id"] for row in scores}) == 28
    wrong = {(row["subject"], row["category"]) for row in scores if row["value"] == 0.0}
    assert wrong == {("mmlu_pro_law", "law")}
    assert all(request.args[0].count("Options:") == 3 for request in model.requests)
    told = outcome.details["tasks"]["pro"]
    assert (told["num_fewshot"], told["num_items"], told["chance"], len(told["names"])) == (2, 28, None, 14)
    assert list((tmp_path / "out").glob(".stock*")) == []


def gpqa_rows(number: int) -> list[Row]:
    """In the columns of Idavidrein/gpqa that its tasks read."""
    return [
        {
            "Question": f" What is {one} squared?",
            "Correct Answer": f"{one * one}.0",
            **{f"Incorrect Answer {wrong}": f"{one * one + wrong}.0" for wrong in (1, 2, 3)},
        }
        for one in range(2, 2 + number)
    ]


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("gpqa_diamond_zeroshot", {"acc", "acc_norm"}),
        ("gpqa_diamond_cot_zeroshot", {"exact_match,strict-match", "exact_match,flexible-extract"}),
    ],
)
def test_stock_gpqa_on_local_files(
    say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, metrics: set[str]
) -> None:
    """Its choices are shuffled where they are loaded: the right one must be that of the prompt that was asked."""
    small_index(monkeypatch, "gpqa")

    def right(item: Row, request: int) -> Any:
        if name.endswith("diamond_zeroshot"):
            return 0.0 if "ABCD"[request] in item["answer"] else -1.0
        return f"By heart. The answer is {item['answer']}."

    model = say(right)
    data = {"train": write_rows(tmp_path / "train.parquet", gpqa_rows(6))}
    evaluate(job_of(tmp_path / "out", "none", {"gpqa": {"kind": "stock", "name": name, "data": data}}))
    scores = rows_of(tmp_path / "out", "scores")
    assert {row["metric"] for row in scores} == metrics
    assert len(scores) == 12 and all(row["value"] == 1.0 for row in scores)
    for request in model.requests:
        letter, correct = request.doc["answer"], request.doc["Correct Answer"]
        assert f"{letter} {correct}" in request.args[0]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            {"name": "gpqa_diamant_zeroshot"},
            "evaluation.tasks.x.name=gpqa_diamant_zeroshot is no task of lm-eval; near are",
        ),
        (
            {"name": "gpqa_diamond_zeroshot", "data": {"train": "mmlu"}},
            "x.name=gpqa_diamond_zeroshot cannot be made of data",
        ),
    ],
    ids=["no such name", "other columns"],
)
def test_stock_task_that_cannot_be_made_is_told(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Row, said: str
) -> None:
    small_index(monkeypatch, "gpqa")
    task = task | ({"data": {"train": files["test"]}} if "data" in task else {})
    with pytest.raises(UserError, match=said):
        evaluate(job_of(tmp_path / "out", "none", {"x": {"kind": "stock", **task}}))


def test_likelihood_is_that_of_lm_evals_own_mmlu(
    files: dict[str, str], tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Question by question, log-probabilities too; with all of MMLU in test_evaluation_mmlu.py."""
    from lm_eval.models.huggingface import HFLM

    plain = HFLM(pretrained=str(tiny_model_folder), dtype="float32", device="cpu", batch_size=4)
    theirs = stock_mmlu(plain, tmp_path, QUESTIONS, EXAMPLES, num_fewshot=2)
    task = {"path": files["test"], "examples_path": files["dev"], "num_fewshot": 2}
    data = {"test": files["test"], "dev": files["dev"]}
    stock_task = {"kind": "stock", "name": "mmlu_virology", "data": data, "subset_column": "subject"}
    stock_task["num_fewshot"] = 2
    small_index(monkeypatch, "mmlu/default")
    outcome = evaluate(job_of(tmp_path / "out", tiny_model_folder, {"mmlu": task, "stock": stock_task}))
    # The questions of formal_logic are in the file, but in no task that was asked.
    assert (outcome.counts.num_in, outcome.counts.rejected) == (10, {"in_no_task": 3})
    assert_same_choices(theirs, QUESTIONS, rows_of(tmp_path / "out", "choices"), lambda one: str(one["id"]))
    scores = rows_of(tmp_path / "out", "scores")
    of_virology = [[row["value"] for row in scores if row["task"] == name] for name in ("stock", "mmlu")]
    assert of_virology[0] == of_virology[1][3:] and len(of_virology[0]) == 2


@pytest.mark.skipif(not (MMLU / "mmlu_test.parquet").exists(), reason="MMLU is not here; set RCPT_SHARED")
def test_likelihood_on_some_of_real_mmlu_is_lm_evals_own(tiny_model_folder: Path, tmp_path: Path) -> None:
    """With the tiny model; with a real one and all subjects in test_evaluation_mmlu.py."""
    from lm_eval.models.huggingface import HFLM

    subjects = ["astronomy", "college_mathematics", "moral_disputes", "sociology"]
    questions = first_of_each(pq.read_table(MMLU / "mmlu_test.parquet").to_pylist(), subjects, 3)
    examples = pq.read_table(MMLU / "mmlu_dev.parquet").to_pylist()
    plain = HFLM(pretrained=str(tiny_model_folder), dtype="float32", device="cpu", batch_size=4)
    theirs = stock_mmlu(plain, tmp_path, questions, examples, num_fewshot=1)
    test, dev = write_rows(tmp_path / "test.parquet", questions), write_rows(tmp_path / "dev.parquet", examples)
    task = {"path": test, "examples_path": dev, "num_fewshot": 1}
    evaluate(job_of(tmp_path / "out", tiny_model_folder, {"mmlu": task}))
    choices = rows_of(tmp_path / "out", "choices")
    assert_same_choices(theirs, questions, choices, lambda one: f"{one['subject']}-{one['index']}")
    scores = rows_of(tmp_path / "out", "scores")
    assert Counter(row["difficulty"] for row in scores) == Counter(row["difficulty"] for row in questions)
    assert Counter(row["category"] for row in scores) == {"stem": 6, "humanities": 3, "social_sciences": 3}
