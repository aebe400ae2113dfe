"""What the stages of a streaming training are told: settings, files, and what is expected to arrive.

A document may reach the blend in two ways. What needs no thought (raw text of all documents, replay) is there when its
shard is; what needs one, when the engines have finished the shard's part. So the unit is a shard's texts or a shard's
thoughts, each with the components that it brings.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rcpt_ray.mixture.candidates import Component
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import TextTokenizer
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.select import Selection
from rcpt_ray.training.plan import TrainingPlan

Kind = Literal["texts", "thoughts"]


@dataclass(frozen=True)
class Item:
    """The texts of a shard, or its thoughts."""

    kind: Kind
    shard: str

    @property
    def id(self) -> str:
        """A name for files."""
        return f"{self.kind}-{self.shard}"


@dataclass(frozen=True)
class StreamWork:
    """One streaming training; can be sent to other processes."""

    generation: Generation
    session: str
    """This command, among others that made thoughts in the same folder."""
    thoughts_folder: Path
    """The folder of the ordinary generate stage, where parts and receipts go."""
    folder: Path
    """Where the record is kept."""
    shards: Mapping[str, Path]
    """Documents for training by the digest of their shard."""
    replay_shards: Mapping[str, Path]
    components: tuple[Component, ...]
    mixture: MixtureSpec
    make_selection: Callable[[], Selection]
    tokenizer: TextTokenizer
    plan: TrainingPlan
    pool_rows: int

    def components_of(self, kind: Kind) -> list[Component]:
        """The components that items of a kind bring."""
        return [component for component in self.components if (component.needs is not None) == (kind == "thoughts")]

    def items(self) -> list[Item]:
        """Everything that will arrive."""
        texts = self.components_of("texts")
        shards = list(self.replay_shards) if any(one.name.endswith("/replay") for one in texts) else []
        shards += list(self.shards) if any(not one.name.endswith("/replay") for one in texts) else []
        return [Item("texts", shard) for shard in shards] + [Item("thoughts", shard) for shard in self.shards]

    def shard_file(self, shard: str) -> Path:
        """The documents of a shard."""
        return self.shards.get(shard) or self.replay_shards[shard]

    def new_attempt(self) -> str:
        """A name for an attempt of this command, for the engines that it starts.

        The engines of an attempt end with it, which is the fault of none of their requests.
        """
        return f"{self.session}-{uuid.uuid4().hex[:8]}"

    @property
    def tokens_folder(self) -> Path:
        """Where tokenized documents wait."""
        return self.folder / "tokens"
