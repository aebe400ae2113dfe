"""Real MMLU: our likelihood task is lm-eval's own, question by question, and its groups are those of the data."""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from evaluation_fixtures import Row, assert_same_choices, first_of_each, stock_mmlu, write_rows
from processes import PROJECT

from rcpt_ray.evaluation.categories import CATEGORY_OF_SUBJECT
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.questions import read_task
from rcpt_ray.evaluation.spec import EvaluationSpec, LikelihoodTask

DATA = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared")) / "data" / "eval"

pytestmark = pytest.mark.skipif(
    not (DATA / "mmlu_test.parquet").exists(), reason="MMLU is not here; set RCPT_SHARED to the folder with data/eval"
)


def rows_of(name: str) -> list[Row]:
    rows: list[Row] = pq.read_table(DATA / name).to_pylist()
    return rows


def item_id(question: Row) -> str:
    return f"{question['subject']}-{question['index']}"


def test_groups_of_all_of_mmlu_are_those_of_the_data() -> None:
    """20 questions of each of 57 subjects, with 5 examples of the own subject."""
    spec = LikelihoodTask(
        path=str(DATA / "mmlu_test.parquet"),
        examples_path=str(DATA / "mmlu_dev.parquet"),
        num_fewshot=5,
        max_questions_per_subject=20,
    )
    questions, examples = read_task("evaluation.tasks.mmlu", spec)
    expected = first_of_each(rows_of("mmlu_test.parquet"), None, 20)
    assert len(questions) == len(expected) == 57 * 20
    assert {one["item_id"] for one in questions} == {item_id(row) for row in expected}
    assert Counter(one["difficulty"] for one in questions) == Counter(row["difficulty"] for row in expected)
    assert Counter(one["category"] for one in questions) == Counter(
        CATEGORY_OF_SUBJECT[row["subject"]] for row in expected
    )
    for one in questions:
        pool = examples.pool_of(one)
        assert pool == f"subject={one['subject']}" and len(examples.of_pool(pool)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_questions", "num_fewshot"), [(20, 0), (1, 5)], ids=["1140 questions, 0 shots", "57 questions, 5 shots"]
)
def test_likelihood_on_mmlu_is_lm_evals_own(tmp_path: Path, num_questions: int, num_fewshot: int) -> None:
    """In fp32: in bf16 a log-probability depends on which questions share its batch, by more than a near tie."""
    from lm_eval.models.huggingface import HFLM

    from rcpt_ray.evaluation.run import evaluate
    from rcpt_ray.models import resolve_model

    questions = first_of_each(rows_of("mmlu_test.parquet"), None, num_questions)
    path = resolve_model("smollm2-135m-instruct").path
    plain = HFLM(pretrained=path, dtype="float32", device="cpu", batch_size=8)
    theirs = stock_mmlu(plain, tmp_path, questions, rows_of("mmlu_dev.parquet"), num_fewshot)
    task = {
        "path": write_rows(tmp_path / "test.parquet", questions),
        "examples_path": str(DATA / "mmlu_dev.parquet"),
        "num_fewshot": num_fewshot,
    }
    spec = EvaluationSpec(tasks={"mmlu": task}, heldout_bits_per_byte=False, precision="fp32", cpus=2)
    folder = tmp_path / "out"
    folder.mkdir()
    evaluate(EvaluationJob(spec, path, [], folder, seed=1))
    assert_same_choices(theirs, questions, pq.read_table(folder / "choices.parquet").to_pylist(), item_id)
    scores = pq.read_table(folder / "scores.parquet").to_pylist()
    assert Counter(row["difficulty"] for row in scores) == Counter(row["difficulty"] for row in questions)
    assert Counter(row["category"] for row in scores) == Counter(
        CATEGORY_OF_SUBJECT[row["subject"]] for row in questions
    )
