"""Questions in MMLU's columns are read as they are meant or refused; the package's own are fair."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcpt_ray.corpus.reading.read import read_path
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.questions import question_text, read_questions, read_task
from rcpt_ray.evaluation.spec import TaskSpec
from rcpt_ray.evaluation.tasks import group_questions

Row = dict[str, Any]
SETTING = "evaluation.tasks.mmlu.path"


def question(number: int = 1, **changed: Any) -> Row:
    """As in MMLU's release."""
    choices = [f"choice {number}.{place}" for place in range(4)]
    return {"question": f"Question {number}?", "subject": "anatomy", "choices": choices, "answer": 2} | changed


def write(path: Path, rows: Iterable[Row]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["test.parquet", "test.jsonl"])
def test_questions_come_as_they_were_written(tmp_path: Path, name: str) -> None:
    (first, second) = read_questions(SETTING, write(tmp_path / name, [question(1), question(2, answer=0)]))
    assert (first["question"], first["choices"], first["answer"]) == ("Question 1?", question(1)["choices"], 2)
    assert (second["question"], second["answer"]) == ("Question 2?", 0)


def test_question_without_id_gets_one_from_its_file_and_place(tmp_path: Path) -> None:
    rows = [question(1), question(2, id="own-id")]
    assert [row["item_id"] for row in read_questions(SETTING, write(tmp_path / "test.jsonl", rows))] == [
        "test-00000",
        "own-id",
    ]


@pytest.mark.parametrize(
    ("columns", "group"),
    [
        ({"subject": "anatomy", "domain": "stem"}, "stem"),
        ({"subject": "anatomy"}, "anatomy"),
        ({"subject": ""}, "all"),
        ({"subject": "anatomy", "domain": None}, "anatomy"),
    ],
    ids=["domain", "subject", "neither", "no domain"],
)
def test_group_is_the_domain_else_the_subject(tmp_path: Path, columns: Row, group: str) -> None:
    (row,) = read_questions(SETTING, write(tmp_path / "test.jsonl", [question(**columns)]))
    assert row["group"] == group


def test_groups_come_in_order_of_name_and_keep_their_questions(tmp_path: Path) -> None:
    rows = [question(number, domain=domain) for number, domain in enumerate(["stem", "law", "stem"])]
    groups = group_questions(read_questions(SETTING, write(tmp_path / "test.jsonl", rows)))
    texts = {name: [each["question"] for each in questions] for name, questions in groups.items()}
    assert list(texts.items()) == [("law", ["Question 1?"]), ("stem", ["Question 0?", "Question 2?"])]


def test_only_the_first_questions_are_read_where_so_many_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [question(number) for number in range(9)])
    assert [row["question"] for row in read_questions(SETTING, path, max_questions=2)] == ["Question 0?", "Question 1?"]


def test_question_is_shown_with_lettered_choices_up_to_its_answer() -> None:
    shown = question_text(question(choices=["yes", "no", "both", "neither"]))
    assert shown == "Question 1?\nA. yes\nB. no\nC. both\nD. neither\nAnswer:"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Why?", "answer": 1}, "line 1 lacks choices; give MMLU's columns question, choices, answer"),
        (question(question=None), "line 1 must have a question in words and a list of 4 choices"),
        (question(choices=["yes", "no"]), "line 1 must have a question in words and a list of 4 choices"),
        (question(choices="ABCD"), "line 1 must have a question in words and a list of 4 choices"),
        (question(answer=4), "line 1 has answer=4; give the index 0 to 3 of the right choice"),
        (question(answer=-1), "line 1 has answer=-1; give the index 0 to 3 of the right choice"),
        (question(answer="C"), "line 1 has answer='C'; give the index 0 to 3 of the right choice"),
        (question(answer=True), "line 1 has answer=True; give the index 0 to 3 of the right choice"),
        (question(answer=None), "line 1 has answer=None; give the index 0 to 3 of the right choice"),
    ],
)
def test_question_that_breaks_the_layout_is_refused_and_named(tmp_path: Path, row: Row, said: str) -> None:
    path = write(tmp_path / "test.jsonl", [row])
    with pytest.raises(UserError) as told:
        read_questions(SETTING, path)
    assert str(told.value) == f"{SETTING}: {path} {said}"


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    """Arms are compared item by item; an id that stands twice would be paired with the wrong one."""
    path = write(tmp_path / "test.jsonl", [question(1, id="same"), question(2, id="same")])
    with pytest.raises(UserError, match="same"):
        read_questions(SETTING, path)


