"""Which trials a sweep makes: baselines, seeds, budgets, what a killed sweep goes on with, and bad spaces."""

from typing import Any

import pytest
from sweep_trials import ended, run_through, space_of, swept_recipe

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import Trial
from rcpt_ray.sweep.room import Need, need_of_trial
from rcpt_ray.sweep.sensible import require_sensible
from rcpt_ray.sweep.space import grid_points, key_of, point_at, unit_of
from rcpt_ray.sweep.spent import spent_on, used_by
from rcpt_ray.sweep.trial_recipe import recipe_at

WEIGHTS = {"components": ["stem/thought", "law/thought", "stem/raw"], "step": 0.25}
SIX = [f"{source}/{kind}" for source in ("stem", "law") for kind in ("thought", "raw", "paraphrase")]
RATE = {"low": 1e-4, "high": 1e-2, "scale": "log"}
GRID = {"space": {"training.learning_rate": {"values": [0.001, 0.002]}}, "seeds": [1, 2], "add_baselines": False}


def swept(**sweep: Any) -> Recipe:
    return swept_recipe(sweep)


def settings_of(proposals: Proposals) -> list[tuple[str, int]]:
    return [(key_of(trial.point), trial.seed) for trial in proposals.trials]


def test_grid_tries_each_point_with_each_seed() -> None:
    proposals = run_through(swept(**GRID), lambda trial: 1.0)
    assert [(trial.name, trial.point["training.learning_rate"]) for trial in proposals.trials] == [
        ("0000.s1", 0.001),
        ("0000.s2", 0.001),
        ("0001.s1", 0.002),
        ("0001.s2", 0.002),
    ]
    assert proposals.num_planned == 4 == len(proposals.results)


def test_recipe_and_equal_shares_come_first_and_once() -> None:
    proposals = run_through(swept(space={"mixture.weights": WEIGHTS}), lambda trial: 1.0)
    first, second, *rest = proposals.trials
    assert first.role == "recipe" and first.point["mixture.weights"] == {"stem/thought": 0.5, "law/thought": 0.5}
    assert second.role == "stratified" and set(second.point["mixture.weights"].values()) == {1 / 3}
    # The recipe's own point is one of the grid's 15, equal thirds are none of them.
    assert len(rest) == 14 and len({key_of(trial.point) for trial in proposals.trials}) == 16 == proposals.num_planned


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_searchers_keep_to_the_budget_and_repeat_no_point(searcher: str) -> None:
    sweep = {"mixture.weights": WEIGHTS | {"step": 0.05}, "training.learning_rate": RATE}
    recipe = swept(space=sweep, searcher=searcher, budget={"trials": 25}, seeds=[1, 2])
    proposals = run_through(recipe, lambda trial: trial.point["training.learning_rate"])
    assert len(proposals.trials) == 24 == proposals.num_planned, "12 points with two seeds"
    assert len(set(settings_of(proposals))) == 24
    assert [trial.role for trial in proposals.trials[::2][:3]] == ["recipe", "stratified", "searched"]
    assert settings_of(run_through(recipe, lambda trial: trial.point["training.learning_rate"])) == settings_of(
        proposals
    )


def test_optuna_looks_where_it_went_well() -> None:
    recipe = swept(
        space={"training.learning_rate": RATE}, searcher="optuna", budget={"trials": 60}, add_baselines=False
    )
    proposals = run_through(recipe, lambda trial: abs(trial.point["training.learning_rate"] - 0.003))
    near = [abs(trial.point["training.learning_rate"] - 0.003) < 0.002 for trial in proposals.trials]
    assert sum(near[-20:]) >= 15 > 12 >= sum(near[:20])


def test_small_space_of_values_is_exhausted_and_ends() -> None:
    space = {
        "mixture.layout": {"values": ["thought_first", "document_first"]},
        "training.zero_stage": {"values": [1, 2]},
    }
    proposals = run_through(swept(space=space, searcher="optuna", budget={"trials": 50}), lambda trial: 1.0)
    assert len(proposals.trials) == 4


@pytest.mark.parametrize("searcher", ["grid", "random", "optuna"])
@pytest.mark.parametrize("num_before", [0, 1, 5, 9])
def test_killed_sweep_goes_on_with_what_is_left(searcher: str, num_before: int) -> None:
    sweep = {"space": {"mixture.weights": WEIGHTS}, "searcher": searcher, "seeds": [1, 2]}
    recipe = swept(**sweep, budget={"trials": 12} if searcher != "grid" else {})
    whole = run_through(recipe, lambda trial: float(trial.number))
    before = whole.results[:num_before]
    again = Proposals(recipe, before)
    assert [result.trial.name for result in again.results] == [result.trial.name for result in before]
    made = []
    while (trial := again.next()) is not None:
        made.append(trial.name)
        again.tell(ended(trial, float(trial.number)))
    assert not set(made) & {result.trial.name for result in before}
    assert len(made) + num_before == again.num_planned == len(again.results)
    if searcher != "optuna":  # what that asks for next depends on the chance of what it has seen
        assert settings_of(again) == settings_of(whole)


