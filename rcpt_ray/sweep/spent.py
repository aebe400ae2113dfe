"""What the stages of trials took, each counted once however many trials stand on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rcpt_ray.sweep.result import StageUse, TrialResult
from rcpt_ray.sweep.spec import BudgetSpec


@dataclass(frozen=True)
class Spent:
    """What stages took."""

    num_stages: int
    seconds: float
    gpu_hours: float
    cost: float | None
    """None where no price is known."""
    engine_requests: int

    def reason_to_end(self, budget: BudgetSpec) -> str | None:
        """Which part of the budget is spent, in words; None where none is."""
        if budget.gpu_hours is not None and self.gpu_hours >= budget.gpu_hours:
            return f"{self.gpu_hours:.2f} GPU-hours of sweep.budget.gpu_hours={budget.gpu_hours:g} are spent"
        if budget.cost is not None and self.cost is not None and self.cost >= budget.cost:
            return f"{self.cost:.2f} of sweep.budget.cost={budget.cost:g} is spent"
        return None


def spent_on(uses: Sequence[StageUse]) -> Spent:
    """The sum over uses of stages."""
    costs = [use.cost for use in uses if use.cost is not None]
    return Spent(
        len(uses),
        sum(use.seconds for use in uses),
        sum(use.gpu_hours for use in uses),
        sum(costs) if costs else None,
        sum(use.engine_requests for use in uses),
    )


def used_by(results: Sequence[TrialResult]) -> list[StageUse]:
    """The stages that these trials stand on, each once."""
    return _each_once(use for result in results for use in result.stages.values())


def made_by(results: Sequence[TrialResult]) -> list[StageUse]:
    """The stages that these trials made, each once."""
    return _each_once(use for result in results for use in result.stages.values() if use.made_here)


def _each_once(uses: Iterable[StageUse]) -> list[StageUse]:
    """One use of each stage: finished where one trial finished it, else as far as it came."""
    found: dict[str, StageUse] = {}
    for use in uses:
        known = found.setdefault(use.fingerprint, use)
        if (use.is_finished, use.seconds) > (known.is_finished, known.seconds):
            found[use.fingerprint] = use
    return list(found.values())