def test_file_without_questions_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [])
    with pytest.raises(UserError, match=f"^{SETTING}=.* holds no questions; give a file with at least one"):
        read_questions(SETTING, path)


def test_missing_file_is_refused_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{SETTING}=.* names no file"):
        read_questions(SETTING, str(tmp_path / "nowhere.jsonl"))


def task(folder: Path, domains_of_examples: list[str], num_fewshot: int) -> TaskSpec:
    questions = [question(number, domain=domain) for number, domain in enumerate(["stem", "law"])]
    examples = [question(number, domain=domain) for number, domain in enumerate(domains_of_examples)]
    return TaskSpec(
        path=write(folder / "test.jsonl", questions),
        examples_path=write(folder / "dev.jsonl", examples) if examples else None,
        num_fewshot=num_fewshot,
    )


def test_task_has_questions_and_examples(tmp_path: Path) -> None:
    questions, examples = read_task("evaluation.tasks.mmlu", task(tmp_path, ["law", "stem", "stem"], num_fewshot=1))
    assert (len(questions), len(examples)) == (2, 3)


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        (["stem", "stem", "law"], "has 1 examples of law"),
        (["stem", "stem"], "has 0 examples of law"),
        ([], "has 0 examples of law"),
    ],
    ids=["too few", "none of the group", "none"],
)
def test_group_with_fewer_examples_than_shots_is_refused(tmp_path: Path, domains: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        read_task("evaluation.tasks.mmlu", task(tmp_path, domains, num_fewshot=2))
    assert str(told.value).startswith("evaluation.tasks.mmlu.num_fewshot=2 but examples_path " + said)
    assert str(told.value).endswith("add examples or lower num_fewshot")


def test_without_shots_no_examples_are_needed(tmp_path: Path) -> None:
    _, examples = read_task("evaluation.tasks.mmlu", task(tmp_path, [], num_fewshot=0))
    assert examples == []


@pytest.fixture(scope="module")
def quiz() -> list[Row]:
    return read_questions(SETTING, "samples://quiz/test.jsonl")


@pytest.fixture(scope="module")
def examples_of_quiz() -> list[Row]:
    return read_questions(SETTING, "samples://quiz/dev.jsonl")


def test_quiz_has_40_questions_a_domain_and_10_of_each_difficulty(quiz: list[Row]) -> None:
    assert Counter(row["domain"] for row in quiz) == {"stem": 40, "law": 40}
    assert set(Counter((row["domain"], row["difficulty"]) for row in quiz).values()) == {10}


def test_right_answers_of_the_quiz_are_spread_over_the_letters(quiz: list[Row]) -> None:
    """So always saying C scores as chance does, in each domain."""
    assert set(Counter((row["domain"], row["answer"]) for row in quiz).values()) == {10}


def test_right_choice_of_the_quiz_is_not_told_by_its_length(quiz: list[Row]) -> None:
    """Picking the longest choice is right about as often as any other."""
    longest = [max(range(4), key=lambda place: len(row["choices"][place])) == row["answer"] for row in quiz]
    assert sum(longest) <= 0.45 * len(quiz)


def test_quiz_has_5_examples_a_domain(examples_of_quiz: list[Row]) -> None:
    assert Counter(row["domain"] for row in examples_of_quiz) == {"stem": 5, "law": 5}


def test_no_question_of_the_quiz_stands_twice_or_among_its_examples(
    quiz: list[Row], examples_of_quiz: list[Row]
) -> None:
    for column in ("item_id", "question"):
        assert max(Counter(row[column] for row in quiz + examples_of_quiz).values()) == 1
    assert all(len(set(row["choices"])) == 4 for row in quiz + examples_of_quiz)


@pytest.mark.parametrize("domain", ["stem", "law"])
def test_samples_are_40_passages_a_domain_of_120_to_250_words(domain: str) -> None:
    rows = [record for record, _, _ in read_path("corpus.sources.x.path", f"samples://corpus/{domain}.jsonl")]
    assert len(rows) == len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 40
    assert all(120 <= len(row["text"].split()) <= 250 for row in rows)
    assert {row["domain"] for row in rows} == {domain}
