"""The protocol of engines: what writes a thought, and the three ways in which it can fail.

An engine completes one request at a time from many at once. What it raises says who must act: `RowRefused`, this
request alone cannot be completed; `EngineDied`, whatever was in flight must be tried again on a new engine;
`EngineCannotStart`, the job is over.
"""

from dataclasses import dataclass
from typing import Literal, Protocol


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
    thought_logprob: float | None = None
    """Sum of the log-probabilities of the thought's tokens, in nats, where the engine gives them."""


class RowRefused(Exception):
    """This request cannot be completed, whatever is tried; its message is the reason, in snake_case."""


class EngineDied(Exception):
    """The engine, or the server behind it, ended while requests were in flight."""


class EngineCannotStart(Exception):
    """The engine does not come up; the message is the engine's own."""


class Engine(Protocol):
    """Writes thoughts."""

    seeds: Literal["request", "engine", "none"]
    """What repeats a draw: a seed of the request's own, the one seed of the engine, or nothing."""

    async def start(self) -> None:
        """Bring the engine up; called before the first request, and again after EngineDied."""

    async def complete(self, request: Request) -> Completion:
        """Complete one request; called many times at once."""

    def close(self) -> None:
        """End the engine and its processes."""
