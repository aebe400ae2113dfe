"""Settings of the mixture stage."""

from typing import Literal

from pydantic import Field, model_validator

from rcpt_ray.settings import PositiveInt, Settings

STAGE_VERSION = 1


class MixtureSpec(Settings):
    """How documents and thoughts are laid out, blended by tokens and packed."""

    layout: Literal["thought_first", "document_first", "text_only"] = "thought_first"
    """The order of thought and text in a document of kind `thought`; text_only leaves thoughts out."""
    documents: Literal["with_thought", "all"] = "with_thought"
    """Raw components draw from documents whose thought was kept, or from all; text_only with all needs no thoughts."""
    thought_open: str = "<thought>\n"
    """Written before a thought."""
    thought_close: str = "\n</thought>\n\n"
    """Written after a thought."""
    row_tokens: int = Field(default=512, ge=16)
    """T, the tokens in a packed row."""
    weights: dict[str, float] | None = None
    """Shares of tokens by `source/kind`, kind raw or thought, for example {stem/thought: 0.7, law/raw: 0.3}.
    Null takes each source at its size, as thought (or raw, with text_only)."""
    num_tokens: PositiveInt | None = None
    """Token budget; null takes what is there once, as far as the weights allow."""
    match_tokens_of: str | None = None
    """Take the token budget of this arm's mixture (the token-matched control)."""
    max_repeats: float = Field(default=4.0, ge=1.0)
    """A component is passed over at most so often; a budget that needs more is refused."""

    @model_validator(mode="after")
    def _weights_and_budget_agree(self) -> "MixtureSpec":
        if self.num_tokens is not None and self.match_tokens_of is not None:
            raise ValueError("num_tokens and match_tokens_of exclude each other; set one of them to null")
        for component, weight in (self.weights or {}).items():
            _, _, kind = component.rpartition("/")
            if kind not in ("raw", "thought") or "/" not in component:
                raise ValueError(f"weights.{component} must be named source/raw or source/thought")
            if kind == "thought" and self.layout == "text_only":
                raise ValueError(f"weights.{component} needs a layout with thoughts, not text_only")
            if weight < 0:
                raise ValueError(f"weights.{component}={weight} must not be negative")
        if self.weights is not None and abs(sum(self.weights.values()) - 1.0) > 1e-6:
            raise ValueError(f"weights sum to {sum(self.weights.values()):g}; shares of tokens must sum to 1")
        return self

    @property
    def needs_thoughts(self) -> bool:
        """Whether any row of this mixture depends on the thoughts."""
        return self.layout != "text_only" or self.documents == "with_thought"
