"""What one vLLM engine does in an evaluation: scores letters and texts, thinks questions over, writes.

The letters of a question are scored at its end, all by one request, and the beginning that questions share is computed
once; a longer continuation is scored from the log-probabilities of the prompt. All pieces of a shard are with the
engine at once. Log-probabilities are vLLM's raw ones, from logits in fp32.

Repeats: each draw has a seed of its own. vLLM's CPU build cannot rewind a seeded draw when it cuts a prompt into
chunks, so there prompts are taken whole.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcpt_ray.evaluation.thinking import Answered, Draw, Question, Written, carry_out, think
from rcpt_ray.thoughts.engine import EngineDied
from rcpt_ray.thoughts.gather import gather_or_cancel
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import VllmClient

MOST_NEXT_TOKENS = 128
"""As many as vLLM scores in one request."""
_MOST_TRIES = 3
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class NextTokens:
    """Tokens that may follow a context; each is scored."""

    context_ids: list[int]
    token_ids: list[int]


@dataclass(frozen=True)
class Continuation:
    """Token ids of which the last `num_scored` are scored."""

    token_ids: list[int]
    num_scored: int


@dataclass(frozen=True)
class Scored:
    """Log-probabilities in nats: of each next token, or of a continuation as a whole."""

    log_probabilities: list[float]
    are_greedy: list[bool]
    """Whether greedy decoding would write it."""


Piece = NextTokens | Continuation | Question | Draw
Result = Scored | Answered | Written


class EngineWork:
    """One engine, started at the first piece."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        import torch

        if not torch.cuda.is_available():
            whole = max(_BATCH_TOKENS, spec.max_model_tokens or 0)
            own = {"enable_chunked_prefill": False, "max_num_batched_tokens": whole}
            spec = spec.model_copy(update={"engine_args": own | spec.engine_args})
        self._client = VllmClient(model_path, spec, seed)
        self._starting = asyncio.Lock()
        self._num_starts = 0

    async def start(self) -> None:
        """Bring the engine up if it is not; EngineCannotStart says why it cannot."""
        await self._start_after(0)

    async def answer(self, pieces: Sequence[Piece]) -> list[Result]:
        """The result of each piece; an engine that dies is started again, a few times."""
        await self.start()
        for number in range(_MOST_TRIES):
            num_starts = self._num_starts
            try:
                return await gather_or_cancel(self._answer(piece) for piece in pieces)
            except EngineDied:
                if number == _MOST_TRIES - 1:
                    raise
            await self._start_after(num_starts)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the engine's processes."""
        self._client.close()

    async def _start_after(self, num_starts: int) -> None:
        """Start it, unless another shard that saw the same engine die already has."""
        async with self._starting:
            if self._num_starts == num_starts:
                self._client.start()
                self._num_starts += 1

    async def _answer(self, piece: Piece) -> Result:
        match piece:
            case NextTokens():
                return await self._next_tokens(piece)
            case Continuation():
                return await self._continuation(piece)
            case Question():
                return await carry_out(think(piece, self._encode), self._write)
            case Draw():
                return await self._write(piece)

    async def _next_tokens(self, piece: NextTokens) -> Scored:
        params = _params(max_tokens=1, temperature=0.0, logprob_token_ids=sorted(set(piece.token_ids)))
        (output,) = (await self._client.ask(piece.context_ids, params)).outputs
        of_token = output.logprobs[0]
        return Scored(
            [float(of_token[token].logprob) for token in piece.token_ids],
            [token == output.token_ids[0] for token in piece.token_ids],
        )

    async def _continuation(self, piece: Continuation) -> Scored:
        output = await self._client.ask(piece.token_ids, _params(max_tokens=1, prompt_logprobs=0))
        last = zip(piece.token_ids[-piece.num_scored :], output.prompt_logprobs[-piece.num_scored :], strict=True)
        scored = [logprobs[token] for token, logprobs in last]
        return Scored([sum(float(each.logprob) for each in scored)], [all(each.rank == 1 for each in scored)])

    async def _write(self, draw: Draw) -> Written:
        params = _params(
            max_tokens=draw.max_tokens,
            temperature=draw.temperature,
            top_p=draw.top_p,
            seed=draw.seed if draw.temperature > 0 else None,
            stop=list(draw.stops),
            # A delimiter may be a special token, which would be left out of the text otherwise.
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
        )
        (output,) = (await self._client.ask(draw.prompt_ids, params)).outputs
        return Written(output.text, output.finish_reason == "length")

    def _encode(self, text: str) -> list[int]:
        return list(self._client.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _params(**settings: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **settings)
