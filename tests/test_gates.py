"""Each gate refuses on its side of the threshold alone, and its measures are shares."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thoughts_fixtures import Row, thought

from rcpt_ray.corpus.language import UNKNOWN, language_of
from rcpt_ray.thoughts.gates import gate_that_refuses, loop_share, shared_share, words_of
from rcpt_ray.thoughts.select_spec import SelectSpec

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ENGLISH = (
    "The pump was rated for forty litres a minute but delivered twenty-six, since the hose had been replaced in March "
    "with one of half the bore, and nobody had told the night shift about it."
)
ENGLISH_THOUGHT = (
    "What changed, then? The hose, of course, and with it the pressure at the mouth of the pump. I should check "
    "whether the numbers agree before I write that down."
)
GERMAN = (
    "Was hat sich geändert? Natürlich der Schlauch, und mit ihm der Druck am Eingang der Pumpe. Ich sollte prüfen, ob "
    "die Zahlen übereinstimmen, bevor ich das aufschreibe."
)
JAPANESE = (
    "ポンプの定格は毎分四十リットルであったが、実際には二十六リットルしか出ていなかった。三月に吸い込み側のホースが"
    "細いものに交換されたため、入口の圧力が下がり、水の一部が蒸気になっていたからである。原因を確かめるために温度を測った。"
)


def refused(row: Row | None = None, *, prompt: str = "", logprob: float | None = None, **gates: Any) -> str | None:
    """The gate that refuses a thought; without settings none but the shortest length is set."""
    row = (row or thought()) | {"logprob_per_token": logprob}
    return gate_that_refuses(row, SelectSpec(**gates), words_of(prompt))


def test_thought_that_no_gate_was_set_for_passes() -> None:
    assert refused(thought(finish_reason="length", thought="the same " * 50, text="the same " * 50)) is None


@pytest.mark.parametrize(("num_tokens", "reason"), [(9, "too_short"), (10, None), (11, None)])
def test_thought_with_too_few_tokens_is_refused(num_tokens: int, reason: str | None) -> None:
    assert refused(thought(num_tokens=num_tokens), min_thought_tokens=10) == reason


@pytest.mark.parametrize(("cut_off", "reason"), [("keep", None), ("trim", None), ("reject", "cut_off")])
def test_thought_that_was_cut_off_is_refused_where_that_is_wanted(cut_off: str, reason: str | None) -> None:
    assert refused(thought(finish_reason="length"), cut_off=cut_off) == reason
    assert refused(thought(finish_reason="stop"), cut_off=cut_off) is None


@pytest.mark.parametrize(("logprob", "reason"), [(-2.1, "improbable"), (-2.0, None), (-1.0, None), (None, None)])
def test_improbable_thought_is_refused_where_its_probability_is_known(
    logprob: float | None, reason: str | None
) -> None:
    assert refused(logprob=logprob, min_logprob_per_token=-2.0) == reason


@pytest.mark.parametrize(("limit", "reason"), [(0.5, "loop"), (8 / 13, None), (0.7, None)])
def test_thought_that_runs_in_a_loop_is_refused(limit: float, reason: str | None) -> None:
    """20 words in a circle of 5: of 13 sequences of 8 words the last 8 occurred before."""
    assert refused(thought(thought="round and round it goes " * 4), max_loop_share=limit) == reason


@pytest.mark.parametrize(("limit", "reason"), [(0.1, "copy"), (0.2, None), (0.3, None)])
def test_thought_that_copies_the_document_is_refused(limit: float, reason: str | None) -> None:
    """Of the thought's 5 sequences of 8 words one, its first, stands in the document, in another case."""
    row = thought(thought=" ".join(NUMBERS), text="From " + " ".join(NUMBERS[:8]).upper() + ", and so on.")
    assert refused(row, max_copy_share=limit) == reason


@pytest.mark.parametrize(("limit", "reason"), [(0.4, "prompt_leak"), (0.5, None), (0.6, None)])
def test_thought_that_repeats_the_prompt_is_refused(limit: float, reason: str | None) -> None:
    """Of the thought's 2 sequences of 5 words one stands in the prompt."""
    row = thought(thought="In the first person I think")
    assert refused(row, prompt="Think aloud in the first person I am.", max_prompt_share=limit) == reason


