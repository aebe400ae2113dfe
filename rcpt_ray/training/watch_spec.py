"""Settings of what is measured while training and where it is shown."""

from rcpt_ray.settings import PositiveInt, Settings


class WatchSpec(Settings):
    """Rows on disk and TensorBoard files are always written."""

    heldout_every_steps: PositiveInt | None = None
    """Steps between measurements of held-out bits per byte by domain; null measures after training alone."""
    heldout_documents: PositiveInt = 64
    """Held-out documents of each domain in such a measurement."""
    mlflow: str | None = None
    """Tracking URI of MLflow; null does not use it."""
    wandb: str | None = None
    """Project of Weights & Biases; null does not use it."""
