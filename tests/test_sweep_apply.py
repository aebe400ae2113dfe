"""A new recipe with the chosen settings: the user's file stays as it is but for them, and the reasons stand on top."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_fixtures import StandIn, make_answer, make_results

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe, load_recipe
from rcpt_ray.sweep.answer import Answer, answer
from rcpt_ray.sweep.apply import applied_recipe, write_applied
from rcpt_ray.sweep.trial_recipe import mistake_at
from rcpt_ray.sweep.yaml_edit import with_setting

FILE = """\
# My recipe.
name: small-demo   # its name
run: runs/small-demo
student: {reference: example/tiny-instruct, instruction_tuned: true}
corpus:
  sources:
    web: {path: web.jsonl, domain: stem}
    law: {path: law.jsonl, domain: law}
    books: {path: books.jsonl, domain: books, role: replay}
thoughts:
  teacher: {reference: example/tiny-instruct, instruction_tuned: true}
evaluation:
  tasks:
    quiz: {path: quiz.jsonl}
arms:
  base: {train: false, description: the student as it is}
  # The arm that matters.
  reasoning:
    overrides:
      mixture.weights: {web/thought: 0.5, law/raw: 0.5}  # half and half
      thoughts.sampling.max_thought_tokens: 64
sweep:
  arm: reasoning
  seeds: [17, 18]
  proxy: {training.num_epochs: 1}
  space:
    mixture.weights: {components: [web/thought, law/raw, books/replay], step: 0.1}
    thoughts.sampling.max_thought_tokens: {values: [32, 64, 128]}
"""
REFUSED = {"status": "refused", "objectives": {}, "reason": "cannot be had"}
BEST = {"mixture.weights": {"web/thought": 0.6, "law/raw": 0.3, "books/replay": 0.1}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(FILE)
    return path


def answered(recipe: Recipe, **changed: Any) -> Answer:
    return make_answer(recipe, make_results(recipe), StandIn(**changed))


def loaded(tmp_path: Path, text: str) -> Recipe:
    write_applied(tmp_path / "new.yaml", text)
    return load_recipe(tmp_path / "new.yaml")


def test_the_chosen_settings_are_the_arms_and_nothing_else_changes(source: Path, tmp_path: Path) -> None:
    recipe = load_recipe(source)
    new = loaded(tmp_path, applied_recipe(source, recipe, [answered(recipe)]))
    settings, before = new.arm_settings("reasoning"), recipe.arm_settings("reasoning")
    assert settings.mixture.weights == BEST["mixture.weights"]
    assert settings.thoughts.sampling.max_thought_tokens == 64
    assert settings.mixture.model_copy(update={"weights": before.mixture.weights}) == before.mixture
    assert settings.training == before.training, "the proxy's settings are not put in"
    assert new.sweep == recipe.sweep
    assert new.model_copy(update={"arms": recipe.arms}) == recipe


def test_comments_and_order_stay(source: Path) -> None:
    recipe = load_recipe(source)
    text = applied_recipe(source, recipe, [answered(recipe)])
    kept = [line for line in FILE.splitlines() if "mixture.weights: {web" not in line]
    lines = text.splitlines()
    assert [line for line in lines if line in kept] == kept
    assert "mixture.weights: {web/thought: 0.6, law/raw: 0.3, books/replay: 0.1}  # half and half" in text


def test_the_top_says_why(source: Path) -> None:
    recipe = load_recipe(source)
    head = " ".join(applied_recipe(source, recipe, [answered(recipe)]).partition("\nname:")[0].replace("#", "").split())
    for words in (
        "bits per byte (heldout/bits_per_byte, less is better)",
        "1.1000 (1.0900 to 1.1100)",
        "It is distinguishable from the recipe's own settings",
        "web/thought 0.5 to 0.7",
        "Olmix warns",
        "training.num_epochs=1",
    ):
        assert words in head, words


def test_a_recipe_that_is_not_distinguishable_from_the_best_needs_no_change(source: Path) -> None:
    recipe = load_recipe(source)
    text = applied_recipe(source, recipe, [answered(recipe, radius=2.0)])
    assert "There is no evidence for a change" in " ".join(text.replace("#", "").split())


def test_without_skill_it_is_the_best_tried_setting_and_says_so(source: Path, tmp_path: Path) -> None:
    recipe = load_recipe(source)
    answer = answered(recipe, cv_skill=-0.2)
    text = applied_recipe(source, recipe, [answer])
    best = min(answer.points, key=lambda one: one.mean("bits per byte") or 9.0)
    assert loaded(tmp_path, text).arm_settings("reasoning").mixture.weights == best.point["mixture.weights"]
    assert "does not predict settings it has not seen" in " ".join(text.replace("#", "").split())


def test_what_the_command_line_changed_is_put_in_too(source: Path, tmp_path: Path) -> None:
    recipe = load_recipe(source, ["training.learning_rate=0.0005", "corpus.heldout_share=0.2"])
    new = loaded(tmp_path, applied_recipe(source, recipe, [answered(recipe)]))
    assert new.training.learning_rate == 0.0005 and new.corpus.heldout_share == 0.2


def test_an_alias_cannot_be_edited_so_the_file_is_written_anew(source: Path, tmp_path: Path) -> None:
    """`weights` of the arm is the anchor of another arm's: editing it would change both."""
    shared = FILE.replace("mixture.weights: {web", "mixture.weights: &half {web").replace(
        "sweep:\n  arm", "  other: {overrides: {mixture.weights: *half}}\nsweep:\n  arm"
    )
    source.write_text(shared)
    recipe = load_recipe(source)
    text = applied_recipe(source, recipe, [answered(recipe)])
    new = loaded(tmp_path, text)
    assert "comments could not be kept" in text
    assert new.arm_settings("reasoning").mixture.weights == BEST["mixture.weights"]
    assert new.arm_settings("other").mixture.weights == {"web/thought": 0.5, "law/raw": 0.5}


