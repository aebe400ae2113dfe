"""The vLLM engine: thoughts from vLLM in this process.

Invariants: on a GPU each request has a seed of its own, so a draw does not depend on its neighbours in the batch; the
CPU build of vLLM 0.32 dies of such a seed when it cuts a prompt into chunks (a CPU generator cannot be rewound), so
there the engine's one seed is used. Prompts are token ids, so the document cannot speak as the system.
"""

from typing import Any, Literal

from rcpt_ray.thoughts.engine import Completion, Request
from rcpt_ray.thoughts.prompt import PromptFrame, load_prompt
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import VllmClient


class VllmEngine:
    """A teacher served by vLLM."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        import torch

        self.seeds: Literal["request", "engine", "none"] = "request" if torch.cuda.is_available() else "engine"
        self._spec, self._client = spec, VllmClient(model_path, spec, seed)
        self._frame: PromptFrame
        self._params: Any

    async def start(self) -> None:
        """Bring vLLM up; about half a minute on two cores."""
        self._client.start()
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._frame = PromptFrame(load_prompt(self._spec.prompt), self._spec.asked_words, self._client.tokenizer)
        sampling = self._spec.sampling
        self._params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_thought_tokens,
            logprobs=0 if self._spec.keep_logprobs else None,
            stop=list(self._frame.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def complete(self, request: Request) -> Completion:
        """One thought; refuses a prompt that leaves no room for the thought in the model's context."""
        room = self._spec.sampling.max_thought_tokens
        prompt = self._frame.within(request.text, self._client.max_model_tokens, room)
        params = self._params
        if self.seeds == "request":
            params = params.clone()
            params.seed = request.seed
        final = (await self._client.ask(prompt.token_ids, params)).outputs[0]
        return Completion(
            thought=final.text.strip(),
            finish_reason=final.finish_reason or "unknown",
            num_text_tokens=prompt.num_text_tokens,
            num_prompt_tokens=len(prompt.token_ids),
            num_thought_tokens=len(final.token_ids),
            thought_logprob=final.cumulative_logprob,
        )

    def close(self) -> None:
        """End the engine's processes."""
        self._client.close()
