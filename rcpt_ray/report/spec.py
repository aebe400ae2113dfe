"""Settings of the report."""

from pydantic import Field

from rcpt_ray.settings import Settings

STAGE_VERSION = 1


class ReportSpec(Settings):
    """What the report shows."""

    num_examples: int = Field(default=5, ge=0, le=50)
    """Thoughts shown beside their texts."""
    baseline: str = "base"
    """The arm that differences are taken against."""
