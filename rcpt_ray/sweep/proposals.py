"""Which trials come next: the baselines, then what the searcher asks for; each point with every seed.

Invariants: no point is tried twice; the same recipe and results give the same trials, so a sweep that was killed goes
on with those that are left; nothing new is begun beyond the budget.
"""

from collections.abc import Sequence

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.result import Role, Trial, TrialResult
from rcpt_ray.sweep.searchers import searcher_of
from rcpt_ray.sweep.space import Settings, grid_points, grid_size, key_of, num_dimensions, point_at, stratified_point
from rcpt_ray.sweep.spec import SweepSpec
from rcpt_ray.sweep.spent import spent_on, used_by
from rcpt_ray.sweep.trial_recipe import own_point

KEPT = ("ok", "stopped")
"""How a trial has ended that is not tried again; a stopped one is where nothing is to be stopped any more."""
_MOST_IN_A_GRID = 10_000
_SMALLER = "take fewer values, or set sweep.searcher=random"


class Proposals:
    """Hands out trials one at a time, and hears what became of them."""

    def __init__(self, recipe: Recipe, before: Sequence[TrialResult] = ()) -> None:
        """`before` are the results of an earlier command; what is ok or stopped there is not tried again.

        Raises:
            UserError: the budget has no room for the baselines, or for all of a grid.
        """
        assert recipe.sweep is not None
        self.sweep = recipe.sweep
        self.seeds = self.sweep.seeds or recipe.comparison.seeds or [recipe.seed]
        self._kept = KEPT if self.sweep.early_stop is not None else ("ok",)
        _require_small_grid(self.sweep)
        self._searcher = searcher_of(self.sweep, recipe.seed)
        self._points: list[list[Trial]] = []
        self._known: set[str] = set()
        self._handed_out: set[str] = set()
        self._results: dict[str, TrialResult] = {}
        self._before: dict[str, TrialResult] = {}
        for role, point in _baselines(recipe, self.sweep):
            self._add(role, point, {})
        self.num_planned = self._plan()
        self._replay([result for result in before if result.trial.seed in self.seeds])

    @property
    def trials(self) -> list[Trial]:
        """All trials that are known by now, in their order."""
        return [trial for trials in self._points for trial in trials]

    @property
    def ended(self) -> list[TrialResult]:
        """What became of those that are not tried again by this command, in their order."""
        return [self._results[trial.name] for trial in self.trials if trial.name in self._results]

    @property
    def results(self) -> list[TrialResult]:
        """The same with what an earlier command left of those that are still to be tried again."""
        known = self._before | self._results
        return [known[trial.name] for trial in self.trials if trial.name in known]

    def peek(self) -> Trial | None:
        """A trial that nobody has had; None where the budget or the space has come to its end."""
        if self.reason_to_end() is not None:
            return None
        trial = self._open()
        while trial is None and self._ask():
            trial = self._open()
        return trial

    def next(self) -> Trial | None:
        """The same, handed out."""
        trial = self.peek()
        if trial is not None:
            self._handed_out.add(trial.name)
        return trial

    def tell(self, result: TrialResult) -> None:
        """Hear what became of a trial."""
        self._results[result.trial.name] = result
        own = [self._results.get(trial.name) for trial in self._points[result.trial.number]]
        if all(own):
            self._searcher.tell([one for one in own if one is not None])

    def reason_to_end(self) -> str | None:
        """Which part of the budget is spent, in words; None where there is some left."""
        return spent_on(used_by(self.results)).reason_to_end(self.sweep.budget)

    def _open(self) -> Trial | None:
        """The first trial that is still to be made."""
        taken = self._handed_out | self._results.keys()
        return next((trial for trial in self.trials if trial.name not in taken), None)

    def _add(self, role: Role, point: Settings, asked: dict[str, float]) -> None:
        self._known.add(key_of(point))
        number = len(self._points)
        self._points.append(
            [Trial(number=number, role=role, point=point, seed=seed, asked=asked) for seed in self.seeds]
        )

    def _ask(self) -> bool:
        """Ask the searcher for a point that is new; False where there is none, or no budget for it."""
        budget = self.sweep.budget.trials
        if budget is not None and (len(self._points) + 1) * len(self.seeds) > budget:
            return False
        asked = self._searcher.ask(self._known)
        if asked is None:
            return False
        self._add("searched", *asked)
        return True

    def _replay(self, before: Sequence[TrialResult]) -> None:
        """Ask once more for what an earlier command has asked for, and tell what became of it."""
        asked = {result.trial.number: result.trial for result in before}
        last = max(asked, default=-1)
        while len(self._points) <= last:
            trial = asked.get(len(self._points))
            if trial is not None and trial.asked:
                self._add("searched", trial.point, trial.asked)
            elif not self._ask():
                break
        known = {trial.name: trial for trial in self.trials}
        for result in before:
            if known.get(result.trial.name) != result.trial:
                continue
            if result.status in self._kept:
                self.tell(result)
            else:
                self._before[result.trial.name] = result

    def _plan(self) -> int:
        """Trials in all, as far as the space and the budget go."""
        budget, num_seeds = self.sweep.budget.trials, len(self.seeds)
        if budget is not None and len(self._points) * num_seeds > budget:
            raise UserError(
                f"sweep.budget.trials={budget} has no room for {len(self._points)} baseline(s) with {num_seeds} "
                "seed(s) each; raise it, or set sweep.add_baselines=false"
            )
        if self.sweep.searcher != "grid":
            assert budget is not None
            return budget // num_seeds * num_seeds
        keys = {key_of(point) for point in grid_points(self.sweep.space)} | self._known
        planned = len(keys) * num_seeds
        if budget is not None and planned > budget:
            raise UserError(
                f"sweep.budget.trials={budget} is less than the {planned} trials of the grid: {len(keys)} points with "
                f"{num_seeds} seed(s) each; raise it, {_SMALLER}"
            )
        return planned


def _require_small_grid(sweep: SweepSpec) -> None:
    size = grid_size(sweep.space)
    if sweep.searcher == "grid" and size > _MOST_IN_A_GRID:
        raise UserError(f"sweep.space is a grid of {size:,} points, and {_MOST_IN_A_GRID:,} is the most; {_SMALLER}")


def _baselines(recipe: Recipe, sweep: SweepSpec) -> list[tuple[Role, Settings]]:
    """The recipe as it is, where the space holds it, and equal shares; each once."""
    if not sweep.add_baselines:
        return []
    own = own_point(recipe, sweep)
    middle = point_at([0.5] * num_dimensions(sweep.space), sweep.space)
    stratified = stratified_point(own or middle, sweep.space)
    found: list[tuple[Role, Settings]] = [] if own is None else [("recipe", own)]
    return found + ([] if stratified is None or stratified == own else [("stratified", stratified)])
