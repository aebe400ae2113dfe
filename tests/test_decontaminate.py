"""Questions of the evaluation sets are found in documents and thoughts, whole or in part, and nothing else is."""

import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import PROJECT

from rcpt_ray.corpus.decontaminate import MAX_QUESTIONS, EvaluationIndex, Hit, SetCounts
from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.ngrams import hash_words
from rcpt_ray.corpus.spec import DecontaminationSpec
from rcpt_ray.errors import UserError

SHARED = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared"))
MMLU = SHARED / "data" / "eval" / "mmlu_test.parquet"

LONG = (
    "A block of mass 2 kg slides down a frictionless plane that makes an angle of 30 degrees with the floor; "
    "what is its acceleration?"
)
SHORT = "Which court may hear an appeal from this?"
QUESTIONS: list[dict[str, Any]] = [
    {"id": "long", "question": LONG, "choices": ["4.9 m/s^2", "9.8 m/s^2", "1 m/s^2", "0"], "answer": 0},
    {
        "id": "short",
        "question": SHORT,
        "choices": ["any", "none", "the court that sits above the first", "all"],
        "answer": 2,
    },
]


def _index(*records: dict[str, Any], **spec: int) -> EvaluationIndex:
    return EvaluationIndex.build(read_evaluation_texts("quiz", records), DecontaminationSpec(**spec))


def _ids(index: EvaluationIndex, *texts: str) -> list[str | None]:
    return [hit.item_id if hit else None for hit in index.hits(hash_words(texts))]


def test_a_question_inside_a_document_is_found_whatever_its_case_and_punctuation() -> None:
    shouted = "\n".join(LONG.upper().replace(",", "").split())
    hits = _index(*QUESTIONS).hits(hash_words(["Before. " + shouted + " After.", "Nothing of the kind."]))
    assert hits == [Hit("quiz", "long", "a block of mass 2 kg slides down a frictionless plane that makes"), None]


def test_thirteen_words_of_a_long_question_are_enough_and_twelve_are_not() -> None:
    words = LONG.split()
    assert _ids(_index(*QUESTIONS), "So " + " ".join(words[4:17]), " ".join(words[4:16])) == ["long", None]


def test_the_same_question_with_other_numbers_is_another_question() -> None:
    assert _ids(_index(*QUESTIONS), LONG.replace("2 kg", "3 kg").replace("30", "45").replace("floor", "wall")) == [None]


def test_a_short_question_is_found_whole_and_not_in_part() -> None:
    index = _index(*QUESTIONS)
    assert _ids(index, f"They asked: {SHORT} Nobody knew.", SHORT.removesuffix(" this?")) == ["short", None]


def test_the_right_answer_counts_and_the_wrong_ones_do_not() -> None:
    index = _index(
        {
            "id": "q",
            "question": "Who is he?",
            "choices": ["one wrong answer of many words", "the man on the hill"],
            "answer": 1,
        }
    )
    assert _ids(index, "Who is he? The man on the hill.", "Who is he? One wrong answer of many words.") == ["q", None]


def test_questions_that_are_too_short_are_counted() -> None:
    index = _index({"question": "Why?", "choices": ["a", "b"], "answer": 0}, *QUESTIONS)
    assert index.sets == {"quiz": SetCounts(num_items=3, num_too_short=1, num_stock_phrases=0)}
    assert _ids(index, "Why? A.") == [None]


def test_what_many_questions_share_is_a_stock_phrase_and_counted() -> None:
    stock = "for which of these two scenarios does the main character do something clearly wrong"
    records = [{"question": f"{stock} {number}"} for number in range(MAX_QUESTIONS + 1)]
    few, many = _index(*records[:-1]), _index(*records)
    assert _ids(few, stock) == ["0"]
    assert _ids(many, stock) == [None]
    assert many.num_stock_ngrams == 2
    assert _ids(many, f"{stock} 4 and more") == ["4"]


