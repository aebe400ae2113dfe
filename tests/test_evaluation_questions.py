"""Questions in MMLU's columns are read as they are meant or refused; the package's own are fair."""

import json
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.reading.read import read_path
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.categories import CATEGORIES, CATEGORY_OF_SUBJECT
from rcpt_ray.evaluation.gsm8k import read_problems
from rcpt_ray.evaluation.inputs import check_task
from rcpt_ray.evaluation.prompts import generated_prompt, likelihood_prompt
from rcpt_ray.evaluation.questions import read_questions, read_task
from rcpt_ray.evaluation.spec import EvaluationSpec, Gsm8kTask, LikelihoodTask, StockTask
from rcpt_ray.evaluation.stock_source import require_name, revision_of

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


def test_question_without_id_is_known_by_what_it_asks(tmp_path: Path) -> None:
    """Whatever its file is called and wherever it stands there; a repeat has a number."""
    rows = [question(1), question(2, id="own-id"), question(1, answer=3), question(3)]
    ids = [row["item_id"] for row in read_questions(SETTING, write(tmp_path / "test.jsonl", rows))]
    assert ids[1:3] == ["own-id", f"{ids[0]}-2"] and len(set(ids)) == 4 and len(ids[0]) == 16
    renamed = read_questions(SETTING, write(tmp_path / "renamed.parquet", [question(3), question(1)]))
    assert [row["item_id"] for row in renamed] == [ids[3], ids[0]]


def test_question_without_id_is_known_by_subject_and_index(tmp_path: Path) -> None:
    rows = [question(1, index=0), question(2, index=0, subject="virology"), question(3, index=1, id="own-id")]
    ids = [row["item_id"] for row in read_questions(SETTING, write(tmp_path / "test.jsonl", rows))]
    assert ids == ["anatomy-0", "virology-0", "own-id"]


def test_categories_of_mmlu_stand_in_where_every_subject_is_mmlus(tmp_path: Path) -> None:
    subjects = ["formal_logic", "anatomy", "astronomy", "sociology"]
    rows = [question(number, subject=subject) for number, subject in enumerate(subjects)]
    found = read_questions(SETTING, write(tmp_path / "test.jsonl", rows))
    assert [row["category"] for row in found] == ["humanities", "other", "stem", "social_sciences"]
    mixed = read_questions(SETTING, write(tmp_path / "mixed.jsonl", [*rows, question(9, subject="knitting")]))
    assert {row["category"] for row in mixed} == {""}
    own = read_questions(SETTING, write(tmp_path / "own.jsonl", [question(1, category="mine"), question(2)]))
    assert [row["category"] for row in own] == ["mine", ""]


def test_mmlu_has_57_subjects_in_four_categories() -> None:
    numbers = Counter(CATEGORY_OF_SUBJECT.values())
    assert numbers == {"stem": 18, "humanities": 13, "social_sciences": 12, "other": 14}
    assert set(numbers) == set(CATEGORIES)


def test_only_the_first_questions_of_each_subject_are_taken(tmp_path: Path) -> None:
    subjects = ["anatomy", "virology", "anatomy", "anatomy", "virology", "virology"]
    rows = [question(number, subject=subject) for number, subject in enumerate(subjects)]
    spec = LikelihoodTask(path=write(tmp_path / "test.jsonl", rows), max_questions_per_subject=2)
    questions, _ = read_task("evaluation.tasks.mmlu", spec)
    assert [row["question"] for row in questions] == ["Question 0?", "Question 1?", "Question 2?", "Question 4?"]
    questions, _ = read_task("evaluation.tasks.mmlu", spec.model_copy(update={"max_questions": 3}))
    assert len(questions) == 3


def test_only_the_first_questions_are_read_where_so_many_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [question(number) for number in range(9)])
    assert [row["question"] for row in read_questions(SETTING, path, max_questions=2)] == ["Question 0?", "Question 1?"]


