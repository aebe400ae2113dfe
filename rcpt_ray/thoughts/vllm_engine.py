"""The vLLM engine: AsyncLLM in this process, the same code on GPU and CPU builds.

Invariants: on a GPU each request has a seed of its own, so a draw does not depend on its neighbours in the batch; the
CPU build of vLLM 0.32 dies of such a seed when it cuts a prompt into chunks (a CPU generator cannot be rewound), so
there the engine's one seed is used. Prompts are token ids, so the document cannot speak as the system. Price: half a
minute to be ready on two cores; afterwards the engine's own speed.
"""

import asyncio
import logging
import os
from typing import Any

from rcpt_ray.hardware import fast_number_format
from rcpt_ray.thoughts.engine import Completion, EngineCannotStart, EngineDied, Request, RowRefused
from rcpt_ray.thoughts.engine_words import capture_errors
from rcpt_ray.thoughts.prompt import PromptFrame, load_prompt
from rcpt_ray.thoughts.spec import ThoughtsSpec

_CPU_KV_CACHE_GIB = 1


class VllmEngine:
    """A teacher served by vLLM."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        # vLLM would bind one core and leave the other to its scheduler; unbound, its threads are the CPUs that Ray
        # reserved for this actor (OMP_NUM_THREADS).
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        import torch

        self.seeds_requests = torch.cuda.is_available()
        self._model_path, self._spec, self._seed = model_path, spec, seed
        self._num_started = 0
        self._engine: Any = None

    async def start(self) -> None:
        """Bring vLLM up; about half a minute on two cores."""
        from vllm import SamplingParams
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        logging.getLogger("vllm").setLevel(logging.WARNING)
        self.close()
        with capture_errors() as words:
            try:
                self._engine = AsyncLLM.from_engine_args(
                    AsyncEngineArgs(
                        enable_log_requests=False, **engine_arguments(self._spec, self._model_path, self._seed)
                    )
                )
            except Exception as error:
                raise EngineCannotStart(words.of(error)) from error
        self._num_started += 1
        tokenizer = self._engine.get_tokenizer()
        self._frame = PromptFrame(load_prompt(self._spec.prompt), self._spec.asked_words, tokenizer)
        self._max_model_tokens = self._engine.model_config.max_model_len
        sampling = self._spec.sampling
        self._sampling = SamplingParams(
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
        from vllm.v1.engine.exceptions import EngineDeadError

        # No text has so few tokens; this spares the tokenizer a document of millions of characters.
        if len(request.text) > 16 * self._max_model_tokens:
            raise RowRefused("too_long_for_model")
        prompt = self._frame.around(request.text)
        if len(prompt.token_ids) + self._spec.sampling.max_thought_tokens > self._max_model_tokens:
            raise RowRefused("too_long_for_model")
        params = self._sampling
        if self.seeds_requests:
            params = params.clone()
            params.seed = request.seed
        name = f"{request.doc_id}#{request.sample_index}#{self._num_started}"
        try:
            async for output in self._engine.generate({"prompt_token_ids": prompt.token_ids}, params, name):
                final = output.outputs[0]
        except EngineDeadError as error:
            raise EngineDied(str(error)) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._engine.errored:
                raise EngineDied(str(error)) from error
            logging.getLogger(__name__).warning("request %s refused: %s", name, error)
            raise RowRefused("engine_refused") from None
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
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None


def engine_arguments(spec: ThoughtsSpec, model_path: str, seed: int) -> dict[str, Any]:
    """Arguments of vLLM's EngineArgs."""
    import torch

    arguments: dict[str, Any] = {
        "model": model_path,
        "dtype": {"bf16": "bfloat16", "fp32": "float32"}[fast_number_format(spec.precision)],
        "max_model_len": spec.max_model_tokens,
        "seed": seed,
        "disable_log_stats": True,
    }
    if not torch.cuda.is_available():
        # Compiling for the CPU costs more than a small model's whole run saves.
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": _CPU_KV_CACHE_GIB * 2**30}
    return arguments | spec.engine_args | spec.pool.engine_args
