"""Settings of the streaming feed."""

from rcpt_ray.settings import PositiveInt, Settings


class StreamSpec(Settings):
    """How training draws from thoughts that are still being written."""

    num_steps: PositiveInt | None = None
    """Steps that the schedule is made for; null takes an estimate from corpus, thought length and mixture."""
    pool_rows: PositiveInt = 64
    """Packed rows' worth of documents that wait before rows are packed: more give better packing and blends."""
