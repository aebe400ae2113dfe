"""A cut thought is a beginning of the whole that ends with a sentence, never longer than asked for."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.mixture.tokenize import load_tokenizer
from rcpt_ray.thoughts.truncate import Cut, TokenEnds, reasoning_span, token_ends_of, truncate, words_as_tokens

THREE = "One two. Three four five! Six seven eight nine?"


@pytest.fixture(scope="module")
def model_ends(tiny_model_folder: Path) -> TokenEnds:
    return token_ends_of(str(tiny_model_folder))


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> Any:
    return load_tokenizer(str(tiny_model_folder))


def characters_as_tokens(text: str) -> list[int]:
    return list(range(1, len(text) + 1))


def bytes_as_tokens(text: str) -> list[int]:
    """A token for each byte of UTF-8: a character of three bytes has three tokens, which all end where it ends."""
    return [place for place, character in enumerate(text, start=1) for _ in character.encode("utf-8", "surrogatepass")]


def cut(text: str, max_tokens: int | None, ends: TokenEnds = words_as_tokens, **options: Any) -> tuple[str, int]:
    found = truncate(text, max_tokens, ends, **options)
    return found.text, found.num_tokens


@pytest.mark.parametrize(
    ("max_tokens", "kept"),
    [
        (None, THREE),
        (10, THREE),
        (9, THREE),
        (8, "One two. Three four five!"),
        (5, "One two. Three four five!"),
        (4, "One two."),
        (2, "One two."),
        (1, "One"),
    ],
)
def test_text_is_cut_at_the_last_end_of_a_sentence_within_the_limit(max_tokens: int | None, kept: str) -> None:
    assert cut(THREE, max_tokens) == (kept, len(kept.split()))


def test_text_without_an_end_of_a_sentence_is_cut_at_the_limit() -> None:
    assert cut("one two three four", 3) == ("one two three", 3)
    assert cut("version 3.5 of www.example.org is", 5) == ("version 3.5 of www.example.org is", 5)
    assert cut("version 3.5 of www.example.org is", 4) == ("version 3.5 of www.example.org", 4)


def test_text_within_the_limit_stays_as_it_is() -> None:
    assert cut("  one two. three \n", 3) == ("  one two. three \n", 3)


def test_unfinished_last_sentence_is_left_off_where_whole_sentences_are_wanted() -> None:
    assert cut("One two. Three", None, whole_sentences=True) == ("One two.", 2)
    assert cut("One two. Three", 5, whole_sentences=True) == ("One two.", 2)
    assert cut("One two. Three four.", None, whole_sentences=True) == ("One two. Three four.", 4)


def test_text_of_one_unfinished_sentence_stays_whole() -> None:
    assert cut("one two three", None, whole_sentences=True) == ("one two three", 3)
    assert cut("", 1, whole_sentences=True) == ("", 0)


@pytest.mark.parametrize(
    "sentence",
    ['He said "no."', "He said “no.”", "(As I said.)", "Really?!", "And so on…", "Is it? ...", "C’est «tout.»"],
)
def test_quotes_and_brackets_after_the_stop_belong_to_the_sentence(sentence: str) -> None:
    assert cut(f"{sentence} and then more", None, whole_sentences=True)[0] == sentence


@pytest.mark.parametrize(
    ("limit", "kept"), [(3, "はい。"), (7, "はい。"), (8, "はい。「いいえ。」"), (10, "はい。「いいえ。」")]
)
def test_sentences_of_scripts_without_spaces_end_at_their_own_stops(limit: int, kept: str) -> None:
    assert cut("はい。「いいえ。」それは本当ですか？", limit + (limit > 7), characters_as_tokens) == (kept, len(kept))


def test_point_within_a_number_or_a_name_is_no_end() -> None:
    assert cut("It is 3.5 e.g.x here", None, whole_sentences=True)[0] == "It is 3.5 e.g.x here"


def test_token_that_reaches_over_the_cut_is_counted() -> None:
    """As ".\\n\\n", one token of many models, does."""

    def ends(text: str) -> list[int]:
        return [place for place in (3, 6, 11) if place <= len(text)] or [len(text)]

    assert cut("Yes.\n\nThen ", 2, ends) == ("Yes.", 2)


def test_character_of_several_tokens_is_kept_only_as_a_whole() -> None:
    assert [cut("漢字", limit, bytes_as_tokens) for limit in (6, 5, 3, 2)] == [
        ("漢字", 6),
        ("漢", 3),
        ("漢", 3),
        ("", 0),
    ]


TEXT = st.lists(
    st.one_of(
        st.sampled_from(["so", " it", " follows.", "!", "\n\n", "。", "漢字", " 🙂", "é", ' "', "<|im_end|>"]),
        st.text(max_size=4),
    ),
    max_size=30,
).map("".join)


def holds(text: str, max_tokens: int | None, whole_sentences: bool, ends: TokenEnds) -> Cut:
    """What must be true of every cut."""
    found = truncate(text, max_tokens, ends, whole_sentences)
    assert text.startswith(found.text)
    assert max_tokens is None or found.num_tokens <= max_tokens
    assert found.num_tokens <= len(ends(text))
    assert found.num_tokens >= bool(found.text.strip())
    return found


@settings(deadline=None)
@given(text=TEXT, limit=st.one_of(st.none(), st.integers(1, 12)), whole_sentences=st.booleans())
@pytest.mark.parametrize(
    "ends", [words_as_tokens, characters_as_tokens, bytes_as_tokens], ids=lambda ends: ends.__name__
)
def test_cut_is_a_beginning_of_the_text_within_the_limit(
    ends: TokenEnds, text: str, limit: int | None, whole_sentences: bool
) -> None:
    holds(text, limit, whole_sentences, ends)


@settings(deadline=None)
@given(text=TEXT, limit=st.one_of(st.none(), st.integers(1, 12)), whole_sentences=st.booleans())
def test_cut_by_the_tokens_of_a_model_is_within_the_limit_when_it_is_tokenized_again(
    model_ends: TokenEnds, tokenizer: Any, text: str, limit: int | None, whole_sentences: bool
) -> None:
    found = holds(text, limit, whole_sentences, model_ends)
    again = tokenizer(found.text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert limit is None or len(again) <= limit
    assert len(again) == found.num_tokens


@settings(deadline=None)
@given(text=TEXT)
def test_ends_of_a_models_tokens_rise_to_the_end_of_the_text(model_ends: TokenEnds, tokenizer: Any, text: str) -> None:
    ends = model_ends(text)
    assert ends == sorted(ends)
    assert ends[-1:] == [len(text)] * bool(text)
    assert len(ends) == len(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def test_words_as_tokens_end_with_their_words() -> None:
    assert words_as_tokens(" a bc\n d ") == [2, 5, 8]


@pytest.mark.parametrize("mode", ["drop", "only", "keep"])
def test_thought_without_reasoning_span_stays_as_it_is(mode: Any) -> None:
    assert reasoning_span(" just words ", mode) == " just words "


@pytest.mark.parametrize(
    ("text", "dropped", "alone", "kept"),
    [
        ("<think>hm</think>So.", "So.", "hm", "hmSo."),
        ("<think>\nhm\nwell\n</think>\n\nSo.", "So.", "hm\nwell", "hm\nwell\n\n\nSo."),
        ("<thinking>hm</thinking> So.", "So.", "hm", "hm So."),
        ("First. <think>hm</think> So. <think>ah</think>", "First.   So.", "hm\n\nah", "First. hm So. ah"),
        ("hm</think>\n\nSo.", "So.", "hm", "hm\n\nSo."),
        ("hm</think> So. <think>ah</think>", "So.", "hm\n\nah", "hm So. ah"),
        ("<think></think>So.", "So.", "", "So."),
    ],
    ids=["one", "lines", "thinking", "two", "opened by the prompt", "opened by the prompt, and another", "empty"],
)
def test_reasoning_span_is_dropped_taken_alone_or_freed_of_its_tags(
    text: str, dropped: str, alone: str, kept: str
) -> None:
    assert reasoning_span(text, "drop") == dropped
    assert reasoning_span(text, "only") == alone
    assert reasoning_span(text, "keep") == kept


@pytest.mark.parametrize("mode", ["drop", "only", "keep"])
@pytest.mark.parametrize("text", ["<think>hm", "So. <think>hm", "hm</think>So. <think>ah"])
def test_reasoning_that_was_cut_off_gives_no_thought(text: str, mode: Any) -> None:
    assert reasoning_span(text, mode) is None


@given(parts=st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>", "a", "b c", " "])))
@pytest.mark.parametrize("mode", ["drop", "only", "keep"])
def test_no_tag_is_left_in_a_thought(mode: Any, parts: list[str]) -> None:
    freed = reasoning_span("".join(parts), mode)
    assert freed is None or "think" not in freed