def test_likelihood_prompt_is_that_of_lm_evals_mmlu() -> None:
    asked, shown = question(choices=["yes", "no", "both", "neither"], subject="college_biology"), question(7)
    assert likelihood_prompt(asked, [shown | {"thought": "not shown"}]) == (
        "The following are multiple choice questions (with answers) about college biology.\n\n"
        "Question 7?\nA. choice 7.0\nB. choice 7.1\nC. choice 7.2\nD. choice 7.3\nAnswer: C\n\n"
        "Question 1?\nA. yes\nB. no\nC. both\nD. neither\nAnswer:"
    )


def test_generated_prompt_shows_thoughts_of_examples_and_ends_with_the_opening() -> None:
    asked, shown = question(subject=""), question(7, choices=["1", "2", "3", "4"], thought="It is three.")
    assert generated_prompt(asked, [shown], "<t>", "</t>\n").endswith(
        "Question 7?\nA. 1\nB. 2\nC. 3\nD. 4\n<t>It is three.</t>\nAnswer: C\n\n"
        "Question 1?\nA. choice 1.0\nB. choice 1.1\nC. choice 1.2\nD. choice 1.3\n<t>"
    )


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


def task(folder: Path, examples: list[Row], num_fewshot: int) -> LikelihoodTask:
    """A question of algebra in the domain stem, and one of torts in law."""
    questions = [question(1, subject="algebra", domain="stem"), question(2, subject="torts", domain="law")]
    return LikelihoodTask(
        path=write(folder / "test.jsonl", questions),
        examples_path=write(folder / "dev.jsonl", examples) if examples else None,
        num_fewshot=num_fewshot,
    )


def examples_in(*places: tuple[str, str]) -> list[Row]:
    return [question(100 + number, subject=subject, domain=domain) for number, (subject, domain) in enumerate(places)]


def test_examples_are_of_the_own_subject_else_of_the_domain(tmp_path: Path) -> None:
    """Algebra has two of its own; torts has one, so its domain gives two, in the order of the file."""
    places = [("contracts", "law"), ("algebra", "stem"), ("torts", "law"), ("optics", "stem"), ("algebra", "stem")]
    questions, examples = read_task("evaluation.tasks.mmlu", task(tmp_path, examples_in(*places), num_fewshot=2))
    pools = [examples.pool_of(one) for one in questions]
    assert pools == ["subject=algebra", "domain=law"]
    shown = [[one["question"] for one in examples.of_pool(pool)] for pool in pools if pool]
    assert shown == [["Question 101?", "Question 104?"], ["Question 100?", "Question 102?"]]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([("algebra", "stem")] * 2 + [("contracts", "law")], "has 1 examples of torts"),
        ([("algebra", "stem")] * 2, "has 0 examples of torts"),
        ([], "has 0 examples of algebra"),
    ],
    ids=["too few", "none of the domain", "none"],
)
def test_question_with_fewer_examples_than_shots_is_refused(
    tmp_path: Path, places: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(UserError) as told:
        read_task("evaluation.tasks.mmlu", task(tmp_path, examples_in(*places), num_fewshot=2))
    assert str(told.value).startswith("evaluation.tasks.mmlu.num_fewshot=2 but examples_path " + said)
    assert str(told.value).endswith("add examples or lower num_fewshot")


def test_without_shots_no_examples_are_needed(tmp_path: Path) -> None:
    questions, examples = read_task("evaluation.tasks.mmlu", task(tmp_path, [], num_fewshot=0))
    pools = {examples.pool_of(one) for one in questions}
    assert pools == {"all"} and examples.of_pool("all") == []


def test_word_problems_have_numbers_and_solutions_without_notes(tmp_path: Path) -> None:
    solved = "He has 2+3=<<2+3=5>>5 dozen.\nThat is 5*12=<<5*12=60>>60.\n#### 1,060.50"
    path = write(tmp_path / "gsm.jsonl", [{"question": " How many eggs? ", "answer": solved}])
    (problem,), examples = read_problems("evaluation.tasks.gsm", Gsm8kTask(kind="gsm8k", path=path))
    assert (problem["question"], problem["answer"]) == ("How many eggs?", "1060.5")
    (renamed,), _ = read_problems(
        "evaluation.tasks.gsm", Gsm8kTask(kind="gsm8k", path=str(Path(path).rename(tmp_path / "other.jsonl")))
    )
    assert renamed == problem
    assert problem["thought"] == "He has 2+3=5 dozen.\nThat is 5*12=60." and examples == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [("It is 7.", "ends with #### and its number"), ("#### seven", "has no number after ####"), (7, "ends with ####")],
)
def test_word_problem_without_a_number_is_refused(tmp_path: Path, answer: object, said: str) -> None:
    path = write(tmp_path / "gsm.jsonl", [{"question": "How many?", "answer": answer}])
    with pytest.raises(UserError, match=said):
        read_problems("evaluation.tasks.gsm", Gsm8kTask(kind="gsm8k", path=path))


