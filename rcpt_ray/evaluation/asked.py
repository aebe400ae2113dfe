"""What is asked of lm-eval: its tasks, and beside each what it must turn out to have done."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]
Use = Literal["likelihood", "generation"]


@dataclass
class Rows:
    """Rows of the three tables."""

    scores: list[Row] = field(default_factory=list)
    """records.SCORE."""
    answers: list[Row] = field(default_factory=list)
    """records.ANSWER."""
    choices: list[Row] = field(default_factory=list)
    """records.CHOICE."""

    def add(self, other: "Rows") -> None:
        """Take over the rows of another task."""
        self.scores += other.scores
        self.answers += other.answers
        self.choices += other.choices


@dataclass(frozen=True)
class Asked:
    """One task of lm-eval with what was asked of it."""

    name: str
    """Its name in lm-eval's results."""
    task: Any
    num_fewshot: int
    num_items: int
    num_samples: int = 1
    prompts: Sequence[str] | None = None
    """The prompt of each item, in order; None where lm-eval's own task makes them."""
    continuations: Sequence[str] | None = None
    """What must have been weighed behind each prompt."""
    generation: Mapping[str, Any] | None = None
    """How it must have been generated."""


@dataclass(frozen=True)
class TaskSet:
    """A task of the recipe: the tasks of lm-eval that it consists of, and how their samples become rows."""

    name: str
    use: Use
    asked: list[Asked]
    rows: Callable[[str, list[Row]], Rows]
    """From the name of a task of lm-eval and its logged samples, in order."""
    details: Mapping[str, Any]
    """For the manifest: kind, num_fewshot, num_samples, chance."""
    num_items: int
    """Items that get scores."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Items that could not be asked at all, by reason."""