def test_first_gate_that_refuses_is_named() -> None:
    looping = thought(num_tokens=3, finish_reason="length", thought="round and round it goes " * 4)
    assert refused(looping, min_thought_tokens=4, cut_off="reject", max_loop_share=0.0) == "too_short"
    assert refused(looping, min_thought_tokens=3, cut_off="reject", max_loop_share=0.0) == "cut_off"
    assert refused(looping, min_thought_tokens=3, max_loop_share=0.0) == "loop"


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        (ENGLISH, GERMAN, "wrong_language"),
        (GERMAN, ENGLISH_THOUGHT, "wrong_language"),
        (JAPANESE, ENGLISH_THOUGHT, "wrong_language"),
        (ENGLISH, ENGLISH_THOUGHT, None),
        (JAPANESE, JAPANESE, None),
    ],
    ids=["german of english", "english of german", "english of japanese", "english", "japanese"],
)
def test_thought_in_another_language_is_refused(text: str, said: str, reason: str | None) -> None:
    row = thought(text=text, thought=said)
    assert refused(row, same_language=True) == reason
    assert refused(row) is None


def test_language_of_a_short_text_is_not_judged() -> None:
    assert language_of("Das ist kurz.")[0] == UNKNOWN
    assert refused(thought(text=ENGLISH, thought="Das ist kurz."), same_language=True) is None
    assert refused(thought(text="Too short.", thought=GERMAN), same_language=True) is None


def test_language_is_told_from_eighty_letters_on() -> None:
    letters = [place for place, character in enumerate(ENGLISH) if character.isalpha()]
    assert language_of(ENGLISH[: letters[79]])[0] == UNKNOWN
    assert language_of(ENGLISH[: letters[79] + 1])[0] == "en"
    assert language_of("1 + 1 = 2; " * 100)[0] == UNKNOWN


def test_japanese_is_counted_by_characters() -> None:
    assert words_of("何を考える？") == ["何", "を", "考", "え", "る"]
    assert language_of(JAPANESE)[0] == "ja"
    copied = thought(text="昨日は雨が降っていた", thought="昨日は雨が降ったのか")
    assert refused(copied, max_copy_share=0.0) is None, "seven characters in common are no copy"
    assert refused(copied | {"thought": "昨日は雨が降っていたのか"}, max_copy_share=0.0) == "copy"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Straße, don't — 3.5!", ["strasse", "don", "t", "3", "5"]),
        ("été e\u0301te\u0301", ["été", "e\u0301te\u0301"]),
        ("コーヒー", ["コ", "ー", "ヒ", "ー"]),
        ("2024年の東京", ["2024", "年", "の", "東", "京"]),
        ("GPUで学習", ["gpu", "で", "学", "習"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_single_characters_of_scripts_without_spaces(text: str, words: list[str]) -> None:
    assert words_of(text) == words


SPACELESS = "何考をえるカナーー々ไทย"
MIXED = st.text(alphabet=st.sampled_from("ab é1 .,-。" + SPACELESS), max_size=30)


@given(text=MIXED)
def test_character_of_a_script_without_spaces_is_a_word_whatever_stands_beside_it(text: str) -> None:
    words = words_of(text)
    assert [word for word in words if word in SPACELESS] == [letter for letter in text if letter in SPACELESS]
    assert all(len(word) == 1 or not set(word) & set(SPACELESS) for word in words)


WORDS = st.lists(st.sampled_from("abc"), max_size=40)


@given(words=WORDS, others=WORDS, num_words=st.integers(1, 9))
def test_measures_are_shares(words: list[str], others: list[str], num_words: int) -> None:
    assert 0.0 <= loop_share(words) < 1.0
    assert 0.0 <= shared_share(words, others, num_words) <= 1.0


@given(words=st.lists(st.integers().map(str), unique=True))
def test_distinct_words_are_no_loop(words: list[str]) -> None:
    assert loop_share(words) == 0.0


@given(words=st.lists(st.sampled_from("abc"), min_size=1, max_size=6), num_rounds=st.integers(20, 60))
def test_endless_circle_is_a_loop_almost_as_a_whole(words: list[str], num_rounds: int) -> None:
    """Of n sequences at most those that begin in the first round are new."""
    said = words * num_rounds
    assert loop_share(said) >= 1 - len(words) / (len(said) - 7)


@given(words=WORDS, before=WORDS, after=WORDS, num_words=st.integers(1, 9))
def test_what_stands_in_the_others_as_a_whole_is_shared_as_a_whole(
    words: list[str], before: list[str], after: list[str], num_words: int
) -> None:
    expected = 1.0 if len(words) >= num_words else 0.0
    assert shared_share(words, before + words + after, num_words) == expected
    assert shared_share(words, [], num_words) == 0.0
