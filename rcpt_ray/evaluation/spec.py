"""Settings of the evaluation stage."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from rcpt_ray.corpus.reading.paths import DataPath
from rcpt_ray.settings import NOT_IN_FINGERPRINT, Machines, Name, PositiveInt, Settings
from rcpt_ray.thoughts.spec import PoolSpec

STAGE_VERSION = 3
HELDOUT = "heldout"
"""The task's name of held-out documents in the scores."""


class _QuestionsSpec(Settings):
    """Where the questions of a task are."""

    path: DataPath
    """A .parquet or .jsonl file of questions; `samples://` is the folder of samples in the package, and hf://owner/name
    a dataset of the hub."""
    examples_path: Annotated[DataPath | None, NOT_IN_FINGERPRINT] = None
    """The same for few-shot examples."""
    subset: Annotated[str | None, NOT_IN_FINGERPRINT] = None
    """The subset of a dataset of the hub; null takes its default one."""
    split: Annotated[str, NOT_IN_FINGERPRINT] = "test"
    """The split of a dataset of the hub with the questions."""
    examples_split: Annotated[str, NOT_IN_FINGERPRINT] = "dev"
    """The split of a dataset of the hub with the examples."""
    revision: Annotated[str | None, NOT_IN_FINGERPRINT] = None
    """The commit, branch or tag of a dataset of the hub; null takes the newest."""
    max_questions: PositiveInt | None = None
    """Only the first so many questions; null takes all."""
    max_questions_per_subject: PositiveInt | None = None
    """Only the first so many questions of each subject; null takes all."""
    num_fewshot: int = Field(default=0, ge=0, le=5)
    """Examples shown before each question, taken from the question's own subject (else domain)."""


class LikelihoodTask(_QuestionsSpec):
    """Four-choice questions in MMLU's columns (question, choices, answer, subject; category, domain and difficulty if
    known), answered by the letter with the highest likelihood."""

    kind: Literal["likelihood"] = "likelihood"


class GenerationSettings(_QuestionsSpec):
    """How a model thinks and answers in its own words."""

    num_samples: PositiveInt = 1
    """Samples of each question: pass@k and maj@k are over them."""
    temperature: float = Field(default=0.0, ge=0.0, le=5.0)
    """0 is greedy, with one sample."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of probability kept."""
    max_thought_tokens: PositiveInt = 512
    """A thought that has not ended by then is cut there, and the answer is asked for all the same."""
    max_answer_tokens: PositiveInt = 32
    """Tokens after the thought."""

    @model_validator(mode="after")
    def _samples_differ(self) -> "GenerationSettings":
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(f"num_samples={self.num_samples} greedy samples are all the same; set a temperature")
        return self


class GeneratedTask(GenerationSettings):
    """The same questions, but the model thinks between the recipe's delimiters first and then writes a letter."""

    kind: Literal["generated"]


class Gsm8kTask(GenerationSettings):
    """Word problems in GSM8K's columns (question, answer with the number after ####), thought over and answered by a
    number; examples show their written solutions as the thought."""

    kind: Literal["gsm8k"]


class StockTask(Settings):
    """A task of lm-eval by its name, such as mmlu_pro or gpqa_diamond_zeroshot."""

    kind: Literal["stock"]
    name: str = Field(min_length=1)
    """The name that lm-eval lists."""
    data: Annotated[dict[Name, DataPath], NOT_IN_FINGERPRINT] = Field(default_factory=dict)
    """Local files by split (test, validation, train) instead of the data on the hub."""
    subset_column: str | None = None
    """The column of `data` with the subset that a row belongs to, where the name is a group whose tasks each take one:
    `subject` for mmlu. Null gives every row to every task, which is right for tasks that choose their rows themselves,
    as those of mmlu_pro do."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Shots; null takes the task's own."""
    max_questions: PositiveInt | None = None
    """Only the first so many questions of each of the name's tasks; null takes all."""


