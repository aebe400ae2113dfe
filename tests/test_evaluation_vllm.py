"""vLLM on Ray in an evaluation scores and writes what transformers does, on a cluster without a CPU to spare."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from processes import PROJECT

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.cost import Held
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import close_models, open_model
from rcpt_ray.evaluation.prompts import question_text
from rcpt_ray.evaluation.questions import LETTERS, read_questions
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.evaluation.thinking import Answered
from rcpt_ray.models import resolve_model

pytestmark = pytest.mark.slow

MMLU = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared")) / "data" / "eval" / "mmlu_test.parquet"
OPEN, CLOSE = "<thought>\n", "\n</thought>\n\n"


@pytest.fixture(scope="module", autouse=True)
def ray_of_two_cpus() -> Iterator[None]:
    with cluster.session():
        cluster.connect(ClusterSpec(num_cpus=2))
        yield
        close_models()


def job(model: str, **settings: Any) -> EvaluationJob:
    """By vLLM unless the settings say otherwise; an engine takes both CPUs."""
    fields = {"likelihood_engine": "vllm", "max_length_tokens": 1024, "cpus": 2, "pool": {"cpus_per_engine": 2}}
    spec = EvaluationSpec.model_validate(fields | settings)
    return EvaluationJob(spec, model, [], Path("unused"), seed=17, thought_open=OPEN, thought_close=CLOSE)


def requests(kind: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, each, 0, ("quiz", number, 1)) for number, each in enumerate(arguments)]


def letters_of(questions: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(question_text(question), f" {letter}") for question in questions for letter in LETTERS]


def thoughts_of(questions: Sequence[dict[str, Any]], **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    asked = {"thought_close": CLOSE, "answer_cue": "Answer:", "max_thought_tokens": 24, "max_answer_tokens": 4}
    return [(f"{question_text(question)}\n{OPEN}", asked | settings) for question in questions]


def nats(model: Any, arguments: Sequence[tuple[str, str]]) -> Any:
    """Log-probabilities, float64[questions, letters]."""
    scored = model.loglikelihood(requests("loglikelihood", arguments))
    return np.array([own for own, _ in scored]).reshape(-1, len(LETTERS))


def written(model: Any, arguments: Sequence[tuple[str, dict[str, Any]]], order: int = 1) -> list[Answered]:
    asked = requests("generate_until", arguments)
    return [Answered.from_json(text) for text in model.generate_until(asked[::order])][::order]


def test_one_pool_scores_and_writes_as_transformers_does() -> None:
    """The tiny model in fp32: letters, texts in windows and greedy thoughts; samples repeat in another order."""
    model, quiz = resolve_model("tiny-random-llama").path, read_questions("quiz", "samples://quiz/test.jsonl", 24)
    texts = requests("loglikelihood_rolling", [(question["question"] * 80,) for question in quiz[:3]])
    asked = job(model, precision="fp32")
    pool = open_model(asked, "likelihood")
    found, found_texts = nats(pool, letters_of(quiz)), pool.loglikelihood_rolling(texts)
    thinking = open_model(asked, "generation")
    thoughts = written(thinking, thoughts_of(quiz))
    sampled = thoughts_of(quiz, do_sample=True, temperature=1.0)
    drawn = written(thinking, sampled)
    assert (thinking.engine, thinking.seeds) == ("vllm", "request")
    assert len({each.thought for each in drawn}) == len(quiz)
    assert written(thinking, sampled, order=-1) == drawn

    by_hand = job(model, precision="fp32", likelihood_engine="transformers", generation_engine="transformers")
    reference = open_model(by_hand, "likelihood")
    assert found == pytest.approx(nats(reference, letters_of(quiz)), abs=0.05)
    assert found_texts == pytest.approx(reference.loglikelihood_rolling(texts), rel=1e-3)
    same = zip(thoughts, written(open_model(by_hand, "generation"), thoughts_of(quiz)), strict=True)
    assert sum(ours == theirs for ours, theirs in same) >= 0.9 * len(quiz)


def test_transformers_and_an_engine_take_turns_on_the_same_two_cpus() -> None:
    """The task holds both CPUs, and so does the engine: Ray takes the task's back while it waits."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    model, quiz = resolve_model("tiny-random-llama").path, read_questions("quiz", "samples://quiz/test.jsonl", 4)
    asked = job(model, likelihood_engine="transformers")

    def evaluate() -> tuple[Any, list[Answered], Held]:
        scored = nats(open_model(asked, "likelihood"), letters_of(quiz))
        answered = written(open_model(asked, "generation"), thoughts_of(quiz))
        return scored, answered, close_models()

    scored, answered, held = ray.get(ray.remote(num_cpus=2)(evaluate).remote())
    assert scored.shape == (4, 4)
    assert len(answered) == 4
    assert held.transformers_s > 0 and held.engines_s > 0


@pytest.mark.parametrize("whose", ["VLLM::EngineCore", "ray::EngineActor"])
def test_engine_whose_process_is_killed_is_started_again(whose: str) -> None:
    model, quiz = resolve_model("tiny-random-llama").path, read_questions("quiz", "samples://quiz/test.jsonl", 4)
    lm = open_model(job(model, precision="fp32"), "likelihood")
    before = nats(lm, letters_of(quiz))
    killed = [process for process in psutil.Process().children(recursive=True) if whose in "".join(process.cmdline())]
    assert len(killed) == 1
    killed[0].kill()
    killed[0].wait()
    assert nats(lm, letters_of(quiz)) == pytest.approx(before, abs=1e-3)
    close_models()


def test_vllm_that_cannot_start_is_one_sentence() -> None:
    model = resolve_model("tiny-random-llama").path
    asked = job(model, pool={"cpus_per_engine": 2, "engine_args": {"max_num_batched_tokens": 16}})
    with pytest.raises(UserError, match="^evaluation: vLLM cannot start: .*max_num_batched_tokens") as refused:
        nats(open_model(asked, "likelihood"), [("a", " b")] * 4)
    assert "\n" not in str(refused.value)
    close_models()


@pytest.mark.skipif(not MMLU.exists(), reason="MMLU is not here; set RCPT_SHARED to the folder that holds data/eval")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vllm_and_transformers_agree_on_real_questions(precision: str) -> None:
    """Two of each subject, SmolLM2-135M: log-probabilities within 0.05 in fp32, 98% of the choices in bf16."""
    model, every = resolve_model("smollm2-135m-instruct").path, pq.read_table(MMLU).to_pylist()
    rows = [row for row in every if row["index"] < 2]
    assert len(rows) == 114
    found = nats(open_model(job(model, precision=precision), "likelihood"), letters_of(rows))
    close_models()
    by_hand = job(model, precision=precision, likelihood_engine="transformers")
    wanted = nats(open_model(by_hand, "likelihood"), letters_of(rows))
    close_models()
    same = np.mean(found.argmax(1) == wanted.argmax(1))
    print(
        f"{precision}: {same:.1%} same choices, log-probabilities differ by {np.abs(found - wanted).max():.4f} at most"
    )
    assert same >= 0.98
    if precision == "fp32":
        assert np.abs(found - wanted).max() < 0.05
