"""A planted model: it reads the right answer out of the task's own row, so what an evaluation must find is known.

It goes the way of every model (thinking.py): its thought may run into the limit, its answer is read out of what it
wrote. It selects nothing by likelihood. Its name stands in the manifest where an engine's would.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rcpt_ray.evaluation.spec import OracleSpec
from rcpt_ray.evaluation.thinking import Answered, Draw, Question, Written, in_lockstep

_LETTERS = "ABCD"
_WORDS_OF_A_TIER_NOT_NAMED = 10
_WORDS_A_SENTENCE = 5


class WordTokens:
    """A word is a token."""

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """As many ids as words."""
        return list(range(len(text.split())))


class Oracle:
    """Knows the answers to questions of some tiers."""

    engine: Literal["oracle"] = "oracle"
    seeds: Literal["none"] = "none"

    def __init__(self, spec: OracleSpec, max_length_tokens: int) -> None:
        self._spec, self.max_length = spec, max_length_tokens
        self.truncated: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}

    def think_all(self, questions: Sequence[Question]) -> list[Answered]:
        """Answers in order; questions are numbered from 1 in the order in which they are first asked."""
        for question in questions:
            self._numbers.setdefault(question.name, len(self._numbers) + 1)
        return in_lockstep(questions, WordTokens().encode, self._write_all)

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """None: an oracle generates."""
        raise AssertionError("the oracle scores no likelihood")

    loglikelihood_rolling: Any = loglikelihood
    generate_until: Any = loglikelihood

    def close(self) -> None:
        """Nothing to end."""

    def _write_all(self, questions: Sequence[Question], draws: Sequence[Draw]) -> list[Written]:
        return [
            self._answer(question) if draw.stops == ("\n",) else self._thought(question, draw.max_tokens)
            for question, draw in zip(questions, draws, strict=True)
        ]

    def _thought(self, question: Question, max_tokens: int) -> Written:
        tier = str(question.item.get("difficulty") or "")
        num_words = self._spec.thought_tokens.get(tier, _WORDS_OF_A_TIER_NOT_NAMED)
        words = [
            f"word{number}{'.' if number % _WORDS_A_SENTENCE == 0 else ''}"
            for number in range(1, min(num_words, max_tokens) + 1)
        ]
        return Written(" ".join(words), num_words > max_tokens)

    def _answer(self, question: Question) -> Written:
        every = self._spec.mute_every
        if every and self._numbers[question.name] % every == 0:
            return Written(" I would rather not say", False)
        knows = str(question.item.get("difficulty") or "") in self._spec.knows
        return Written(f" {planted_answer(question.item, knows)}", False)


def planted_answer(item: Mapping[str, Any], is_right: bool) -> str:
    """The right answer of a row in MMLU's or GSM8K's columns, or the one after it."""
    answer = item["answer"]
    if isinstance(answer, str):
        number = int(answer.rpartition("####")[2].strip().replace(",", ""))
        return str(number if is_right else number + 1)
    return _LETTERS[(int(answer) + (not is_right)) % len(_LETTERS)]
