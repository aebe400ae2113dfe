"""The deterministic fake: words drawn by the request's seed, for everything around an engine.

Tokens are words. Price: about ten microseconds a thought, so that a benchmark with it measures the pipeline alone.
"""

import asyncio
import hashlib
import os
import time
from typing import Literal

from rcpt_ray.thoughts.engine import Completion, EngineCannotStart, EngineDied, Request, RowRefused
from rcpt_ray.thoughts.spec import FakeSpec

_SAID = (
    "so what follows here is that I should check the claim again before going on because the first step rests on a "
    "rule I know well and yet hmm the second needs care let me see if it holds"
)
_NUM_STARTS = 4096
_LOOK_EVERY_S = 0.1


class FakeEngine:
    """Between half the limit and the limit of words, the same for the same request; refuses an empty text."""

    seeds: Literal["request", "engine", "none"] = "request"

    def __init__(
        self, max_thought_tokens: int, spec: FakeSpec | None = None, max_model_tokens: int | None = None
    ) -> None:
        self._max_thought_tokens, self._spec = max_thought_tokens, spec or FakeSpec()
        self._max_model_tokens = max_model_tokens
        # One long draw of words; a thought is a piece of it that begins where its request's hash says.
        draw = hashlib.shake_256(b"words").digest(_NUM_STARTS + max_thought_tokens)
        words = _SAID.split()
        self._words = [words[byte % len(words)] for byte in draw]
        self._busy_until_s = 0.0

    async def start(self) -> None:
        """Ready at once, unless it is to fail."""
        if self._spec.cannot_start:
            raise EngineCannotStart(self._spec.cannot_start)

    async def complete(self, request: Request) -> Completion:
        """Complete one request; `spec.exit_on` and `spec.die_on` end the process and the engine."""
        if not request.text.strip():
            raise RowRefused("empty_text")
        if self._spec.exit_on and self._spec.exit_on in request.text:
            os._exit(1)
        if self._spec.die_on and self._spec.die_on in request.text:
            raise EngineDied(self._spec.die_on)
        while self._spec.hold_on and self._spec.hold_on in request.text and not os.path.exists(self._spec.hold_until):
            await asyncio.sleep(_LOOK_EVERY_S)
        if self._spec.delay_s:
            await asyncio.sleep(self._spec.delay_s)
        if self._spec.documents_per_s:
            await self._turn(self._spec.documents_per_s)
        num_text = request.text.count(" ") + 1
        if self._max_model_tokens is not None and num_text + self._max_thought_tokens > self._max_model_tokens:
            raise RowRefused("too_long_for_model")
        name = f"{request.seed}/{request.doc_id}/{request.sample_index}"
        number = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        start, least = number % _NUM_STARTS, max(1, self._max_thought_tokens // 2)
        num_words = least + number // _NUM_STARTS % (self._max_thought_tokens - least + 1)
        thought = " ".join(self._words[start : start + num_words])
        if self._spec.delay_per_token_s:
            await asyncio.sleep(num_words * self._spec.delay_per_token_s)
        return Completion(thought, "stop", num_text, num_text, num_words, thought_logprob=-float(num_words))

    async def _turn(self, documents_per_s: float) -> None:
        """Wait as long as an engine of that speed needs for all that it was given before, and for this one."""
        now_s = time.monotonic()
        self._busy_until_s = max(now_s, self._busy_until_s) + 1 / documents_per_s
        await asyncio.sleep(self._busy_until_s - now_s)

    def close(self) -> None:
        """Nothing to end."""