def _kind(value: Any) -> str:
    kind = value.get("kind", "likelihood") if isinstance(value, dict) else getattr(value, "kind", "likelihood")
    return str(kind)


TaskSpec = Annotated[
    Annotated[LikelihoodTask, Tag("likelihood")]
    | Annotated[GeneratedTask, Tag("generated")]
    | Annotated[Gsm8kTask, Tag("gsm8k")]
    | Annotated[StockTask, Tag("stock")],
    Discriminator(_kind),
]


class OracleSpec(Settings):
    """A planted model for tests: it knows the answers to questions of some tiers, and thinks as long as it is told."""

    knows: list[str] = Field(default_factory=lambda: ["easy", "medium"])
    """Tiers of difficulty that it answers rightly; the others it answers with the letter after the right one."""
    thought_tokens: dict[str, PositiveInt] = Field(default_factory=dict)
    """Words of its thought by tier; 10 for a tier that is not named."""
    mute_every: int = Field(default=0, ge=0)
    """Every so-manyth question gets words without an answer; 0 for none."""


class EvaluationSpec(Settings):
    """What each arm's model is measured on."""

    tasks: dict[Name, TaskSpec] = Field(default_factory=dict)
    """Tasks by name; `kind` says which sort, likelihood if none is given."""
    heldout_bits_per_byte: bool = True
    """Measure bits per byte of the held-out documents, by domain."""
    heldout_thoughts: bool = False
    """Have the teacher write thoughts for the held-out documents, and measure their perplexity and the gain: bits that
    a text costs less when its thought is read first."""
    likelihood_engine: Literal["transformers", "vllm"] = "transformers"
    """What computes log-probabilities."""
    generation_engine: Literal["vllm", "transformers", "oracle"] = "vllm"
    """What generates: vllm on a pool of engines, transformers in one process; oracle is for tests."""
    max_length_tokens: PositiveInt = 2048
    """Longest context given to the model; longer held-out documents are scored in windows, a longer question fails the
    stage."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format; auto is bf16 where the hardware multiplies it."""
    batch_size: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 8
    """Sequences in one forward pass of transformers."""
    cpus: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """CPUs that Ray reserves for transformers, and threads."""
    gpus: Annotated[float, Field(ge=0.0), NOT_IN_FINGERPRINT] = 0.0
    """GPUs that Ray reserves for transformers."""
    machines: Annotated[Machines, NOT_IN_FINGERPRINT] = None
    """Only machines with a custom resource of this name in Ray for transformers; null takes any."""
    pool: Annotated[PoolSpec, NOT_IN_FINGERPRINT] = PoolSpec()
    """The pool of vLLM engines; price_per_engine_hour counts for transformers too."""
    oracle: OracleSpec = OracleSpec()
    """The oracle's knowledge."""
    beside_training: Annotated[bool, NOT_IN_FINGERPRINT] = False
    """Evaluate each checkpoint while the training goes on, on CPUs and GPUs of its own (likelihood tasks and bits per
    byte, by transformers); where there are none free, those that were kept when the training has ended."""

    @model_validator(mode="after")
    def _checkpoints_have_a_measure(self) -> "EvaluationSpec":
        has_measure = self.heldout_bits_per_byte or any(task.kind == "likelihood" for task in self.tasks.values())
        if self.beside_training and not has_measure:
            raise ValueError(
                "beside_training=true has nothing to measure; set heldout_bits_per_byte=true or add a task of kind "
                "likelihood"
            )
        return self

    @model_validator(mode="after")
    def _thoughts_fit(self) -> "EvaluationSpec":
        for name, task in self.tasks.items():
            if not isinstance(task, GenerationSettings):
                continue
            written = task.max_thought_tokens + task.max_answer_tokens
            if written >= self.max_length_tokens:
                raise ValueError(
                    f"tasks.{name}: max_thought_tokens={task.max_thought_tokens} and "
                    f"max_answer_tokens={task.max_answer_tokens} leave no room for a question in "
                    f"max_length_tokens={self.max_length_tokens}; lower the first or raise the last"
                )
        return self
