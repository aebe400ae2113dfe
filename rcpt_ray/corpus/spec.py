"""Settings of the corpus stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rcpt_ray.corpus.presets import preset_fields
from rcpt_ray.corpus.reading.paths import DataPath
from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings, Share

STAGE_VERSION = 3
TRAIN_PARTS = "part-train-*.parquet"
REPLAY_PARTS = "part-replay-*.parquet"
HELDOUT_PARTS = "part-heldout-*.parquet"

Preset = Literal["openwebmath", "freelaw"]
Markup = Literal["plain", "latex", "markdown"]
Furniture = Literal["court", "page"]
QualityFilter = Literal["gopher_quality", "gopher_repetition", "fineweb"]


class SourceSpec(Settings):
    """One source: files of one domain with the same columns."""

    path: DataPath
    """A file, a folder or a glob of .parquet, .jsonl, .txt, .md, .tex files, each also as .gz or .zst; local, s3://, gs://,
    `samples://` for the samples in the package, or `hf://owner/name` for a dataset of the Hugging Face hub. Of a folder
    the tables are read (.parquet, .arrow, .jsonl) or, where there are none, the texts; a glob takes what it names."""
    preset: Annotated[Preset | None, NOT_IN_FINGERPRINT] = None
    """Takes columns, cleaning and filters of a known corpus; what the recipe sets itself goes first."""
    domain: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """The domain that evaluation groups by, such as stem or law."""
    role: Literal["study", "replay"] = "study"
    """study: documents that get thoughts; replay: general text against forgetting, which no thought is written for."""
    text_column: str = "text"
    """The column with the text; `a.b` is field b of column a; texts of a list are joined by an empty line."""
    segment_columns: list[str] | None = None
    """Columns that hold a document's segments in their order (a problem, its conclusion), instead of text_column; a
    thought is interleaved before the last of them."""
    id_column: str | None = "id"
    """The column with an id that is unique within the source; null takes a hash of the text."""
    where: dict[str, list[str]] = Field(default_factory=dict)
    """Only rows whose column (`a.b` too) holds one of these values; others are rejected as not_wanted."""
    subset: str | None = None
    """With hf://, the subset (configuration) of the dataset."""
    split: str = "train"
    """With hf://, the split of the dataset."""
    revision: str | None = None
    """With hf://, a commit of the hub; null takes the newest."""
    markup: Markup | None = None
    """What the text is written in; null goes by the ending of a file (.tex, .md), else plain."""
    furniture: list[Furniture] = Field(default_factory=list)
    """What surrounds the text and is cut away: court (captions, counsel, docket numbers before an opinion), page (page
    numbers, running heads, lines broken in the middle of a sentence)."""
    quality: list[QualityFilter] | None = None
    """Quality filters of this source; null takes corpus.quality."""
    max_documents: PositiveInt | None = None
    """Only the first so many rows of the source, whether they are wanted or not; null takes all."""

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("preset"), str):
            return preset_fields(values["preset"]) | values
        return values


class NearDuplicatesSpec(Settings):
    """MinHash with banding (Broder 1997; Lee et al., arXiv 2107.06499): documents that share most of their n-grams."""

    ngram_words: PositiveInt = 5
    """Words in an n-gram."""
    num_bands: int = Field(default=14, ge=1, le=256)
    """Bands of the signature; two documents that agree in one of them are compared."""
    rows_per_band: int = Field(default=8, ge=1, le=64)
    """Hashes in a band; with b bands of r, half of the pairs with Jaccard similarity (1/b)^(1/r) are compared."""
    min_similarity: Share = 0.65
    """Least share of equal hashes in the whole signature of two documents that count as near duplicates."""


class DecontaminationSpec(Settings):
    """Documents and thoughts that share an n-gram with a question that the student is evaluated on."""

    ngram_words: PositiveInt = 13
    """Words in an n-gram, as in Brown et al., arXiv 2005.14165, appendix C; shorter questions are looked for whole."""
    min_words: PositiveInt = 8
    """Questions with fewer words are not looked for: they would be found everywhere."""
    more_paths: Annotated[list[DataPath], NOT_IN_FINGERPRINT] = Field(default_factory=list)
    """Files of questions or texts beside the recipe's evaluation sets, in any form that a source may have."""


class CorpusSpec(Settings):
    """What is read, how it is cleaned, what is kept, what is held out."""

    sources: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], SourceSpec] = Field(min_length=1)
    """The sources by name; of two equal texts the first one in this order stays."""
    repair_encoding: bool = True
    """Mend mojibake, ligatures, control characters and line ends (ftfy), and bring the text into Unicode's form C."""
    passage_tokens: Annotated[int, Field(ge=16)] | None = None
    """Cut documents into passages of at most so many of the student's tokens, at the ends of paragraphs where there are
    some; null keeps documents whole. Documents with more than one segment are not cut."""
    min_words: PositiveInt = 20
    """Documents (or passages) with fewer words are rejected as too_short."""
    max_words: PositiveInt = 2000
    """Documents (or passages) with more words are rejected as too_long."""
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]] | None = None
    """Languages that are kept, as ISO 639-1 codes in small letters (py3langid); others are rejected as other_language.
    A document of mostly formulas or names is of none and is kept."""
    quality: list[QualityFilter] = Field(default_factory=list)
    """Filters of datatrove, by the names of the corpora they were made for; what they refuse is rejected by their
    reason."""
    near_duplicates: NearDuplicatesSpec | None = NearDuplicatesSpec()
    """Reject near duplicates of a document before; null keeps them."""
    decontaminate: DecontaminationSpec | None = DecontaminationSpec()
    """Reject documents and thoughts that hold a question of the evaluation; null keeps them."""
    heldout_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of documents, by hash of their id, that is never trained on; passages go with their document."""
    shard_documents: PositiveInt = 256
    """Documents in a shard: the unit of work, of retry and of what a killed run repeats."""
    bad_rows: Literal["fail", "reject"] = "fail"
    """A row or file that cannot be read, or has no text, ends the stage (fail) or is counted and left out (reject)."""
    num_workers: Annotated[PositiveInt | None, NOT_IN_FINGERPRINT] = None
    """Workers on Ray that read and clean; null takes a worker a CPU where there is much to read, else none."""

    def defining(self) -> dict[str, Any]:
        """The settings that define a result; the order of the sources is one of them."""
        return super().defining() | {"order": list(self.sources)}

    @model_validator(mode="after")
    def _window_is_open(self) -> "CorpusSpec":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} must not exceed max_words={self.max_words}")
        return self
