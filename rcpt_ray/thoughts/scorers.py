"""Scores of a thought: the bits that it saves a student on the text, and a critic's digit.

gain = (log p(text | thought) - log p(text)) / ln 2, both from the student's log-probabilities of the text's tokens,
the first with the thought and its delimiters before the text. The idea of judging a latent thought by the likelihood of
what follows is that of BoLT (arXiv 2503.18866). The critic's score is the mean of the digits 1 to 5 under the teacher's
probabilities of its first token, so it is finer than one drawn digit and needs one token.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Protocol

from rcpt_ray.thoughts.engine import RowRefused
from rcpt_ray.thoughts.prompt import PromptFrame, load_critic
from rcpt_ray.thoughts.vllm_client import VllmClient


@dataclass(frozen=True)
class Delimiters:
    """What stands before and after a thought in the student's training rows."""

    opening: str
    closing: str


class Scorer(Protocol):
    """Gives a generated row a number, or None where it cannot."""

    def start(self) -> None:
        """Bring the scorer up; called before the first row, and again after EngineDied."""

    async def score(self, row: dict[str, Any]) -> float | None:
        """The score of one row; called many times at once."""

    def close(self) -> None:
        """End the scorer's processes."""


class GainScorer:
    """Bits that the thought saves the student on the text."""

    def __init__(self, client: VllmClient, delimiters: Delimiters) -> None:
        self._client, self._delimiters = client, delimiters

    def start(self) -> None:
        """Bring vLLM up with the student."""
        self._client.start()
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._params = SamplingParams(max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY)

    async def score(self, row: dict[str, Any]) -> float | None:
        """The gain in bits, None where thought and text do not fit into the context."""
        tokenizer = self._client.tokenizer
        before = f"{self._delimiters.opening}{row['thought']}{self._delimiters.closing}"
        encoded = tokenizer([before, row["text"]], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        thought_ids, text_ids = encoded
        if 1 + len(thought_ids) + len(text_ids) >= self._client.max_model_tokens or not text_ids:
            return None
        alone = await self._logprob([start, *text_ids], len(text_ids))
        after = await self._logprob([start, *thought_ids, *text_ids], len(text_ids))
        return None if alone is None or after is None else (after - alone) / math.log(2)

    async def _logprob(self, token_ids: list[int], num_last: int) -> float | None:
        """Sum of the log-probabilities of the last tokens, in nats."""
        try:
            output = await self._client.ask(token_ids, self._params)
        except RowRefused:
            return None
        last = zip(token_ids[-num_last:], output.prompt_logprobs[-num_last:], strict=True)
        return sum(float(logprobs[token].logprob) for token, logprobs in last)

    def close(self) -> None:
        """End the engine's processes."""
        self._client.close()


class CriticScorer:
    """The teacher's judgement, 1 to 5."""

    def __init__(self, client: VllmClient, critic: str) -> None:
        self._client, self._prompt = client, load_critic(critic)
        self._frame: PromptFrame

    def start(self) -> None:
        """Bring vLLM up with the teacher."""
        self._client.start()
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        tokenizer = self._client.tokenizer
        self._frame = PromptFrame(self._prompt, 1, tokenizer)
        spelled = (f"{space}{digit}" for digit in range(1, 6) for space in ("", " "))
        encoded = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in spelled}
        self._digits = {ids[0]: text for text, ids in encoded.items() if len(ids) == 1}
        self._params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=list(self._digits),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def score(self, row: dict[str, Any]) -> float | None:
        """The mean digit, None where text and thought do not fit into the context."""
        prompt = self._frame.around(f"The text:\n{row['text']}\n\nThe thoughts:\n{row['thought']}")
        if len(prompt.token_ids) >= self._client.max_model_tokens:
            return None
        try:
            output = await self._client.ask(prompt.token_ids, self._params)
        except RowRefused:
            return None
        first_token = output.outputs[0].logprobs[0]
        return mean_digit({text: first_token[token].logprob for token, text in self._digits.items()})

    def close(self) -> None:
        """End the engine's processes."""
        self._client.close()


class FakeScorer:
    """A number from 0 to 5 by hash, for tests of everything around the scores."""

    def start(self) -> None:
        """Ready at once."""

    async def score(self, row: dict[str, Any]) -> float | None:
        """The same for the same thought."""
        return 5 * int(hashlib.sha256(row["thought"].encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32

    def close(self) -> None:
        """Nothing to end."""


def mean_digit(logprobs: dict[str, float]) -> float | None:
    """The mean of the digits 1 to 5 under the probabilities of tokens, None where no digit is among them.

    >>> round(mean_digit({"4": math.log(0.3), " 5": math.log(0.1), "Good": math.log(0.6)}), 6)
    4.25
    """
    shares = [
        (int(token.strip()), math.exp(value)) for token, value in logprobs.items() if token.strip() in set("12345")
    ]
    total = sum(share for _, share in shares)
    return sum(digit * share for digit, share in shares) / total if total else None
