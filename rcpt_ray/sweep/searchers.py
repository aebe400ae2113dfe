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
from rcpt_ray.sweep.space import Settings, grid_points, key_of, point_at, random_points, unit_of
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
        self._known: dict[str, list[float]] = {}

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
        """A point that was asked for, now or by an earlier command, or that Optuna did not ask for.

        One that was given up or cannot be had counts as bad as the worst known: as no answer it would be looked at
        again and again.
        """
        import optuna

        asked = results[0].trial.asked or self._asked_for(results[0].trial.point)
        if asked is None:
            return
        values = self._values_of(results)
        state = optuna.trial.TrialState.FAIL if values is None else optuna.trial.TrialState.COMPLETE
        waiting = self._waiting.pop(_key(asked), None)
        if waiting is not None:
            self._study.tell(waiting, values, state=state)
            return
        self._study.add_trial(
            optuna.trial.create_trial(
                params=self._params(asked), distributions=self._distributions, values=values, state=state
            )
        )

    def _values_of(self, results: Sequence[TrialResult]) -> list[float] | None:
        """Means of the objectives over a point's seeds; None where nothing is known to go by."""
        values: list[float] = []
        for name, spec in self._sweep.objectives.items():
            known = self._known.setdefault(name, [])
            own = [result.objectives[name] for result in results if result.status == "ok"]
            known += own
            bad = [result for result in results if result.status in ("stopped", "refused")]
            if known:
                own += [max(known) if spec.goal == "minimize" else min(known)] * len(bad)
            if own:
                values.append(statistics.fmean(own))
        return values if len(values) == len(self._sweep.objectives) else None

    def _asked_for(self, point: Settings) -> dict[str, float] | None:
        """Where Optuna would have looked to find a point; None where its space does not hold it."""
        unit_D = unit_of(point, self._sweep.space)
        if unit_D is None:
            return None
        asked: dict[str, float] = {}
        places = iter(unit_D)
        for setting, axis in self._sweep.space.items():
            match axis:
                case SimplexAxis():
                    asked |= {f"{setting}.{component}": next(places) for component in axis.components}
                case ValuesAxis():
                    asked[setting] = float(int(next(places) * len(axis.values)))
                case _:
                    asked[setting] = next(places)
        return asked

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
