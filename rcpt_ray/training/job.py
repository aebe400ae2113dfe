"""What a training worker is told: settings, plan, inputs and where the outcome goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcpt_ray.training.plan import TrainingPlan
from rcpt_ray.training.spec import TrainingSpec

if TYPE_CHECKING:
    from rcpt_ray.evaluation.beside import Beside


@dataclass(frozen=True)
class TrainingJob:
    """One model's training; can be sent to other processes."""

    spec: TrainingSpec
    plan: TrainingPlan
    num_tokens: int
    """Tokens that are read in all, padding left out; an estimate for the streaming feed."""
    model_path: str
    mixture_parts: list[Path]
    folder: Path
    tokenizer_path: str
    """The model's own tokenizer, or the mixture's where that added tokens."""
    special_tokens: tuple[str, ...] = ()
    """Tokens that the mixture may have added to the vocabulary."""
    heldout_parts: list[Path] = field(default_factory=list)
    """Documents that are never trained on, for measurements on the way."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What the model's card tells: names, digests and settings of what it was made from."""
    trust_remote_code: bool = False
    """Whether Python files of the model's author may run."""
    beside: "Beside | None" = None
    """What its checkpoints are evaluated on while it goes on; None evaluates none."""