def test_a_question_of_stock_phrases_alone_is_counted() -> None:
    index = _index(*[{"question": "one two three four five six seven eight"}] * (MAX_QUESTIONS + 1))
    assert index.sets["quiz"].num_stock_phrases == MAX_QUESTIONS + 1
    assert _ids(index, "one two three four five six seven eight") == [None]


def test_the_first_hit_of_a_text_is_reported() -> None:
    hit = _index(*QUESTIONS).hits(hash_words([f"{SHORT} {LONG}"]))[0]
    assert hit and hit.item_id == "short"


def test_no_ngram_reaches_from_one_text_into_the_next() -> None:
    words = LONG.split()
    assert _ids(_index(*QUESTIONS), " ".join(words[:8]), " ".join(words[8:16])) == [None, None]


def test_words_decide_where_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    index = _index(*QUESTIONS)
    words = hash_words(["another text of eight words that looks the same"])
    collided = hash_words([SHORT + " x"])
    words.hashes_W[:] = collided.hashes_W
    assert index.hits(words) == [None]
    assert index.hits(collided) != [None]


def test_an_index_of_nothing_finds_nothing() -> None:
    assert _ids(_index(), LONG, "") == [None, None]


def test_an_index_travels_by_pickle() -> None:
    index = pickle.loads(pickle.dumps(_index(*QUESTIONS)))
    assert _ids(index, LONG, "", SHORT) == ["long", None, "short"]


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=8), max_size=8),
    st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=4),
)
def test_hits_are_those_of_looking_at_every_place(questions: list[list[str]], texts: list[list[str]]) -> None:
    index = _index(*({"question": " ".join(question)} for question in questions), ngram_words=5, min_words=3)
    found = index.hits(hash_words([" ".join(text) for text in texts]))
    assert [hit is not None for hit in found] == [_holds_a_question(text, questions) for text in texts]


def _holds_a_question(text: list[str], questions: list[list[str]]) -> bool:
    wanted = [
        question[begin : begin + 5]
        for question in questions
        if len(question) >= 3
        for begin in range(max(len(question) - 4, 1))
    ]
    return any(text[at : at + len(ngram)] == ngram for ngram in wanted for at in range(len(text)))


# What of a record is looked for


def test_records_of_every_layout() -> None:
    records: list[dict[str, Any]] = [
        {"question": "Q1", "choices": ["x", "y"], "answer": 1},
        {"question": "Q2", "answer": "48/2=<<48/2=24>>24 clips\n#### 24"},
        {"id": "third", "question": "Q3"},
        {"text": "a text"},
    ]
    assert list(read_evaluation_texts("set", records)) == [
        ("set", "0", "Q1"),
        ("set", "0", "Q1\ny"),
        ("set", "1", "Q2"),
        ("set", "1", "Q2\n48/2=24 clips\n#### 24"),
        ("set", "third", "Q3"),
        ("set", "3", "a text"),
    ]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"prompt": "Q"}, "record 0 has prompt; give a column question"),
        ({}, "record 0 has nothing"),
        ({"question": "Q", "choices": ["x", "y"], "answer": 2}, "answer=2 and 2 choices"),
        ({"question": "Q", "choices": ["x", "y"], "answer": "B"}, "answer='B' and 2 choices"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(record: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match="decontamination against set") as refused:
        list(read_evaluation_texts("set", [record]))
    assert words in str(refused.value)


@pytest.mark.skipif(not MMLU.exists(), reason="MMLU is not here; set RCPT_SHARED to the folder that holds data/eval")
def test_every_question_of_a_part_of_mmlu_is_found_in_a_document_that_quotes_it() -> None:
    records = pq.read_table(MMLU).slice(4000, 1000).to_pylist()
    index = _index(*records)
    right = [
        f"Quiz of the day. {record['question']}\n{record['choices'][record['answer']]}\nBye." for record in records
    ]
    found = sum(hit is not None for hit in index.hits(hash_words(right)))
    counts = index.sets["quiz"]
    assert found >= 1000 - counts.num_too_short - counts.num_stock_phrases
    assert counts.num_too_short + counts.num_stock_phrases < 30
