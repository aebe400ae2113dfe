"""Settings of the two thought stages: generate, which pays for tokens, and select, which does not."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, ModelSpec, PositiveInt, Settings, Share

GENERATE_VERSION = 1
SELECT_VERSION = 1
_ARGS_OF_RESULTS = {
    "model",
    "tokenizer",
    "revision",
    "dtype",
    "quantization",
    "kv_cache_dtype",
    "max_model_len",
    "seed",
}


class SamplingSpec(Settings):
    """How thoughts are sampled."""

    temperature: float = Field(default=0.7, ge=0.0, le=5.0)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of probability kept."""
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=2.0)
    """Above 1 discourages loops, which small teachers fall into."""
    max_thought_tokens: PositiveInt = 512
    """Hard limit of a thought, in tokens of the teacher."""
    num_samples: PositiveInt = 1
    """Thoughts asked for each document."""


class PoolSpec(Settings):
    """The pool of engine actors: where thoughts are made, never what they are."""

    min_engines: PositiveInt = 1
    """Engines that are always up while the stage runs."""
    max_engines: PositiveInt = 1
    """Engines at most; the pool grows while shards wait."""
    cpus_per_engine: float = Field(default=1.0, ge=0.0)
    """CPUs that Ray reserves for an engine."""
    gpus_per_engine: float = Field(default=0.0, ge=0.0)
    """GPUs that Ray reserves for an engine; for tensor parallelism set engine_args.tensor_parallel_size too."""
    shards_in_flight: PositiveInt = 4
    """Shards that an engine works on at once, so that it never drains between shards."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vLLM's AsyncEngineArgs that change its speed or memory alone, passed through."""

    @model_validator(mode="after")
    def _args_are_of_speed(self) -> "PoolSpec":
        for name in sorted(_ARGS_OF_RESULTS & self.engine_args.keys()):
            raise ValueError(f"engine_args.{name} changes what is written; set it in thoughts or thoughts.engine_args")
        return self


class SelectSpec(Settings):
    """Which thoughts are kept; changing this never calls an engine."""

    min_thought_tokens: int = Field(default=16, ge=0)
    """Thoughts with fewer tokens are rejected as too_short."""
    cut_off: Literal["keep", "reject"] = "keep"
    """What becomes of a thought that ended at the hard limit instead of by itself."""


class ThoughtsSpec(Settings):
    """Who writes the thoughts, from which prompt, how, and which of them are kept."""

    engine: Literal["vllm", "fake"] = "vllm"
    """vllm runs the teacher; fake writes deterministic words without a model, for tests of the pipeline alone."""
    teacher: ModelSpec
    """The model that writes the thoughts."""
    prompt: str = Field(default="expert", pattern=r"^[a-z][a-z0-9_]*$")
    """The prompt file in rcpt_ray/thoughts/prompts that is used."""
    asked_words: PositiveInt = 150
    """The length in words that the prompt asks for."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the teacher; auto is bf16 where the hardware multiplies it."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vLLM's AsyncEngineArgs that change what is written, such as quantization; in the fingerprint."""
    max_model_tokens: PositiveInt | None = None
    """Context of the engine; null takes the model's own. Longer prompts become rejected rows."""
    sampling: SamplingSpec = SamplingSpec()
    """How thoughts are sampled."""
    fake_delay_s: Annotated[float, Field(ge=0.0), NOT_IN_FINGERPRINT] = 0.0
    """Seconds that the fake engine takes for a thought."""
    max_rejected_share: Annotated[Share, NOT_IN_FINGERPRINT] = 0.5
    """The stage fails when more than this share of the thoughts was rejected by the engine."""
    pool: Annotated[PoolSpec, NOT_IN_FINGERPRINT] = PoolSpec()
    """The pool of engines."""
    select: Annotated[SelectSpec, NOT_IN_FINGERPRINT] = SelectSpec()
    """Settings of the select stage, which has a fingerprint of its own."""
