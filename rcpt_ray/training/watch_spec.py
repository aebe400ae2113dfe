"""Settings of what is measured while training and where it is shown."""

from pydantic import Field

from rcpt_ray.settings import PositiveInt, Settings


class WatchSpec(Settings):
    """Rows on disk and TensorBoard files are always written."""

    heldout_every_steps: PositiveInt | None = None
    """Steps between measurements of held-out bits per byte by domain, which are then also made before the first step
    and after the last; null leaves it to the evaluation."""
    heldout_documents: PositiveInt = 64
    """Held-out documents of each domain in such a measurement, the same every time."""
    heldout_max_length_tokens: PositiveInt = 2048
    """Longest context in it; longer documents are scored in windows. Figures compare with the evaluation's where
    evaluation.max_length_tokens is the same."""
    mlflow: str | None = Field(default=None, min_length=1)
    """Tracking URI of MLflow, such as sqlite:////data/mlflow.db; null does not use it."""
    wandb: str | None = Field(default=None, min_length=1)
    """Project of Weights & Biases; null does not use it."""
