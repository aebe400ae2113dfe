"""Where a sweep looks next: through a grid, evenly at random, or where Optuna expects the most.

Optuna sees the unit cube of the space: a number for each range and each share, a choice for each list of values; it
models what it was told of whole points, the mean over their seeds, by tree-structured Parzen estimators (Bergstra et
al. 2011), with several objectives too.
"""

import statistics
from collections.abc import Container, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from rcpt_ray.sweep.result import TrialResult
from rcpt_ray.sweep.space import Settings, grid_points, key_of, point_at, random_points
from rcpt_ray.sweep.spec import SimplexAxis, SweepSpec, ValuesAxis

_MOST_KNOWN = 10_000
_MOST_ASKED = 200
"""Points that were known already, one after another, after which a space counts as exhausted."""

Asked = tuple[Settings, dict[str, float]]
"""A point, and where it was looked in the searcher's own terms."""


class Searcher(Protocol):
    """Where to look next."""

    def ask(self, known: Container[str]) -> Asked | None:
        """The next point whose key is not known; None where there are no more."""

    def tell(self, results: Sequence[TrialResult]) -> None:
        """All results of a point, in any order of points."""


def searcher_of(sweep: SweepSpec, seed: int) -> Searcher:
    """A sweep's searcher at its beginning."""
    match sweep.searcher:
        case "grid":
            return Listed(iter(grid_points(sweep.space)))
        case "random":
            return Listed(random_points(sweep.space, seed))
        case "optuna":
            return OptunaSearcher(sweep, seed)


class Listed:
    """Points in an order of their own."""

    def __init__(self, points: Iterator[Settings]) -> None:
        self._points = points

    def ask(self, known: Container[str]) -> Asked | None:
        """The next one."""
        for point in islice(self._points, _MOST_KNOWN):
            if key_of(point) not in known:
                return point, {}
        return None

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Changes nothing."""


class OptunaSearcher:
    """Points that Optuna asks for."""

    def __init__(self, sweep: SweepSpec, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep = sweep
        self._distributions = _distributions(sweep)
        self._study = optuna.create_study(
            directions=[objective.goal for objective in sweep.objectives.values()],
            # Trials run side by side: those that are not finished yet count as bad ones, so that they differ.
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True),
        )
        self._waiting: dict[str, Any] = {}

    def ask(self, known: Container[str]) -> Asked | None:
        """Where the model of what was told so far expects the most."""
        import optuna

        for _ in range(_MOST_ASKED):
            trial = self._study.ask(self._distributions)
            asked = {name: float(value) for name, value in trial.params.items()}
            point = self._point(asked)
            if key_of(point) not in known:
                self._waiting[_key(asked)] = trial
                return point, asked
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def tell(self, results: Sequence[TrialResult]) -> None:
        """A point that was asked for, now or by an earlier command; one with a trial that is not ok has failed."""
        import optuna

        asked = results[0].trial.asked
        ok = all(result.status == "ok" for result in results)
        values = [statistics.fmean(each.objectives[name] for each in results) for name in self._sweep.objectives if ok]
        state = optuna.trial.TrialState.COMPLETE if ok else optuna.trial.TrialState.FAIL
        waiting = self._waiting.pop(_key(asked), None)
        if waiting is not None:
            self._study.tell(waiting, values if ok else None, state=state)
        elif asked:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=self._params(asked),
                    distributions=self._distributions,
                    values=values if ok else None,
                    state=state,
                )
            )

    def _params(self, asked: dict[str, float]) -> dict[str, Any]:
        import optuna

        is_range = {
            name: isinstance(own, optuna.distributions.FloatDistribution) for name, own in self._distributions.items()
        }
        return {name: value if is_range[name] else int(value) for name, value in asked.items()}

    def _point(self, asked: dict[str, float]) -> Settings:
        unit_D: list[float] = []
        for setting, axis in self._sweep.space.items():
            match axis:
                case SimplexAxis():
                    unit_D += [asked[f"{setting}.{component}"] for component in axis.components]
                case ValuesAxis():
                    unit_D.append((asked[setting] + 0.5) / len(axis.values))
                case _:
                    unit_D.append(asked[setting])
        return point_at(unit_D, self._sweep.space)


def _distributions(sweep: SweepSpec) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for setting, axis in sweep.space.items():
        match axis:
            case SimplexAxis():
                found |= {f"{setting}.{component}": FloatDistribution(0.0, 1.0) for component in axis.components}
            case ValuesAxis():
                last = len(axis.values) - 1
                ordered = axis.is_numeric and axis.values == sorted(axis.values)
                found[setting] = IntDistribution(0, last) if ordered else CategoricalDistribution(range(last + 1))
            case _:
                found[setting] = FloatDistribution(0.0, 1.0)
    return found


def _key(asked: dict[str, float]) -> str:
    return repr(sorted(asked.items()))