def test_an_override_that_stands_behind_does_not_take_the_settings_back(source: Path, tmp_path: Path) -> None:
    later = "      thoughts.sampling: {max_thought_tokens: 64}\n"
    first = "      thoughts.sampling.max_thought_tokens: 64\n"
    source.write_text(FILE.replace(first, first + later))
    recipe = load_recipe(source)
    answer = answered(recipe)
    assert answer.chosen is not None
    longer = replace(answer.chosen, point=answer.chosen.point | {"thoughts.sampling.max_thought_tokens": 128})
    new = loaded(tmp_path, applied_recipe(source, recipe, [replace(answer, chosen=longer)]))
    assert new.arm_settings("reasoning").thoughts.sampling.max_thought_tokens == 128


def test_what_is_applied_lies_in_the_region_and_is_no_setting_that_the_recipe_refuses(
    source: Path, tmp_path: Path
) -> None:
    """Best at nothing but raw law, which cannot be beside a share of thoughts: there is nothing to split then."""
    space = "    mixture.thought_share: {values: [0.0, 0.5, 1.0]}\n"
    source.write_text(FILE.replace("  space:\n", f"  searcher: random\n  budget: {{trials: 60}}\n  space:\n{space}"))
    recipe = load_recipe(source)
    assert recipe.sweep is not None

    def planted(point: dict[str, Any]) -> float:
        shares = point["mixture.weights"]
        return 1.0 + 0.3 * (1 - shares.get("law/raw", 0.0)) ** 2 + 0.1 * abs(point["mixture.thought_share"] - 0.5)

    results = [
        one if mistake_at(recipe, one.trial.point) is None else one.model_copy(update=REFUSED)
        for one in make_results(recipe, 25, noise=0.01, respond=planted)
    ]
    best = {"mixture.weights": {"law/raw": 1.0}, "mixture.thought_share": 0.5}
    assert mistake_at(recipe, best) is not None, "the planted best cannot be had"
    (told,) = answer(recipe, results)
    assert told.has_skill and told.chosen is not None and told.optimum is not None
    assert not told.optimum.holds(best | {"thoughts.sampling.max_thought_tokens": 64})
    settings = loaded(tmp_path, applied_recipe(source, recipe, [told])).arm_settings("reasoning")
    assert settings.mixture.weights is not None
    applied = {
        "mixture.thought_share": settings.mixture.thought_share,
        "mixture.weights": dict(settings.mixture.weights),
        "thoughts.sampling.max_thought_tokens": settings.thoughts.sampling.max_thought_tokens,
    }
    assert applied == told.chosen.point and told.optimum.holds(applied)
    assert applied["mixture.weights"]["law/raw"] > 0.5, "as near to the planted best as the recipe lets it be"


def test_no_file_is_overwritten(source: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.yaml exists and is not overwritten"):
        write_applied(source, "name: other\n")
    assert source.read_text() == FILE


def test_a_sweep_without_figures_has_nothing_to_apply(source: Path) -> None:
    recipe = load_recipe(source)
    empty = make_answer(recipe, [], None)
    with pytest.raises(UserError, match="no trial with a figure for bits per byte"):
        applied_recipe(source, recipe, [empty])


@pytest.mark.parametrize(
    ("text", "path", "value", "wanted"),
    [
        ("a: {b: 1}  # why\n", ("a", "c"), 2, "a: {b: 1, c: 2}  # why\n"),
        ("a: {}\n", ("a", "c"), [1, 2], "a: {c: [1, 2]}\n"),
        ("a:\n  b: 1 # one\n\n# two\nd: 3\n", ("a", "c"), 2, "a:\n  b: 1 # one\n  c: 2\n\n# two\nd: 3\n"),
        ("a:\n", ("a", "b", "c"), "x y", "a: {b: {c: x y}}\n"),
        ("a: 1", ("b.c", "d"), None, "a: 1\nb.c: {d: null}"),
        ("a:\n  b:\n    c: 1\n  # of d\n  d: 2\n", ("a", "b"), {"e": 3}, "a:\n  b: {e: 3}\n  # of d\n  d: 2\n"),
        ("a: |\n  text\n\nb: 'x' # y\n", ("b",), "z", "a: |\n  text\n\nb: z # y\n"),
    ],
)
def test_one_value_is_set_and_the_rest_stays(text: str, path: tuple[str, ...], value: Any, wanted: str) -> None:
    assert with_setting(text, path, value) == wanted
    yaml.safe_load(wanted)
