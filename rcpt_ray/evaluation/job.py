"""What one evaluation measures, and where its rows go; plain data that travels to another process."""

from dataclasses import dataclass, field
from pathlib import Path

from rcpt_ray.evaluation.spec import EvaluationSpec


@dataclass(frozen=True)
class EvaluationJob:
    """One model, everything that it is measured on, and the folder of the stage."""

    spec: EvaluationSpec
    model_path: str
    heldout_parts: list[Path]
    """Parts of held-out documents (records.DOCUMENT)."""
    folder: Path
    """Where scores.parquet, answers.parquet and choices.parquet are written."""
    seed: int
    trust_remote_code: bool = False
    """Whether Python files of the model's author may run."""
    thought_open: str = ""
    """What stands before a thought in the arm's training rows, and at the end of the prompts of generated tasks."""
    thought_close: str = ""
    """What stands after it."""
    thought_parts: list[Path] = field(default_factory=list)
    """Parts of selected thoughts (records.THOUGHT) of the held-out documents; none without."""
