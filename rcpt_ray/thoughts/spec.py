"""Settings of the generate stage, which pays for tokens. Those of select, which does not, are in select_spec.py."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, Machines, ModelSpec, PositiveInt, Settings, Share
from rcpt_ray.thoughts.scores_spec import ScoresSpec
from rcpt_ray.thoughts.select_spec import SelectSpec

GENERATE_VERSION = 2
_ARGS_WITH_SETTINGS = {"model", "tokenizer", "revision", "seed", "dtype", "max_model_len"}
_ARGS_OF_CODE = {
    *("trust_remote_code", "code_revision", "hf_token", "hf_config_path", "hf_overrides", "model_class_overrides"),
    *("model_weights", "config_format", "load_format", "model_loader_extra_config", "download_dir", "tokenizer_mode"),
    *("worker_cls", "worker_extension_cls", "scheduler_cls", "distributed_executor_backend", "logits_processors"),
    *("io_processor_plugin", "reasoning_parser_plugin", "kv_transfer_config", "kv_events_config", "ec_transfer_config"),
    *("ec_manager_config", "weight_transfer_config", "kv_offloading_backend", "additional_config", "logging_config"),
    *("log_config_file", "profiler_config", "otlp_traces_endpoint", "default_mm_loras", "lora_modules"),
    *(
        "allowed_local_media_path",
        "allowed_media_domains",
        "master_addr",
        "data_parallel_address",
        "tokenizer_revision",
    ),
    "compilation_config",
}
"""Arguments of vLLM 0.32 by which it loads classes or files of another name, opens ports or writes elsewhere."""
_ARGS_OF_RESULTS = _ARGS_WITH_SETTINGS | {"quantization", "kv_cache_dtype"}


def _without_code(arguments: dict[str, Any]) -> dict[str, Any]:
    for name in sorted(_ARGS_OF_CODE & {name.replace("-", "_") for name in arguments}):
        raise ValueError(f"{name} is not passed on: it can run code, load other files or open ports; leave it out")
    return arguments


EngineArgs = Annotated[dict[str, Any], AfterValidator(_without_code)]
"""Arguments of vLLM's AsyncEngineArgs, of those that neither run code nor reach beyond the model's folder."""


def _is_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*_API_KEY", name):
        # The value is not repeated: it may be the key itself.
        raise ValueError("must be the name of an environment variable that ends in _API_KEY, such as OPENAI_API_KEY")
    return name


class SamplingSpec(Settings):
    """How thoughts are sampled."""

    temperature: float = Field(default=0.7, ge=0.0, le=5.0)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of probability kept."""
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=2.0)
    """Above 1 discourages loops, which small teachers fall into."""
    max_thought_tokens: int = Field(default=512, ge=1, le=2**20)
    """Hard limit of a thought, in tokens of the teacher."""
    num_samples: int = Field(default=1, ge=1, le=4096)
    """Thoughts asked for each document."""


class PoolSpec(Settings):
    """The pool of engine actors: where thoughts are made and what an hour of it costs, never what they are."""

    min_engines: PositiveInt = 1
    """Engines that are always up while the stage runs."""
    max_engines: PositiveInt = 1
    """Engines at most; all are asked for at the start, so that machines come up together."""
    cpus_per_engine: float = Field(default=1.0, ge=0.0)
    """CPUs that Ray reserves for an engine."""
    gpus_per_engine: float = Field(default=0.0, ge=0.0)
    """GPUs that Ray reserves for an engine; for tensor parallelism set engine_args.tensor_parallel_size too."""
    machines: Machines = None
    """Only machines with a custom resource of this name in Ray, such as synthesis; null takes any."""
    shards_in_flight: PositiveInt = 4
    """Shards that an engine works on at once, so that it never drains between shards."""
    engine_args: EngineArgs = Field(default_factory=dict)
    """Arguments of vLLM's AsyncEngineArgs that change its speed or memory alone, passed through."""
    price_per_engine_hour: float | None = Field(default=None, ge=0.0)
    """What an hour of one engine costs, with its GPUs, in any currency; null reports no cost."""
    expected_tokens_per_s: float | None = Field(default=None, gt=0.0)
    """What `rcpt plan` takes one engine to write where none was measured; null reckons with a usual GPU or CPU."""

    @model_validator(mode="after")
    def _args_are_of_speed(self) -> "PoolSpec":
        for name in sorted(_ARGS_OF_RESULTS & self.engine_args.keys()):
            raise ValueError(f"engine_args.{name} changes what is written; set it in thoughts or thoughts.engine_args")
        if self.min_engines > self.max_engines:
            raise ValueError(f"min_engines={self.min_engines} must not be above max_engines={self.max_engines}")
        return self


