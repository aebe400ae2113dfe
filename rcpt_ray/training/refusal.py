"""A user's mistake that one rank comes to, told to the others and to the command.

The rank leaves word and fails, which ends its attempt at once, where returning would let the other ranks wait for it.
The next attempt finds the word and returns it, on every rank.
"""

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.errors import UserError
from rcpt_ray.training.job import TrainingJob

_FILE = "refused.txt"


def refuse(job: TrainingJob, mistake: UserError) -> None:
    """Leave word of a mistake in the job's folder."""
    write_atomic(job.folder / _FILE, str(mistake))


def refusal_of(job: TrainingJob) -> UserError | None:
    """The mistake that an attempt of this command came to."""
    file = job.folder / _FILE
    return UserError(file.read_text(encoding="utf-8")) if file.exists() else None


def forget_refusal(job: TrainingJob) -> None:
    """What an earlier command came to may be mended."""
    (job.folder / _FILE).unlink(missing_ok=True)
