"""vLLM's AsyncLLM in this process, GPU and CPU builds alike: start it, ask it, end it.

Invariants: an engine that dies raises EngineDied, one that does not come up EngineCannotStart with its own last words;
anything else that a request raises is that request's. Price: half a minute to be ready on two cores.
"""

import asyncio
import logging
import os
from typing import Any

from rcpt_ray.hardware import fast_number_format
from rcpt_ray.thoughts.engine import EngineCannotStart, EngineDied, RowRefused
from rcpt_ray.thoughts.engine_words import capture_errors
from rcpt_ray.thoughts.spec import ThoughtsSpec

_CPU_KV_CACHE_GIB = 1


class VllmClient:
    """One AsyncLLM; asked with token ids only."""

    def __init__(self, model_path: str, spec: ThoughtsSpec, seed: int) -> None:
        # vLLM would bind one core and leave the other to its scheduler; unbound, its threads are the CPUs that Ray
        # reserved for this actor (OMP_NUM_THREADS).
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        self._model_path, self._spec, self._seed = model_path, spec, seed
        self._num_asked = 0
        self._engine: Any = None

    def start(self) -> None:
        """Bring vLLM up, after ending one that died."""
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineCannotStart(f"{error}; install vLLM (requirements/README.md)") from error
        logging.getLogger("vllm").setLevel(logging.WARNING)
        self.close()
        arguments = engine_arguments(self._spec, self._model_path, self._seed)
        try:
            with capture_errors() as words:
                # Offline use: batches as large as vllm.LLM makes them, where a server would keep them small.
                self._engine = AsyncLLM.from_engine_args(
                    AsyncEngineArgs(enable_log_requests=False, **arguments), usage_context=UsageContext.LLM_CLASS
                )
        except Exception as error:
            raise EngineCannotStart(words.of(error)) from error

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.get_tokenizer()

    @property
    def max_model_tokens(self) -> int:
        """The engine's context."""
        return int(self._engine.model_config.max_model_len)

    async def ask(self, token_ids: list[int], params: Any) -> Any:
        """The final RequestOutput of a prompt; `params` are vLLM's SamplingParams with output kind FINAL_ONLY."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._num_asked += 1
        final: Any = None
        try:
            async for output in self._engine.generate({"prompt_token_ids": token_ids}, params, str(self._num_asked)):
                final = output
        except EngineDeadError as error:
            raise EngineDied(str(error)) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._engine.errored:
                raise EngineDied(str(error)) from error
            logging.getLogger(__name__).warning("request refused: %s", error)
            raise RowRefused("engine_refused") from None
        return final

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
        "load_format": "safetensors",
        "trust_remote_code": spec.teacher.trust_remote_code,
    }
    if not torch.cuda.is_available():
        # Compiling for the CPU costs more than a small model's whole run saves.
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": _CPU_KV_CACHE_GIB * 2**30}
    return arguments | spec.engine_args | spec.pool.engine_args