class HttpSpec(Settings):
    """An OpenAI-compatible server, such as `vllm serve`: where it is and what it charges, never what it writes."""

    url: str = Field(default="http://127.0.0.1:8000/v1", pattern=r"^https?://\S+$")
    """The server's base address, with /v1."""
    model: str | None = None
    """The model's name at the server; null takes the teacher's reference."""
    api_key_variable: Annotated[str, AfterValidator(_is_variable)] = "OPENAI_API_KEY"
    """The environment variable that holds the key, of a name that ends in _API_KEY, so that a recipe can send no other
    secret; the key itself never stands in a recipe."""
    requests_in_flight: PositiveInt = 64
    """Requests that one engine actor has open at once."""
    seeds_requests: bool = True
    """Send a seed of its own with each request; false for a server on vLLM's CPU build, which dies of them."""
    patience_s: float = Field(default=600.0, gt=0.0)
    """Seconds to wait for a server that does not answer, before the job fails."""
    timeout_s: float = Field(default=600.0, gt=0.0)
    """Seconds that one request may take."""
    price_per_million_prompt_tokens: float | None = Field(default=None, ge=0.0)
    """What the server charges for prompts, in any currency."""
    price_per_million_thought_tokens: float | None = Field(default=None, ge=0.0)
    """What the server charges for what it writes."""


class FakeSpec(Settings):
    """The fake engine's behaviour, for tests of everything around an engine."""

    delay_s: float = Field(default=0.0, ge=0.0)
    """Seconds that a thought takes."""
    delay_per_token_s: float = Field(default=0.0, ge=0.0)
    """Seconds more for each of its words, as an engine takes; all requests at once take their time side by side."""
    documents_per_s: float | None = Field(default=None, gt=0.0)
    """Documents that an engine completes in a second, one after another, as a busy GPU does; null has no limit."""
    hold_on: str | None = None
    """A document with these characters waits for the file of hold_until."""
    hold_until: str = ""
    """The path of that file."""
    exit_on: str | None = None
    """A document with these characters ends the engine's whole process."""
    die_on: str | None = None
    """A document with these characters ends the engine, not its process."""
    cannot_start: str | None = None
    """The engine does not come up, with this message."""


class ThoughtsSpec(Settings):
    """Who writes the thoughts, from which prompt, how, and which of them are kept."""

    engine: Literal["vllm", "http", "fake"] = "vllm"
    """vllm runs the teacher; http asks a server that runs it; fake writes deterministic words without a model."""
    teacher: ModelSpec
    """The model that writes the thoughts; with http, its tokenizer alone is fetched."""
    prompt: str = Field(default="expert", pattern=r"^[a-z][a-z0-9_]*$")
    """The prompt file in rcpt_ray/thoughts/prompts that is used."""
    asked_words: PositiveInt = 150
    """The length in words that the prompt asks for."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the teacher; auto is bf16 where the hardware multiplies it."""
    engine_args: EngineArgs = Field(default_factory=dict)
    """Arguments of vLLM's AsyncEngineArgs that change what is written, such as quantization; in the fingerprint."""
    max_model_tokens: PositiveInt | None = None
    """Context of the engine; null takes the model's own. Longer prompts become rejected rows."""
    sampling: SamplingSpec = SamplingSpec()
    """How thoughts are sampled."""
    keep_logprobs: bool = True
    """Keep the log-probability of each thought under the teacher."""
    max_rejected_share: Annotated[Share, NOT_IN_FINGERPRINT] = 0.5
    """The stage fails as soon as more than this share of at least 200 thoughts, or of all, was rejected."""
    pool: Annotated[PoolSpec, NOT_IN_FINGERPRINT] = PoolSpec()
    """The pool of engines."""
    http: Annotated[HttpSpec, NOT_IN_FINGERPRINT] = HttpSpec()
    """The server of the http engine."""
    fake: Annotated[FakeSpec, NOT_IN_FINGERPRINT] = FakeSpec()
    """The fake engine."""
    scores: Annotated[ScoresSpec, NOT_IN_FINGERPRINT] = ScoresSpec()
    """Settings of the scores stage, which runs only where select needs a score."""
    select: Annotated[SelectSpec, NOT_IN_FINGERPRINT] = SelectSpec()
    """Settings of the select stage, which has a fingerprint of its own."""

    @model_validator(mode="after")
    def _engine_args_are_not_settings(self) -> "ThoughtsSpec":
        for name in sorted(_ARGS_WITH_SETTINGS & self.engine_args.keys()):
            raise ValueError(
                f"engine_args.{name} has a setting of its own: teacher, precision, max_model_tokens or seed"
            )
        return self

    @model_validator(mode="after")
    def _scores_have_an_engine(self) -> "ThoughtsSpec":
        if self.engine == "http" and (self.select.needs_gain or self.select.needs_critic):
            raise ValueError("select asks for scores, which need engine=vllm; leave the gain and critic gates out")
        return self
