"""Whether there is room for one more evaluation beside a training. Pure arithmetic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs as Ray counts them."""

    cpus: float
    gpus: float


def has_room(need: Resources, num_running: int, total: Resources, available: Resources, reserved: Resources) -> bool:
    """Whether `need` is free now and would still be when others hold all that is `reserved` for them.

    `num_running` evaluations hold as much already. Two CPUs, one of them reserved: there is room for one evaluation.

    >>> one, two = Resources(1, 0), Resources(2, 0)
    >>> has_room(one, 0, total=two, available=one, reserved=one), has_room(one, 0, two, available=two, reserved=two)
    (True, False)
    """

    def fits(need: float, total: float, available: float, reserved: float) -> bool:
        return need <= available and need * (num_running + 1) + reserved <= total

    return fits(need.cpus, total.cpus, available.cpus, reserved.cpus) and (
        not need.gpus or fits(need.gpus, total.gpus, available.gpus, reserved.gpus)
    )
