"""Settings of the corpus stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings

STAGE_VERSION = 2
TRAIN_PARTS = "part-train-*.parquet"
HELDOUT_PARTS = "part-heldout-*.parquet"


class SourceSpec(Settings):
    """One source: files of one domain with the same columns."""

    path: Annotated[str, Field(min_length=1), NOT_IN_FINGERPRINT]
    """A file, a folder or a glob of .parquet, .jsonl files; `samples://` is the folder of samples in the package."""
    domain: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """The domain that evaluation groups by, such as stem or law."""
    text_column: str = "text"
    """The column with the text."""
    id_column: str | None = "id"
    """The column with an id that is unique within the source; null takes a hash of the text."""
    max_documents: PositiveInt | None = None
    """Only the first so many rows of the source; null takes all."""


class CorpusSpec(Settings):
    """What is read, what is kept, what is held out."""

    sources: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], SourceSpec] = Field(min_length=1)
    """The sources by name; of two equal texts the first one in this order stays."""
    min_words: PositiveInt = 20
    """Documents with fewer words are rejected as too_short."""
    max_words: PositiveInt = 2000
    """Documents with more words are rejected as too_long."""
    heldout_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of documents, by hash of their id, that is never trained on."""
    shard_documents: PositiveInt = 256
    """Documents in a shard: the unit of work, of retry and of what a killed run repeats."""
    bad_rows: Literal["fail", "reject"] = "fail"
    """A row whose text is missing or empty ends the stage (fail) or is counted and left out (reject)."""

    def defining(self) -> dict[str, Any]:
        """The settings that define a result; the order of the sources is one of them."""
        return super().defining() | {"order": list(self.sources)}

    @model_validator(mode="after")
    def _window_is_open(self) -> "CorpusSpec":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} must not exceed max_words={self.max_words}")
        return self
