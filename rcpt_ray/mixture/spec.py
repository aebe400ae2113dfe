"""Settings of the mixture stage."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings, Share

STAGE_VERSION = 2

Layout = Literal["thought_first", "document_first", "interleaved", "text_only", "paraphrase"]
Kind = Literal["raw", "thought", "paraphrase", "replay"]


class MixtureSpec(Settings):
    """How documents and thoughts are laid out, blended by tokens and packed."""

    layout: Layout = "thought_first"
    """The order of thought and text in a document of kind `thought`; interleaved puts the thought before the last of
    the document's segments; text_only leaves thoughts out; paraphrase joins texts with paraphrases instead."""
    documents: Literal["with_thought", "all"] = "with_thought"
    """Raw components draw from documents whose thought (or paraphrase, in that layout) was kept, or from all; text_only
    with all needs no thoughts."""
    thought_open: str = "<thought>\n"
    """Written before a thought."""
    thought_close: str = "\n</thought>\n\n"
    """Written after a thought."""
    delimiters: Literal["plain", "special"] = "plain"
    """plain: thought_open and thought_close are text like any other; special: each, without white space around it, is
    one token of its own, added to the student's vocabulary where it is not there."""
    document_start: Literal["bos", "eos", "none"] = "bos"
    """The token before a document: the tokenizer's bos where it has one, its eos, or none."""
    paraphrase_prompt: str = "paraphrase"
    """The prompt that the teacher writes paraphrases with, where a component of that kind is asked for."""
    row_tokens: int = Field(default=512, ge=16, le=131_072)
    """T, the tokens in a packed row."""
    packing: Literal["best_fit", "concatenate"] = "best_fit"
    """best_fit splits no document unless it is longer than a row; concatenate splits at every row's end and pads only
    the last row of each 4 million tokens."""
    weights: dict[str, float] | None = None
    """Shares of tokens by `source/kind`, for example {stem/thought: 0.7, law/raw: 0.2, web/replay: 0.1}; the kinds are
    raw, thought, paraphrase and, for sources of that role, replay. Null takes each source at its size, in the layout's
    kind. A layout without thoughts takes its own kind instead, so that arms can differ in the layout alone. The same
    documents are drawn first in every kind."""
    thought_share: Share | None = None
    """Of the tokens that weights give to a source/thought, the share that comes as documents with their thought (in
    layout=paraphrase with their paraphrase), the rest being the texts alone, as source/raw; null is all of them.
    layout=text_only ignores it."""
    num_tokens: PositiveInt | None = None
    """Token budget; null takes what is there once, as far as the weights allow."""
    match_tokens_of: str | None = None
    """Take the token budget of this arm's mixture (the token-matched control), and where weights are null its shares of
    tokens by source too."""
    match_documents_of: str | None = None
    """Draw the documents of this arm's mixture, as often as there, as text alone (the document-matched control); then
    weights count for nothing."""
    max_repeats: float = Field(default=4.0, ge=1.0)
    """A component is passed over at most so often; a budget that needs more is refused."""
    num_workers: Annotated[PositiveInt | None, NOT_IN_FINGERPRINT] = None
    """Workers on Ray that tokenize and pack; null takes a worker a CPU where there is much to do, else none."""

    @model_validator(mode="after")
    def _weights_and_budget_agree(self) -> "MixtureSpec":
        budgets = [name for name in ("num_tokens", "match_tokens_of", "match_documents_of") if getattr(self, name)]
        if len(budgets) > 1:
            raise ValueError(f"{budgets[0]} and {budgets[1]} exclude each other; set one of them to null")
        for component, weight in (self.weights or {}).items():
            source, _, kind = component.rpartition("/")
            if kind not in get_args(Kind) or not source:
                raise ValueError(f"weights.{component} must be named source/kind, kind {', '.join(get_args(Kind))}")
            if weight < 0:
                raise ValueError(f"weights.{component}={weight} must not be negative")
        if self.weights is not None and abs(sum(self.weights.values()) - 1.0) > 1e-6:
            raise ValueError(f"weights sum to {sum(self.weights.values()):g}; shares of tokens must sum to 1")
        return self

    @model_validator(mode="after")
    def _thought_share_has_weights_to_split(self) -> "MixtureSpec":
        if self.thought_share is None or self.layout == "text_only":
            return self
        given = f"thought_share={self.thought_share:g}"
        if self.weights is None:
            if self.matched_to is None:
                raise ValueError(
                    f"{given} splits the weights of source/thought, but weights=null names none; give weights such as "
                    "{stem/thought: 1.0}, or set thought_share to null"
                )
            return self
        used = [component for component, weight in self.weights.items() if weight > 0]
        thoughts = [component for component in used if component.endswith("/thought")]
        for component in thoughts:
            raw = component.removesuffix("thought") + "raw"
            if raw in used:
                raise ValueError(
                    f"{given} makes a share of {component} raw, but weights.{raw}={self.weights[raw]:g} does so too; "
                    "leave one of them out"
                )
        if not thoughts and not all(component.endswith("/replay") for component in used):
            raise ValueError(
                f"{given} splits the weights of source/thought, but weights name only {', '.join(used)}; weigh a "
                "source as source/thought, or set thought_share to null"
            )
        return self

    @model_validator(mode="after")
    def _controls_and_delimiters_agree(self) -> "MixtureSpec":
        if self.match_documents_of is not None and self.layout != "text_only":
            raise ValueError("match_documents_of needs layout=text_only: the other arm gives the draws")
        if self.delimiters == "special" and (
            not self.thought_open.strip()
            or not self.thought_close.strip()
            or self.thought_open.strip() == self.thought_close.strip()
        ):
            raise ValueError(
                "delimiters=special needs a thought_open and a thought_close that differ; give both a name"
            )
        return self

    def defining(self) -> dict[str, Any]:
        """The settings that define a result: a thought_share as the weights that come of it."""
        values = super().defining()
        thought_share = values.pop("thought_share")
        if thought_share is None or self.layout == "text_only":
            return values
        return values | ({"thought_share": thought_share} if self.weights is None else {"weights": self.shares})

    @property
    def own_kind(self) -> Kind:
        """The kind that a source is taken as where no weights are given."""
        match self.layout:
            case "text_only":
                return "raw"
            case "paraphrase":
                return "paraphrase"
            case _:
                return "thought"

    @property
    def special_tokens(self) -> list[str]:
        """The delimiters that are tokens of their own: opening, closing."""
        return [self.thought_open.strip(), self.thought_close.strip()] if self.delimiters == "special" else []

    @property
    def shares(self) -> dict[str, float] | None:
        """The weights above zero in the kinds that the layout has, those of thoughts split by thought_share."""
        if self.weights is None:
            return None
        shares: dict[str, float] = {}
        for component, weight in self.weights.items():
            source, _, kind = component.rpartition("/")
            parts: dict[str, float] = {kind: 1.0}
            if kind == "thought":
                parts = self._thought_parts
            elif kind == "paraphrase" and self.layout == "text_only":
                parts = {"raw": 1.0}
            for taken_as, part in parts.items():
                if weight * part > 0:
                    name = f"{source}/{taken_as}"
                    shares[name] = shares.get(name, 0.0) + weight * part
        return shares

    @property
    def kinds(self) -> set[str]:
        """The kinds that are wanted of study sources."""
        if self.shares is None:
            return {kind for kind, part in self._thought_parts.items() if part > 0}
        return {component.rpartition("/")[2] for component in self.shares}

    @property
    def _thought_parts(self) -> dict[str, float]:
        """What a weight of source/thought is taken as, in shares of it."""
        if self.thought_share is None or self.layout == "text_only":
            return {self.own_kind: 1.0}
        return {self.own_kind: self.thought_share, "raw": 1 - self.thought_share}

    @property
    def matched_to(self) -> str | None:
        """The arm whose mixture this one is matched to."""
        return self.match_tokens_of or self.match_documents_of

    @property
    def needs_thoughts(self) -> bool:
        """Whether any row depends on thoughts of this arm; matched documents go by the other arm's."""
        if self.match_documents_of is not None:
            return False
        raw_needs = "raw" in self.kinds and self.documents == "with_thought" and self.layout != "paraphrase"
        return "thought" in self.kinds or raw_needs

    @property
    def needs_paraphrases(self) -> bool:
        """Whether any row of this mixture depends on paraphrases."""
        raw_needs = "raw" in self.kinds and self.documents == "with_thought" and self.layout == "paraphrase"
        return "paraphrase" in self.kinds or raw_needs
