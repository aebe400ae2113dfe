"""Settings of what ends a training early."""

from pydantic import Field

from rcpt_ray.settings import PositiveInt, Settings


class GuardSpec(Settings):
    """A loss or a gradient that is no number always stops a training; a spike of the loss does so beyond a bound."""

    loss_spike: float | None = Field(default=3.0, gt=0.0)
    """Nats a token above the median of the window; null never stops for a spike."""
    window_steps: PositiveInt = 32
    """Steps behind that the median is taken of; from the eighth step on it is taken of those that there are."""
