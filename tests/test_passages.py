"""Passages are the text and nothing but the text, none too long, cut where a reader would cut."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcpt_ray.corpus.passages import cut_passages

SENTENCE = "The pump was rated for forty litres a minute. "


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def merging(texts: Sequence[str]) -> list[int]:
    """A tokenizer that makes more of a whole than of its parts."""
    return [len(text.split()) + len(text.split()) ** 2 // 40 for text in texts]


def without_white_space(text: str) -> str:
    return "".join(text.split())


PIECES = [
    "Word ",
    "it. ",
    "It ",
    "v. ",
    "$x$ ",
    "\n\n",
    "\n",
    "\\begin{a}",
    "\\end{a}",
    "\\[",
    "\\]",
    "$$",
    "```",
    "。",
    "x" * 40,
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=120).map("".join))


@given(TEXTS, st.sampled_from([words, characters, merging]), st.integers(1, 30))
def test_passages_are_the_text_in_order_and_none_is_too_long(text: str, count: object, max_tokens: int) -> None:
    assert callable(count)
    passages = cut_passages(text, max_tokens, count)
    assert without_white_space("".join(passages)) == without_white_space(text)
    assert all(number <= max_tokens for number in count(passages))
    assert all(passage == passage.strip() != "" for passage in passages)
    assert passages == cut_passages(text, max_tokens, count)


def test_text_that_fits_is_one_passage() -> None:
    text = "One.\n\nTwo.\n    indented"
    assert cut_passages(text, 10, words) == [text]


def test_text_without_words_gives_no_passage() -> None:
    assert cut_passages(" \n\n ", 10, words) == []


def test_paragraphs_stay_whole_where_they_fit() -> None:
    paragraphs = [f"{number}. {SENTENCE * 3}".strip() for number in range(12)]
    passages = cut_passages("\n\n".join(paragraphs), 90, words)
    assert "\n\n".join(passages) == "\n\n".join(paragraphs)
    assert max(words(passages)) <= 90


def test_last_passage_is_not_a_crumb() -> None:
    """101 sentences of 9 words where 10 fit: eleven passages of 9 or 10 sentences, no tenth of one left over."""
    lengths = words(cut_passages(SENTENCE * 101, 90, words))
    assert len(lengths) == 11
    assert min(lengths) >= 81


def test_sentences_stay_whole_where_a_paragraph_does_not_fit() -> None:
    passages = cut_passages(SENTENCE * 40, 50, words)
    assert all(passage.endswith("minute.") for passage in passages)


@pytest.mark.parametrize(
    "sentence",
    [
        "We follow Roe v. Doe, 12 F.3d 7 (1st Cir. Pa. Div. One) in No. A of the U.S. Court and Dr. J. Smith",
        "That is so, e.g. In the case of Fed. R. Civ. P. Rule and Mass. Gen. Laws as Prof. Roe et al. Say",
    ],
)
def test_no_cut_after_an_abbreviation(sentence: str) -> None:
    text = f"{sentence}. " * 30
    for passage in cut_passages(text, len(sentence.split()) + 2, words):
        assert passage == f"{sentence}."


def test_mathematics_stays_whole() -> None:
    display = "\\begin{align*}\nx &= 1.\\\\\n\nY &= 2. Then\n\\end{align*}"
    text = "\n\n".join(f"{SENTENCE * 2}\n{display}\n{SENTENCE * 2}" for _ in range(20))
    passages = cut_passages(text, 60, words)
    assert all(passage.count("\\begin") == passage.count("\\end") for passage in passages)


def test_sentence_without_end_is_cut_between_words_and_a_word_without_end_inside() -> None:
    assert all(len(passage.split()) <= 7 for passage in cut_passages("word " * 100, 7, words))
    assert "".join(cut_passages("x" * 100, 7, characters)) == "x" * 100


@pytest.mark.parametrize("num_sentences", [10, 1000])
def test_tokens_are_counted_in_two_calls_however_long_the_text(num_sentences: int) -> None:
    calls = []

    def count(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return words(texts)

    cut_passages(SENTENCE * num_sentences, 60, count)
    assert len(calls) == 2


def test_byte_level_tokenizer_keeps_the_bound() -> None:
    from rcpt_ray.tiny_model import train_tokenizer, training_texts

    tokenizer = train_tokenizer(training_texts(), 512)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    text = "\n\n".join(training_texts())[:20_000]
    passages = cut_passages(text, 64, count)
    assert max(count(passages)) <= 64
    assert re.sub(r"\s", "", "".join(passages)) == re.sub(r"\s", "", text)
