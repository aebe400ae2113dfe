"""The protocol of engines, and the deterministic fake.

An engine completes one request at a time from many at once; it raises `RowRefused` for a request that it cannot take
and any other exception when it is itself broken.
"""

import asyncio
import hashlib
import random
from dataclasses import dataclass
from typing import Protocol

_FAKE_WORDS = [
    "so",
    "what",
    "follows",
    "here",
    "is",
    "that",
    "I",
    "should",
    "check",
    "the",
    "claim",
    "again",
    "before",
    "going",
    "on",
    "because",
    "the",
    "first",
    "step",
    "rests",
    "on",
    "a",
    "rule",
    "I",
    "know",
    "well",
    "and",
    "yet",
    "hmm",
    "the",
    "second",
    "needs",
    "care",
    "let",
    "me",
    "see",
    "if",
    "it",
    "holds",
]


@dataclass(frozen=True)
class Request:
    """One thought to write: the document's text and what makes the draw repeatable."""

    doc_id: str
    sample_index: int
    text: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """One thought as written."""

    thought: str
    finish_reason: str
    num_text_tokens: int
    num_prompt_tokens: int
    num_thought_tokens: int


class RowRefused(Exception):
    """This request cannot be completed, whatever is tried; its message is the reason, in snake_case."""


class Engine(Protocol):
    """Writes thoughts."""

    seeds_requests: bool
    """Whether each request is drawn with its own seed, not with the one seed of the engine."""

    async def complete(self, request: Request) -> Completion:
        """Complete one request; called many times at once."""

    def close(self) -> None:
        """End the engine and its processes."""


class FakeEngine:
    """Words drawn by the request's seed, for tests of everything around an engine; tokens are words."""

    seeds_requests = True

    def __init__(self, max_thought_tokens: int, delay_s: float = 0.0) -> None:
        self._max_thought_tokens, self._delay_s = max_thought_tokens, delay_s

    async def complete(self, request: Request) -> Completion:
        """Between half the limit and the limit of words; refuses an empty text."""
        if not request.text.strip():
            raise RowRefused("empty_text")
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        digest = hashlib.sha256(f"{request.seed}/{request.doc_id}/{request.sample_index}".encode()).digest()
        draw = random.Random(digest)
        num_words = draw.randint(max(1, self._max_thought_tokens // 2), self._max_thought_tokens)
        words = [draw.choice(_FAKE_WORDS) for _ in range(num_words)]
        num_text = len(request.text.split())
        return Completion(" ".join(words), "stop", num_text, num_text, num_words)

    def close(self) -> None:
        """Nothing to end."""
