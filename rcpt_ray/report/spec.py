"""Settings of the report."""

from pydantic import Field

from rcpt_ray.settings import Settings

STAGE_VERSION = 3


class ReportSpec(Settings):
    """What the report shows."""

    num_examples: int = Field(default=10, ge=0, le=50)
    """Thoughts shown beside their texts."""
    baseline: str = "base"
    """The arm that differences are taken against."""
    control: str | None = None
    """The arm of standard CPT that gains are taken against too; null takes the first trained arm with
    mixture.layout=text_only, one that is not matched in tokens before one that is."""