def test_larger_budget_goes_on_from_the_smaller_one() -> None:
    sweep = {"space": {"mixture.weights": WEIGHTS | {"step": 0.05}}, "searcher": "random"}
    small = run_through(swept(**sweep, budget={"trials": 6}), lambda trial: 1.0)
    large = Proposals(swept(**sweep, budget={"trials": 9}), small.results)
    assert len(large.results) == 6 and large.num_planned == 9
    assert large.next() is not None


def test_failed_and_refused_trials_are_tried_again_and_stopped_ones_are_not() -> None:
    recipe = swept(**GRID)
    statuses = {"0000.s1": "failed", "0000.s2": "refused", "0001.s1": "stopped", "0001.s2": "ok"}
    proposals = Proposals(recipe)
    results = [ended(trial, 1.0, status=statuses[trial.name]) for trial in iter(proposals.next, None)]
    for early_stop, to_do in (({}, ["0000.s1", "0000.s2"]), (None, ["0000.s1", "0000.s2", "0001.s1"])):
        again = Proposals(swept(**GRID, early_stop=early_stop), results)
        assert len(again.results) == 4, "what is known of a trial is known until it has ended again"
        assert len(again.ended) == 4 - len(to_do)
        assert [trial.name for trial in iter(again.next, None)] == to_do


