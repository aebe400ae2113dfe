"""Everything that a report says in numbers: estimates of every line, differences from baseline and control, by group.

    scores of all variants -> measures -> estimates by line and group
                                       -> families of differences, each corrected for its own number of comparisons

A figure of a line is over its seeds; a difference is over the seeds and items that both lines have (`lines.paired`);
where one line has a single seed, the other's spread counts for both.
Invariants: what a table and a plot show of one thing is one object, so they agree; the same inputs and seed give the
same figures. Price: a pass of the bootstrap (see there) for each measure and field that differences are taken by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.lines import Line, control_of, counterpart, have_unequal_seeds, make_lines, paired, studied_arms
from rcpt_ray.report.samples import answer_measures
from rcpt_ray.report.statistics.bootstrap import bootstrap_variances
from rcpt_ray.report.statistics.comparisons import correct
from rcpt_ray.report.statistics.estimates import Difference, Estimate, differences, estimates
from rcpt_ray.report.statistics.measures import ALL, Bools, Floats, Groups, Key, Measure, read_measures
from rcpt_ray.report.statistics.seeds import Pieces, SeedSpread, pieces_of, spread_of_seeds

ByGroup = dict[tuple[str, str], Estimate]
"""Estimates by name of a line and group."""
Pair = tuple[Line, Line]
_SPECIAL = ("extracted", "bits_per_byte", "thought_nats", "gain", "thought_tokens", "thought_sentences", "hit_limit")


@dataclass(frozen=True)
class Family:
    """Differences that are read together, corrected together; by line, measure and group."""

    reference: str
    """What they are differences from, in a word."""
    differences: dict[tuple[str, Key, str], Difference]

    @property
    def num_comparisons(self) -> int:
        """Differences that the correction is for."""
        return sum(difference.p_value is not None for difference in self.differences.values())


@dataclass
class Figures:
    """The figures of one report; families and estimates are worked out when first asked for."""

    lines: list[Line]
    measures: dict[Key, Measure]
    baseline: str
    control: str | None
    studied: list[str]
    seed: int
    chance: dict[str, float]
    """Accuracy of guessing, of the tasks where it is known."""
    _estimates: dict[tuple[Key, str], ByGroup] = field(default_factory=dict)
    _pieces: dict[tuple[Key, str], dict[tuple[str, str], Pieces | None]] = field(default_factory=dict)

    @property
    def measured(self) -> list[Line]:
        """Lines with a finished evaluation."""
        return [line for line in self.lines if line.rows]

    def scored(self, task_metric: Callable[[Key], bool]) -> list[Measure]:
        """The measures whose task and metric fit."""
        return [measure for key, measure in self.measures.items() if task_metric(key)]

    @property
    def questions(self) -> list[Measure]:
        """What answers to questions are judged by: accuracy, a stock task's own metrics, maj@k of all samples."""
        return self.scored(lambda key: key[1] not in _SPECIAL and not key[1].startswith("pass@"))

    @property
    def accuracies(self) -> list[Measure]:
        """The questions' measures without votes over samples."""
        return [measure for measure in self.questions if not measure.metric.startswith("maj@")]

    def groups(self, measure: Measure, by: str) -> list[str]:
        """The groups that the measure's items are in."""
        return measure.groups(by).names

    def by(self, measure: Measure, by: str = ALL) -> ByGroup:
        """Estimates of every measured line in each group."""
        key = ((measure.task, measure.metric), by)
        if key not in self._estimates:
            groups, found = measure.groups(by), ByGroup()
            for line in self.measured:
                own = self._pieces_of_line(measure, line, groups)
                if own is None:
                    continue
                for group, estimate in zip(groups.names, estimates(own, measure.is_share, line.num_seeds), strict=True):
                    if estimate.num_items:
                        found[line.name, group] = estimate
            self._estimates[key] = found
        return self._estimates[key]

    def contrast(self, measure: Measure, line: Line, by: str, plus: str, minus: str) -> Difference | None:
        """The line's mean in one group minus that in another."""
        groups = measure.groups(by)
        own = self._pieces_of_line(measure, line, groups) if {plus, minus} <= set(groups.names) else None
        if own is None:
            return None
        apart = own.contrast(groups.names.index(plus), groups.names.index(minus))
        return differences(apart, measure.is_share, line.num_seeds)[0]

    def family(
        self, arm: str | None, measures: Sequence[Measure], by: str = ALL, arms: Sequence[str] | None = None
    ) -> Family:
        """Differences of the lines (of `arms`, or all) from their counterparts of `arm`, by group, corrected together.

        Where items have difficulties, the last group minus the first one, `a minus b`, is one more comparison.
        """
        pairs = [pair for pair in self._pairs(arm) if arms is None or pair[0].arm in arms]
        return self.family_of(pairs, arm or "", measures, by)

    def family_of(self, pairs: Sequence[Pair], reference: str, measures: Sequence[Measure], by: str = ALL) -> Family:
        """Differences of the first line of each pair from the second."""
        found = dict[tuple[str, Key, str], Difference]()
        for measure in measures:
            key = (measure.task, measure.metric)
            names = measure.groups(by).names
            for line, other in pairs:
                pieces = self._pieces_of_pairs(measure, by, pairs).get((line.name, other.name))
                if pieces is None:
                    continue
                seeds = [one.num_seeds for one in (line, other) if one.trained]
                num_seeds = min(seeds, default=1)
                own = dict(zip(names, differences(pieces, measure.is_share, num_seeds), strict=True))
                if by == "difficulty" and len(names) > 1:
                    apart = pieces.contrast(len(names) - 1, 0)
                    own[f"{names[-1]} minus {names[0]}"] = differences(apart, False, num_seeds)[0]
                found |= {(line.name, key, group): one for group, one in own.items() if one.num_items}
        return Family(reference, correct(found))

    @property
    def reference_pairs(self) -> list[Pair]:
        """Every line with its counterparts of baseline and control."""
        return [*self._pairs(self.baseline), *self._pairs(self.control)]

    def _pairs(self, arm: str | None) -> list[Pair]:
        """Every measured line with its counterpart of `arm`."""
        found = [(line, None if arm is None else counterpart(line, arm, self.lines)) for line in self.measured]
        return [paired(line, other) for line, other in found if other is not None]

    def _pieces_of_line(self, measure: Measure, line: Line, groups: Groups) -> Pieces | None:
        rows = list(line.rows)
        present_N: Bools = np.asarray(measure.present_VN[rows].all(axis=0))
        if not present_N.any():
            return None
        values_SN = np.where(present_N, measure.values_VN[rows], 0.0)
        return pieces_of(values_SN, measure.weights_N, groups.among(present_N))

    def _pieces_of_pairs(
        self, measure: Measure, by: str, pairs: Sequence[Pair]
    ) -> dict[tuple[str, str], Pieces | None]:
        """Pieces of every pair, None where it shares no item; bootstrapped together the first time, and kept."""
        known = self._pieces.setdefault(((measure.task, measure.metric), by), {})
        if all((first.name, second.name) in known for first, second in pairs):
            return known
        # One pass serves the differences from both references.
        wanted = {(first.name, second.name): (first, second) for first, second in [*pairs, *self.reference_pairs]}
        new = [pair for names, pair in wanted.items() if names not in known]
        groups, weights_N = measure.groups(by), measure.weights_N
        present_KN: Bools = np.stack(
            [measure.present_VN[[*first.rows, *second.rows]].all(axis=0) for first, second in new]
        )
        sides = [
            tuple(np.where(present_N, measure.values_VN[list(line.rows)], 0.0) for line in pair)
            for pair, present_N in zip(new, present_KN, strict=True)
        ]
        apart_KN: Floats = np.stack([first_SN.mean(axis=0) - second_SN.mean(axis=0) for first_SN, second_SN in sides])
        variances_KG = bootstrap_variances(apart_KN, present_KN, weights_N, groups, self.seed)
        for place, pair in enumerate(new):
            if not present_KN[place].any():
                known[pair[0].name, pair[1].name] = None
                continue
            own = groups.among(present_KN[place])
            plain = pieces_of(apart_KN[place][None], weights_N, own)
            known[pair[0].name, pair[1].name] = Pieces(
                plain.means_G,
                variances_KG[place],
                plain.item_freedom_G,
                plain.num_items_G,
                _spreads(pair, [spread_of_seeds(values_SN, weights_N, own) for values_SN in sides[place]]),
            )
        return known


