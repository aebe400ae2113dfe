"""Settings of the select stage: which thoughts are used and how much of each. Changing them calls no engine."""

from typing import Annotated, Literal

from pydantic import Field

from rcpt_ray.settings import NOT_IN_FINGERPRINT, PositiveInt, Settings, Share

SELECT_VERSION = 2


class SelectSpec(Settings):
    """What becomes of a generated thought, in this order: reasoning span, truncation, gates, choice."""

    reasoning_span: Literal["drop", "only", "keep"] = "drop"
    """What becomes of a reasoning model's own `<think>` span: left out, taken alone, or kept without its tags."""
    max_thought_tokens: PositiveInt | None = None
    """Truncate to so many tokens of the teacher, at the last end of a sentence before; null keeps all."""
    min_thought_tokens: int = Field(default=16, ge=0)
    """Thoughts with fewer tokens are rejected as too_short."""
    cut_off: Literal["keep", "trim", "reject"] = "keep"
    """What becomes of a thought that ended at the hard limit: kept, trimmed to its last whole sentence, rejected."""
    max_loop_share: Share | None = None
    """Reject as loop where more than this share of the thought's 8-word sequences occurred in it before."""
    max_copy_share: Share | None = None
    """Reject as copy where more than this share of the thought's 8-word sequences stand in the document."""
    max_prompt_share: Share | None = None
    """Reject as prompt_leak where more than this share of the thought's 5-word sequences stand in the prompt."""
    same_language: bool = False
    """Reject as wrong_language where thought and document differ in language; below 80 letters nothing is judged."""
    min_logprob_per_token: float | None = Field(default=None, le=0.0)
    """Reject as improbable where the teacher's mean log-probability, in nats a token, is lower."""
    min_gain_bits: float | None = None
    """Reject as no_gain where the thought saves the scores' student fewer bits on the text."""
    min_critic_score: float | None = Field(default=None, ge=1.0, le=5.0)
    """Reject as poor where the critic's score (1 to 5) is lower."""
    choose: Literal["first", "logprob", "gain", "critic"] = "first"
    """Which of a document's samples that pass every gate is used: the first, or the best by a score."""
    num_workers: Annotated[PositiveInt | None, NOT_IN_FINGERPRINT] = None
    """Workers on Ray that select; null takes a worker a CPU where there are many thoughts, else none."""

    @property
    def needs_gain(self) -> bool:
        """Whether the scores stage must measure the gain."""
        return self.min_gain_bits is not None or self.choose == "gain"

    @property
    def needs_critic(self) -> bool:
        """Whether the scores stage must ask the critic."""
        return self.min_critic_score is not None or self.choose == "critic"