def test_spent_budget_ends_the_sweep_and_shared_stages_count_once() -> None:
    sweep = GRID | {"budget": {"gpu_hours": 1.0}}
    proposals = run_through(swept(**sweep), lambda trial: 1.0)
    assert len(proposals.results) == 2, "half an hour each"
    assert "1.00 GPU-hours of sweep.budget.gpu_hours=1" in (proposals.reason_to_end() or "")
    twice = [result.model_copy(update={"stages": proposals.results[0].stages}) for result in proposals.results]
    assert spent_on(used_by(twice)).gpu_hours == 0.5 and spent_on(used_by(twice)).cost == 2.0


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"space": {"mixture.weights": WEIGHTS}, "budget": {"trials": 10}}, "less than the 16 trials of the grid"),
        ({"space": {"training.learning_rate": RATE}, "searcher": "random"}, "sweep.budget.trials is missing"),
        (
            {"space": {"mixture.weights": WEIGHTS}, "searcher": "random", "budget": {"trials": 1}},
            "no room for 2 baseline",
        ),
        ({"space": {"mixture.layout": {"values": ["thought_first", "sideways"]}}}, "'sideways' cannot be tried"),
        ({"space": {"mixture.laoyut": {"values": ["thought_first", "text_only"]}}}, "laoyut is not a setting"),
        ({"space": {"mixture.weights": WEIGHTS | {"components": ["stem/thought", "lwa/thought"]}}}, "lwa is no source"),
        ({"space": {"training.learning_rate": RATE}, "arm": "other"}, "sweep.arm=other is no trained arm"),
        ({"space": {"run": {"values": ["a", "b"]}}}, "sweep.space.run is no setting of a stage"),
        ({"space": {"mixture.weights": {"values": [1, 2]}}}, "mixture.weights needs components"),
        (
            {"space": {"training.learning_rate": {"low": 1, "high": 2}}, "proxy": {"training.learning_rate": 1}},
            "swept too",
        ),
        ({"space": GRID["space"], "objectives": {"quiz": {"measures": {"quiz/acc": 1}}}}, "no task of the evaluation"),
        ({"space": GRID["space"], "objectives": {"a": {"measures": {"heldout": 1}}}}, "must be named task/metric"),
        ({"space": GRID["space"], "early_stop": {}}, "training.watch.heldout_every_steps"),
        ({"space": {"training.learning_rate": 0.1}}, "sweep.space.training.learning_rate="),
        ({"space": {"training.learning_rate": {"low": 1}}}, "sweep.space.training.learning_rate.high is missing"),
        ({"space": {"training.attention": ["auto", "eager"]}}, "its trials would be one"),
        ({"space": {"training.num_workers": [1, 2]}}, "its trials would be one"),
        ({"space": {"thoughts.asked_words": {"low": 20, "high": 50}}}, "with integer: true"),
        ({"space": GRID["space"], "budget": {"cost": 3}}, "never ends a sweep without prices"),
        ({"space": GRID["space"], "budget": {"gpu_hours": 3}}, "uses no GPU"),
        ({"space": GRID["space"], "objectives": {"a": {"measures": {"heldout/bits_per_byte/lwa": 1}}}}, "not measured"),
        (
            {"space": {"mixture.weights": {"components": SIX, "step": 0.01}}},
            "grid of 96,560,646 points",
        ),
        ({"space": GRID["space"], "proxy": {"training.feed": "stream"}}, "training.feed=stream"),
        ({"space": GRID["space"], "seeds": [1, 1]}, "each once"),
        ({"space": {}}, "space"),
    ],
)
def test_sweep_without_sense_is_one_sentence(sweep: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        recipe = swept(**sweep)
        require_sensible(recipe)
        Proposals(recipe)
    assert "\n" not in str(refused.value)


def test_trial_is_the_recipe_with_one_arm_its_point_its_seed_and_the_proxy() -> None:
    space = {"mixture.row_tokens": {"values": [256, 512]}, "corpus.heldout_share": {"values": [0.1, 0.25]}}
    recipe = swept(space=space, proxy={"mixture.num_tokens": 700, "student.reference": "smaller"})
    point = {"mixture.row_tokens": 512, "corpus.heldout_share": 0.1}
    made = recipe_at(recipe, Trial(number=3, role="searched", point=point, seed=5))
    (variant,) = made.variants.values()
    settings = made.variant_settings(variant)
    assert variant.seed == 5 and made.seed == recipe.seed and made.run == recipe.run
    assert (settings.mixture.row_tokens, settings.mixture.num_tokens) == (512, 700)
    assert made.corpus.heldout_share == 0.1 and made.student.reference == "smaller" and made.sweep is None


def test_room_is_what_the_hungriest_stage_needs() -> None:
    recipe = swept_recipe(GRID, training={"num_workers": 3, "cpus_per_worker": 2, "global_batch_rows": 3})
    trial = Proposals(recipe).peek()
    assert trial is not None
    need = need_of_trial(recipe_at(recipe, trial))
    assert need == Need(6, 0)
    assert need.times_in(13, 0) == 2 and need.times_in(4, 0) == 1
    assert Need(1, 2).times_in(64, 5) == 2


def test_setting_takes_effect_whatever_the_arm_overrides() -> None:
    arm = {"overrides": {"thoughts.sampling.max_thought_tokens": 64, "thoughts.sampling": {"max_thought_tokens": 64}}}
    space = {"thoughts.sampling.max_thought_tokens": [32, 128]}
    recipe = swept_recipe({"space": space, "add_baselines": False}, arms={"reasoning": arm})
    made = [recipe_at(recipe, trial) for trial in iter(Proposals(recipe).next, None)]
    lengths = [own.arm_settings("reasoning").thoughts.sampling.max_thought_tokens for own in made]
    assert lengths == [32, 128]


def test_seeds_are_those_of_the_comparison_where_the_sweep_names_none() -> None:
    recipe = swept_recipe({"space": GRID["space"], "add_baselines": False}, comparison={"seeds": [4, 5]})
    assert [trial.seed for trial in iter(Proposals(recipe).next, None)] == [4, 5, 4, 5]


def test_optuna_learns_from_trials_that_were_given_up() -> None:
    """Rates below 0.001 are given up; told as no answer at all, they would be looked at again and again."""
    recipe = swept(
        space={"training.learning_rate": RATE},
        searcher="optuna",
        budget={"trials": 50},
        add_baselines=False,
    )
    proposals = Proposals(recipe)
    asked = []
    while (trial := proposals.next()) is not None:
        rate = trial.point["training.learning_rate"]
        asked.append(rate)
        proposals.tell(ended(trial, rate, status="stopped", objectives={}) if rate < 0.001 else ended(trial, rate))
    assert sum(rate < 0.001 for rate in asked[-25:]) < 10


@pytest.mark.parametrize("axis", [RATE, {"values": [1, 5, 9]}, {"low": 2, "high": 30, "integer": True}])
def test_baselines_have_a_place_in_the_searchers_own_terms(axis: dict[str, Any]) -> None:
    space = space_of(**{"training.learning_rate": axis, "mixture.weights": WEIGHTS})
    for point in grid_points(space):
        unit_D = unit_of(point, space)
        assert unit_D is not None and point_at(unit_D, space) == point