def _spreads(pair: Pair, sides: Sequence[Sequence[SeedSpread]]) -> list[SeedSpread]:
    """Of the seeds of both lines; of a line of one seed beside a line of several, theirs."""
    spreads = [spread for side in sides for spread in side]
    if not have_unequal_seeds(*pair):
        return spreads
    lone = min(line.num_seeds for line in pair)
    return [spread.also_for(lone) for spread in spreads]


def measure_run(inputs: ReportInputs) -> Figures:
    """The figures of a run."""
    return Figures(
        lines=make_lines(inputs.arms),
        measures=measures_of(inputs.arms),
        baseline=inputs.recipe.report.baseline,
        control=control_of(inputs.recipe),
        studied=studied_arms(inputs.recipe),
        seed=inputs.recipe.seed,
        chance=chance_of(inputs.arms),
    )


def measures_of(arms: Sequence[ArmResult]) -> dict[Key, Measure]:
    """Every metric of the arms' scores and answers."""
    return read_measures([arm.scores for arm in arms]) | answer_measures([arm.answers for arm in arms])


def chance_of(arms: Sequence[ArmResult]) -> dict[str, float]:
    """Accuracy of guessing by task, where the evaluation knows it."""
    told = [arm.evaluation.details.get("tasks", {}) for arm in arms if arm.evaluation is not None]
    return {
        task: float(details["chance"])
        for tasks in told
        for task, details in tasks.items()
        if details.get("chance") is not None
    }
