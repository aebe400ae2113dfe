"""Settings of the scores stage, which runs only where the select settings need a score."""

from typing import Annotated

from pydantic import Field

from rcpt_ray.settings import NOT_IN_FINGERPRINT, ModelSpec, PositiveInt, Settings

SCORES_VERSION = 1


class ScoresSpec(Settings):
    """What thoughts are scored with."""

    student: Annotated[ModelSpec | None, NOT_IN_FINGERPRINT] = None
    """The model whose saved bits are the gain; null takes the recipe's student."""
    critic: str = Field(default="critic", pattern=r"^[a-z][a-z0-9_]*$")
    """The file in rcpt_ray/thoughts/critics that asks the teacher for a digit from 1 to 5."""
    max_model_tokens: PositiveInt | None = None
    """Context of the scoring engines; null takes the model's own. Longer rows get no score."""
