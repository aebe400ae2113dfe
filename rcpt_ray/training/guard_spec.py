"""Settings of what ends a training early."""

from pathlib import Path

from pydantic import Field, field_validator

from rcpt_ray.settings import PositiveInt, Settings, Share


class OthersSpec(Settings):
    """The other trainings of a sweep that this one is compared with while it goes on; a sweep sets it for each of its
    trials by sweep.early_stop, nobody by hand."""

    folder: str
    """Where each training leaves its curve of held-out bits per byte, on a disk that every worker sees."""
    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    """What this one's curve is called there."""
    after_share: Share = 0.3
    """It is not given up before this share of its steps."""
    min_others: PositiveInt = 3
    """Trainings that must have come as far before it is compared with them."""

    @field_validator("folder")
    @classmethod
    def _is_absolute(cls, folder: str) -> str:
        if not Path(folder).is_absolute():
            raise ValueError(f"{folder} is no absolute path, and workers have working folders of their own; give one")
        return folder


class GuardSpec(Settings):
    """A loss or a gradient that is no number always stops a training; a spike of the loss does so beyond a bound."""

    loss_spike: float | None = Field(default=3.0, gt=0.0)
    """Nats a token above the median of the window; null never stops for a spike."""
    window_steps: PositiveInt = 32
    """Steps behind that the median is taken of; from the eighth step on it is taken of those that there are."""
    others: OthersSpec | None = None
    """Give the training up where it falls behind others; null compares it with none."""
