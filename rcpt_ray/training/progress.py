"""A training's progress in a few words: loss, speed, use of the device, held-out bits per byte, time left."""

import statistics
from collections import deque

from rcpt_ray.terminal import Bar, duration
from rcpt_ray.training.heldout import mean_bits
from rcpt_ray.training.row_file import Row

_STEPS_BEHIND = 20


class TrainingProgress:
    """Shows the rows of trainings, which run one after the other, on a bar."""

    def __init__(self, bar: Bar, num_steps: int) -> None:
        self._bar, self._num_left = bar, num_steps
        self._seconds = deque[float](maxlen=_STEPS_BEHIND)
        self._heldout: list[Row] = []
        self._said = ""
        bar.total(num_steps)

    def show(self, row: Row) -> str:
        """Take a row of records.STEP or records.HELDOUT_BITS; returns what is said now."""
        if "bits_per_byte" in row:
            self._heldout = [one for one in self._heldout if one["step"] == row["step"]] + [row]
            return self._said
        if row["step"] == 0 and self._heldout and self._heldout[-1]["step"] > 0:
            self._heldout = []  # the next training
        self._num_left -= 1
        self._seconds.append(row["seconds"] + row["wait_seconds"] + row["pause_seconds"])
        self._bar.advance()
        self._said = self.words(row)
        self._bar.note(self._said)
        return self._said

    def words(self, row: Row) -> str:
        """What is said after a step."""
        said = [f"loss {row['loss']:.3f}", f"{row['tokens_per_s']:,.0f} tokens/s", f"MFU {row['mfu']:.0%}"]
        bits = mean_bits(self._heldout)
        if bits is not None:
            said.append(f"held-out {bits:.3f} bits/byte")
        if self._num_left > 0:
            said.append(f"{duration(self._num_left * statistics.mean(self._seconds))} left")
        return ", ".join(said)
