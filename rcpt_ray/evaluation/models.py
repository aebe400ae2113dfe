"""The lm-eval models of an evaluation job, opened when they are first asked for and kept until `close_models`.

One model's engines are open in a process at a time, each at most once: with vLLM for likelihood and generation one pool
serves both. Every model given out has `engine` (transformers, vllm or oracle), `seeds` (what repeats a draw: `request`,
a seed of its own; `engine`, the seed of its batch; `none`, nothing is drawn), `num_truncated`, the requests that had to
be cut, and `truncated`, the same by task.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.asked import Use
from rcpt_ray.evaluation.cost import Held
from rcpt_ray.evaluation.spec import EvaluationSpec, GeneratedTask, Gsm8kTask, LikelihoodTask
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.settings import ModelSpec
from rcpt_ray.thoughts.spec import ThoughtsSpec

if TYPE_CHECKING:
    from rcpt_ray.evaluation.job import EvaluationJob

_BESIDE_WINDOW_TOKENS = 2
"""vLLM's context holds the last token that is predicted too, and one that it writes."""


def open_model(job: "EvaluationJob", use: Use) -> Any:
    """The lm-eval model for a job's likelihood or generated tasks.

    Raises:
        UserError: the model's context is shorter than evaluation.max_length_tokens.
    """
    global _open
    if _open is not None and _open.job != job:
        close_models()
    if _open is None:
        _open = _OpenModels(job)
    return _open.model(use)


def close_models() -> Held:
    """End what is open, and say how long it was."""
    global _open
    held = Held()
    if _open is not None:
        held = _open.close()
        _open = None
    return held


def engines_used(spec: EvaluationSpec) -> set[str]:
    """The engines that a job's tasks need; a task of lm-eval may be of either sort."""
    engines = set[str]()
    if spec.heldout_bits_per_byte or spec.heldout_thoughts:
        engines.add(spec.likelihood_engine)
    for task in spec.tasks.values():
        match task:
            case LikelihoodTask():
                engines.add(spec.likelihood_engine)
            case GeneratedTask() | Gsm8kTask():
                engines.add(spec.generation_engine)
            case _:
                engines |= {spec.likelihood_engine, spec.generation_engine}
    return engines


def check_context(spec: EvaluationSpec, model_path: str) -> None:
    """UserError where evaluation.max_length_tokens is above the context that the model's config names; reads no more
    than that file."""
    wanted, most = spec.max_length_tokens, _context_tokens(model_path)
    if most is not None and wanted > most:
        raise UserError(
            f"evaluation.max_length_tokens={wanted} is longer than the model's context of {most} tokens; lower it"
        )


def text_room(spec: EvaluationSpec, model_path: str) -> int:
    """The most tokens of a text that the likelihood engine can predict at once, behind its start token."""
    if spec.likelihood_engine == "transformers":
        return spec.max_length_tokens
    return _vllm_tokens(spec, model_path) - _BESIDE_WINDOW_TOKENS


class _OpenModels:
    """The models of one job that are open."""

    def __init__(self, job: "EvaluationJob") -> None:
        from rcpt_ray.evaluation.tokens import TextTokens

        self.job = job
        check_context(job.spec, job.model_path)
        self._tokens = TextTokens(job.model_path, [job.thought_open, job.thought_close], job.trust_remote_code)
        self._inner: dict[str, Any] = {}
        self._pool: Any = None
        self._transformers_since_s: float | None = None

    def model(self, use: Use) -> Any:
        from rcpt_ray.evaluation.thinking_lm import ThinkingLM

        spec = self.job.spec
        if use == "likelihood":
            return self._of(spec.likelihood_engine)
        tokens: Any = self._tokens
        if spec.generation_engine == "oracle":
            from rcpt_ray.evaluation.oracle import WordTokens

            tokens = WordTokens()
        return ThinkingLM(self._of(spec.generation_engine), tokens, self.job.seed)

    def close(self) -> Held:
        for model in self._inner.values():
            if hasattr(model, "close"):
                model.close()
        since_s = self._transformers_since_s
        held = Held(
            transformers_s=0.0 if since_s is None else time.monotonic() - since_s,
            engines_s=0.0 if self._pool is None else self._pool.engine_seconds,
        )
        if self._pool is not None:
            self._pool.close()
        self._inner = {}
        return held

    def _of(self, engine: str) -> Any:
        if engine not in self._inner:
            match engine:
                case "transformers":
                    self._inner[engine] = self._transformers()
                case "vllm":
                    self._inner[engine] = self._engines()
                case "oracle":
                    from rcpt_ray.evaluation.oracle import Oracle

                    self._inner[engine] = Oracle(self.job.spec.oracle, self.job.spec.max_length_tokens)
        return self._inner[engine]

    def _transformers(self) -> Any:
        import torch

        from rcpt_ray.evaluation.transformers_lm import TransformersLM

        spec = self.job.spec
        self._transformers_since_s = time.monotonic()
        if not torch.cuda.is_available():
            torch.set_num_threads(spec.cpus)
        precision = fast_number_format(spec.precision)
        return TransformersLM(
            self.job.model_path,
            self._tokens,
            precision,
            spec.batch_size,
            spec.max_length_tokens,
            self.job.trust_remote_code,
        )

    def _engines(self) -> Any:
        from rcpt_ray.evaluation.engines_lm import EnginesLM
        from rcpt_ray.evaluation.engines_on_ray import EnginePool

        spec, path = self.job.spec, self.job.model_path
        engine_tokens = _vllm_tokens(spec, path)
        thoughts = ThoughtsSpec(
            teacher=ModelSpec(reference=path, trust_remote_code=self.job.trust_remote_code),
            precision=spec.precision,
            max_model_tokens=engine_tokens,
            pool=spec.pool,
        )
        self._pool = EnginePool(path, thoughts, self.job.seed)
        return EnginesLM(self._tokens, self._pool.ask, engine_tokens - _BESIDE_WINDOW_TOKENS, self.job.seed)


_open: _OpenModels | None = None


def _vllm_tokens(spec: EvaluationSpec, model_path: str) -> int:
    """The context of a vLLM engine."""
    wanted = spec.max_length_tokens + _BESIDE_WINDOW_TOKENS
    return min(wanted, _context_tokens(model_path) or wanted)


def _context_tokens(model_path: str) -> int | None:
    """The most positions that a model's config names, None where it names none."""
    file = Path(model_path) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return int(found) if found else None
