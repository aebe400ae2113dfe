"""What a report is made from: manifests and rows of finished stages, gathered by the pipeline."""

from dataclasses import dataclass, field

import pyarrow as pa

from rcpt_ray.artifacts import Manifest
from rcpt_ray.recipe import Recipe


@dataclass(frozen=True)
class ArmResult:
    """One arm's finished stages; the stages that an arm does not have are None."""

    name: str
    """Of the variant: the arm's name, with training domain and seed where the comparison has several."""
    description: str
    evaluation: Manifest | None
    """None where the arm failed, or is not measured yet."""
    scores: pa.Table
    """Rows of records.SCORE; none without an evaluation."""
    arm: str = ""
    """The arm's name in the recipe; variants of one arm differ in training domain or seed."""
    training_domain: str = ""
    """The name in comparison.domains of what the variant was trained on; empty without domains, and for an arm that is
    not trained."""
    seed: int = 0
    """The seed of its mixture and training."""
    answers: pa.Table | None = None
    """Rows of records.ANSWER, where tasks were generated."""
    evaluated: pa.Table | None = None
    """Rows of records.EVALUATED, where checkpoints were evaluated beside the training."""
    failure: str = ""
    """Why a stage of this variant failed, in a sentence; empty where none did."""
    mixture: Manifest | None = None
    """Of a streaming training its own, which tells of the mixture too."""
    training: Manifest | None = None
    steps: pa.Table | None = None
    """Rows of records.STEP."""
    heldout: pa.Table | None = None
    """Rows of records.HELDOUT_BITS, where they were measured while training."""
    timeline: pa.Table | None = None
    """Rows of records.TIMELINE, of a streaming training."""
    written: list[Manifest] = field(default_factory=list)
    """Generate and select stages of its thoughts and paraphrases, and of the held-out thoughts it was measured on."""


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report shows."""

    recipe: Recipe
    student: str
    """The student in words: reference, revision, whether it was instruction-tuned."""
    teacher: str
    corpus: Manifest
    thoughts: Manifest | None
    """The generate stage; None where no arm needed thoughts."""
    select: Manifest | None
    thought_tokens: list[int] = field(default_factory=list)
    """Tokens of each thought that was kept."""
    examples: list[dict[str, object]] = field(default_factory=list)
    """Rows of records.THOUGHT that are shown beside their texts."""
    arms: list[ArmResult] = field(default_factory=list)