def test_names_of_lm_eval_are_looked_up_before_anything_is_made() -> None:
    for name in ("mmlu_anatomy", "gpqa"):
        require_name("evaluation.tasks.x", name)
    with pytest.raises(UserError, match=r"^evaluation.tasks.x.name=gpqa_diamant is no task of lm-eval"):
        check_task("x", StockTask(kind="stock", name="gpqa_diamant"))


def test_stock_tasks_depend_on_lm_evals_version_and_the_hubs_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own, offline that of its cache."""
    from huggingface_hub import HfApi, constants

    def info(api: HfApi, dataset: str, **_: Any) -> Any:
        if dataset != "Idavidrein/gpqa":
            raise OSError("no network")
        return SimpleNamespace(sha="0123abc")

    monkeypatch.setattr(HfApi, "dataset_info", info)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    revision_of.cache_clear()
    lm_eval = {"x/lm-eval": version("lm-eval")}
    gpqa, pro = (StockTask(kind="stock", name=name) for name in ("gpqa_diamond_zeroshot", "mmlu_pro"))
    assert check_task("x", gpqa) == lm_eval | {"x/Idavidrein/gpqa": "0123abc"}
    assert check_task("x", pro) == lm_eval | {"x/TIGER-Lab/MMLU-Pro": "unknown"}
    revision_of.cache_clear()
    refs = tmp_path / "datasets--TIGER-Lab--MMLU-Pro" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("4567def")
    assert check_task("x", pro) == lm_eval | {"x/TIGER-Lab/MMLU-Pro": "4567def"}
    revision_of.cache_clear()
    local = pro.model_copy(update={"data": {"test": write(tmp_path / "test.jsonl", [question()])}})
    assert set(check_task("x", local)) == {"x/lm-eval", "x/data.test"}


def test_questions_of_stock_tasks_are_looked_for_in_the_corpus_too() -> None:
    """GPQA writes its columns large."""
    texts = list(read_evaluation_texts("gpqa", [{"Question": "Which element is it?", "Correct Answer": "Tin"}]))
    assert texts == [("gpqa", "0", "Which element is it?")]


def test_digests_of_a_tasks_files_go_by_their_content(tmp_path: Path) -> None:
    spec = task(tmp_path, examples_in(("algebra", "stem")), num_fewshot=0)
    before = check_task("mmlu", spec)
    assert set(before) == {"mmlu/questions", "mmlu/examples"}
    write(tmp_path / "dev.jsonl", examples_in(("optics", "stem")))
    after = check_task("mmlu", spec)
    assert after["mmlu/questions"] == before["mmlu/questions"] and after["mmlu/examples"] != before["mmlu/examples"]


def test_thought_that_leaves_no_room_for_a_question_is_refused() -> None:
    tasks = {"gsm": {"kind": "gsm8k", "path": "gsm.jsonl", "max_thought_tokens": 500, "max_answer_tokens": 12}}
    EvaluationSpec(tasks=tasks, max_length_tokens=513)
    with pytest.raises(ValueError, match=r"tasks.gsm: max_thought_tokens=500 .* max_length_tokens=512"):
        EvaluationSpec(tasks=tasks, max_length_tokens=512)


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
