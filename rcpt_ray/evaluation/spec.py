"""Settings of the evaluation stage."""

from typing import Annotated, Literal

from pydantic import Field

from rcpt_ray.corpus.reading.paths import DataPath
from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings

STAGE_VERSION = 2


class TaskSpec(Settings):
    """Four-choice questions in MMLU's columns: question, choices, answer, subject; domain and difficulty if known."""

    path: DataPath
    """A .parquet or .jsonl file of questions; `samples://` is the folder of samples in the package."""
    examples_path: Annotated[DataPath | None, NOT_IN_FINGERPRINT] = None
    """The same for few-shot examples."""
    num_fewshot: int = Field(default=0, ge=0, le=5)
    """Examples shown before each question, taken from the question's own domain (else subject)."""
    max_questions: PositiveInt | None = None
    """Only the first so many questions; null takes all."""


class EvaluationSpec(Settings):
    """What each arm's model is measured on."""

    tasks: dict[str, TaskSpec] = Field(default_factory=dict)
    """Question sets by name."""
    heldout_bits_per_byte: bool = True
    """Measure bits per byte of the held-out documents, by domain."""
    max_length_tokens: PositiveInt = 2048
    """Longest context given to the model; longer held-out documents are scored in windows."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format; auto is bf16 where the hardware multiplies it."""
    batch_size: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 8
    """Sequences in one forward pass."""
    cpus: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    """CPUs that Ray reserves, and threads."""
    gpus: Annotated[float, Field(ge=0.0), NOT_IN_FINGERPRINT] = 0.0
    """GPUs that Ray reserves."""
