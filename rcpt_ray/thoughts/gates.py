"""Quality gates: measures of a thought and its document, each a share or a language, without an engine.

Words are runs of letters and digits, folded in case; in scripts without spaces every character is a word.
"""

from collections.abc import Sequence
from typing import Any

import regex

from rcpt_ray.corpus.language import UNKNOWN, language_of, other_language
from rcpt_ray.thoughts.select_spec import SelectSpec

# The two marks that make a vowel long belong to no script, but stand in Katakana.
_ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}ーｰ]"
_WORD = regex.compile(rf"(?V1){_ALONE}|[[\p{{L}}\p{{M}}\p{{N}}]--{_ALONE}]+")
_LOOP_WORDS, _COPY_WORDS, _PROMPT_WORDS = 8, 8, 5


def words_of(text: str) -> list[str]:
    """The words of a text.

    >>> words_of("Does it follow? 是的")
    ['does', 'it', 'follow', '是', '的']
    """
    return [word.casefold() for word in _WORD.findall(text)]


def loop_share(words: Sequence[str]) -> float:
    """Share of the 8-word sequences that occurred before in them; 0 without loops, near 1 in an endless one."""
    sequences = _sequences(words, _LOOP_WORDS)
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0


def shared_share(words: Sequence[str], others: Sequence[str], num_words: int) -> float:
    """Share of the sequences of `num_words` words that stand in `others` too."""
    sequences = _sequences(words, num_words)
    known = set(_sequences(others, num_words))
    return sum(sequence in known for sequence in sequences) / len(sequences) if sequences else 0.0


def gate_that_refuses(row: dict[str, Any], spec: SelectSpec, prompt_words: Sequence[str]) -> str | None:
    """The name of the first gate that a generated row does not pass, None if it passes all."""
    if row["num_thought_tokens"] < spec.min_thought_tokens:
        return "too_short"
    if spec.cut_off == "reject" and row["finish_reason"] == "length":
        return "cut_off"
    logprob = row["logprob_per_token"]
    if spec.min_logprob_per_token is not None and logprob is not None and logprob < spec.min_logprob_per_token:
        return "improbable"
    needs_words = (spec.max_loop_share, spec.max_copy_share, spec.max_prompt_share) != (None, None, None)
    words = words_of(row["thought"]) if needs_words else []
    if spec.max_loop_share is not None and loop_share(words) > spec.max_loop_share:
        return "loop"
    if (
        spec.max_copy_share is not None
        and shared_share(words, words_of(row["text"]), _COPY_WORDS) > spec.max_copy_share
    ):
        return "copy"
    if spec.max_prompt_share is not None and shared_share(words, prompt_words, _PROMPT_WORDS) > spec.max_prompt_share:
        return "prompt_leak"
    if spec.same_language:
        of_text, _ = language_of(row["text"])
        if of_text != UNKNOWN and other_language(row["thought"], [of_text]):
            return "wrong_language"
    return None


def _sequences(words: Sequence[str], number: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + number]) for start in range(len(words) - number + 1)]
