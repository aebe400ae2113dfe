"""A recipe is read once, checked once and never changes; a mistake is one sentence with a way out."""

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import ValidationError

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe, load_recipe, recipe_from
from rcpt_ray.settings import NOT_IN_FINGERPRINT, ModelSpec, Settings

RECIPES = sorted((Path(__file__).parent.parent / "jobs" / "recipes").glob("*.yaml"))


def small(**changed: Any) -> dict[str, Any]:
    """A recipe of two arms, as a dictionary."""
    values: dict[str, Any] = {
        "name": "small",
        "run": "runs/small",
        "student": {"reference": "a-model"},
        "corpus": {"sources": {"web": {"path": "web.jsonl", "domain": "stem"}}},
        "thoughts": {"teacher": {"reference": "a-model"}},
        "mixture": {"row_tokens": 768},
        "arms": {"base": {"train": False}, "reasoning": {}},
    }
    return values | changed


def arms(**overrides_of_arm: dict[str, Any]) -> dict[str, Any]:
    """A base arm and trained arms with these overrides."""
    return {"base": {"train": False}} | {name: {"overrides": given} for name, given in overrides_of_arm.items()}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(small()), encoding="utf-8")
    return path


def sentence_of(values: dict[str, Any]) -> str:
    """What a user is told about these values."""
    with pytest.raises(UserError) as told:
        recipe_from(values)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(("component", "role"), [("wbe/thought", "study"), ("web/replay", "replay")])
def test_weight_of_what_is_no_source_is_refused_before_anything_is_paid_for(component: str, role: str) -> None:
    told = sentence_of(small(mixture={"weights": {component: 1.0}}))
    known = "web" if role == "study" else "none"
    assert f"mixture.weights.{component}: {component[:3]} is no source of role {role}; those are {known}" in told


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_of_the_project_loads(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_defaults_fill_what_a_file_leaves_out(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert (recipe.seed, recipe.mixture.row_tokens, recipe.mixture.layout) == (17, 768, "thought_first")


def test_dotted_override_changes_one_setting_and_keeps_its_neighbours(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["training.global_batch_rows=6", "mixture.layout=document_first"])
    assert recipe.training.global_batch_rows == 6
    assert (recipe.mixture.layout, recipe.mixture.row_tokens) == ("document_first", 768)


@pytest.mark.parametrize(
    ("override", "value"),
    [("1e-4", 1e-4), ("0.001", 0.001), ("5E-5", 5e-5)],
)
def test_learning_rate_may_be_written_as_people_write_it(recipe_file: Path, override: str, value: float) -> None:
    """YAML 1.1 reads 1e-4 as a word."""
    assert load_recipe(recipe_file, [f"training.learning_rate={override}"]).training.learning_rate == value


def test_override_may_hold_an_equals_sign_null_or_a_mapping(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        ["mixture.thought_open=a=b", "corpus.sources.web.id_column=null", "training.adapter={rank: 4, alpha: 8}"],
    )
    assert recipe.mixture.thought_open == "a=b"
    assert recipe.corpus.sources["web"].id_column is None
    assert recipe.training.adapter is not None and recipe.training.adapter.rank == 4


def test_later_override_wins(recipe_file: Path) -> None:
    assert load_recipe(recipe_file, ["seed=1", "seed=2"]).seed == 2


def test_override_may_open_a_section_that_the_file_leaves_out(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["evaluation.tasks.quiz.path=quiz.jsonl"])
    assert recipe.evaluation.tasks["quiz"].path == "quiz.jsonl"


@pytest.mark.parametrize("override", ["training.num_epochs", "=3", ""])
def test_override_without_key_or_equals_sign_is_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{override!r} must have the form key=value")):
        load_recipe(recipe_file, [override])


def test_override_below_a_single_value_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"mixture\.row_tokens\.x: mixture\.row_tokens is a single value"):
        load_recipe(recipe_file, ["mixture.row_tokens.x=3"])


def test_override_that_is_no_yaml_is_refused_by_its_key(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"override training\.num_epochs is no valid YAML in line 1"):
        load_recipe(recipe_file, ["training.num_epochs=["])


@pytest.mark.parametrize("value", ["2024-13-45", "0b_"])
def test_value_that_yaml_cannot_turn_into_a_date_or_number_is_refused_by_its_key(recipe_file: Path, value: str) -> None:
    with pytest.raises(UserError, match="override name"):
        load_recipe(recipe_file, [f"name={value}"])


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist; give the path of a \.yaml file"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read .*; give a readable UTF-8 \.yaml file"):
        load_recipe(tmp_path)


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: Müller".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml cannot be read"):
        load_recipe(tmp_path / "latin.yaml")


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: a\nrun: [\n")
    with pytest.raises(UserError, match=r"broken\.yaml is no valid YAML in line 3"):
        load_recipe(tmp_path / "broken.yaml")


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="is no valid YAML in line 1"):
        load_recipe(tmp_path / "evil.yaml")


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just words"])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.yaml").write_text(content)
    with pytest.raises(UserError, match=r"list\.yaml holds no settings; it must be a YAML mapping"):
        load_recipe(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("colour=blue", "colour"),
        ("training.batch=8", "training.batch"),
        ("corpus.sources.web.column=text", "corpus.sources.web.column"),
        ("thoughts.pool.size=2", "thoughts.pool.size"),
    ],
)
def test_unknown_key_is_named_at_any_depth(recipe_file: Path, override: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(key)} is not a setting; remove it or mend its spelling"):
        load_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=many", "seed='many' is wrong: input should be a valid integer"),
        ("training.num_epochs=0", "training.num_epochs=0 is wrong: input should be greater than or equal to 1"),
        ("mixture.layout=sideways", "mixture.layout='sideways' is wrong: input should be 'thought_first'"),
        ("corpus.heldout_share=1", "corpus.heldout_share=1 is wrong: input should be less than 1"),
        ("training=null", "training=None is wrong"),
        ("name=two words", "name='two words' is wrong"),
        ("corpus.sources={}", "corpus.sources={} is wrong"),
    ],
)
def test_wrong_value_is_told_with_setting_value_and_rule(recipe_file: Path, override: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        load_recipe(recipe_file, [override])


def test_missing_setting_is_named() -> None:
    values = small()
    del values["student"]
    assert sentence_of(values) == "student is missing; the recipe must set it"


def test_long_value_is_shown_short() -> None:
    assert len(sentence_of(small(seed="x" * 1000))) < 200


def test_word_window_that_is_closed_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UserError, match="corpus: min_words=50 must not exceed max_words=40"):
        load_recipe(recipe_file, ["corpus.min_words=50", "corpus.max_words=40"])


def test_batch_that_does_not_divide_is_refused() -> None:
    training = {"global_batch_rows": 10, "micro_batch_rows": 2, "num_workers": 3}
    told = sentence_of(small(training=training))
    assert told == "training: global_batch_rows=10 must be a multiple of micro_batch_rows=2 x num_workers=3"


@pytest.mark.parametrize(
    ("mixture", "said"),
    [
        ({"weights": {"web/thought": 0.5, "web/raw": 0.4}}, "weights sum to 0.9; shares of tokens must sum to 1"),
        ({"weights": {}}, "weights sum to 0"),
        ({"weights": {"web/thought": float("nan")}}, "weights"),
        ({"weights": {"web/thought": 1.5, "web/raw": -0.5}}, "weights.web/raw=-0.5 must not be negative"),
        ({"weights": {"web": 1.0}}, "weights.web must be named source/kind"),
        ({"num_tokens": 10, "match_tokens_of": "reasoning"}, "num_tokens and match_tokens_of exclude each other"),
    ],
    ids=["sum", "none", "nan", "negative", "name", "two budgets"],
)
def test_weights_and_budget_that_make_no_sense_are_refused(mixture: dict[str, Any], said: str) -> None:
    told = sentence_of(small(mixture=mixture))
    assert told.startswith("mixture") and said in told


@pytest.mark.parametrize(
    "key", ["corpus.min_words", "student.reference", "evaluation.cpus", "report.baseline", "cluster.address", "run"]
)
def test_arm_changes_thoughts_mixture_and_training_only(key: str) -> None:
    told = sentence_of(small(arms=arms(odd={key: 1})))
    assert told == f"arms.odd.overrides.{key}: an arm changes thoughts, mixture or training only"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"mixture.rows": 3}, "arms.odd.overrides.mixture.rows is not a setting"),
        ({"training.num_epochs": "x"}, "arms.odd.overrides.training.num_epochs='x' is wrong"),
        ({"training.global_batch_rows": 7}, "arms.odd.overrides.training: global_batch_rows=7 must be a multiple"),
    ],
)
def test_arm_with_a_wrong_override_is_named(overrides: dict[str, Any], said: str) -> None:
    assert said in sentence_of(small(arms=arms(odd=overrides)))


def test_arm_has_its_own_settings_and_leaves_the_recipe_alone() -> None:
    recipe = recipe_from(small(arms=arms(plain={"mixture.layout": "text_only"}, reasoning={})))
    assert recipe.arm_settings("plain").mixture.layout == "text_only"
    assert recipe.arm_settings("plain").mixture.row_tokens == 768
    assert recipe.arm_settings("reasoning").mixture.layout == recipe.mixture.layout == "thought_first"


def test_arm_that_overrides_a_whole_section_does_not_lose_the_recipes_settings_unsaid() -> None:
    """Either refused, or the recipe's row_tokens stays: it must not fall back to the default."""
    values = small(arms=arms(plain={"mixture": {"layout": "text_only"}}))
    try:
        recipe = recipe_from(values)
    except UserError:
        return
    assert recipe.arm_settings("plain").mixture.row_tokens == 768


@pytest.mark.parametrize("matched", ["odd", "base", "nobody"], ids=["itself", "untrained", "unknown"])
def test_arm_is_matched_to_another_trained_arm_only(matched: str) -> None:
    told = sentence_of(small(arms=arms(odd={"mixture.match_tokens_of": matched}, reasoning={})))
    assert told == f"arms.odd: mixture.match_tokens_of={matched} must name another trained arm"


def test_arm_matched_to_a_matched_arm_is_refused() -> None:
    chain = arms(a={"mixture.match_tokens_of": "b"}, b={"mixture.match_tokens_of": "c"}, c={})
    assert sentence_of(small(arms=chain)) == "arms.a: mixture.match_tokens_of=b is itself matched to another arm"


def test_baseline_must_be_an_arm() -> None:
    told = sentence_of(small(report={"baseline": "nobody"}))
    assert told == "report.baseline=nobody is not one of the arms: base, reasoning"


def test_name_of_an_arm_must_fit_a_file_name() -> None:
    assert sentence_of(small(arms={"base": {}, "a/b": {}})).startswith("arms.a/b: a name of an arm may hold letters")


def test_settings_never_change_after_loading() -> None:
    recipe: Any = recipe_from(small())
    for settings, name in ((recipe, "seed"), (recipe.training, "num_epochs"), (recipe.arms["base"], "train")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, 3)


def test_recipe_survives_its_own_json() -> None:
    recipe = recipe_from(small())
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


class _Inner(Settings):
    size: int = 1
    speed: Annotated[int, NOT_IN_FINGERPRINT] = 1


class _Outer(Settings):
    inner: _Inner = _Inner()
    several: dict[str, _Inner]
    listed: tuple[_Inner, ...] = (_Inner(),)
    teacher: ModelSpec = ModelSpec(reference="a-model")
    hidden: Annotated[_Inner, NOT_IN_FINGERPRINT] = _Inner()


def test_defining_leaves_out_at_any_depth_what_does_not_define_a_result() -> None:
    assert _Outer(several={"a": _Inner()}).defining() == {
        "inner": {"size": 1},
        "several": {"a": {"size": 1}},
        "listed": [{"size": 1}],
        "teacher": {},
    }


@pytest.mark.parametrize(
    "override",
    [
        "thoughts.pool.max_engines=5",
        "thoughts.max_rejected_share=0.9",
        "thoughts.teacher.reference=other",
        "thoughts.select.min_thought_tokens=3",
    ],
)
def test_where_and_how_fast_thoughts_are_made_does_not_define_them(recipe_file: Path, override: str) -> None:
    assert load_recipe(recipe_file, [override]).thoughts.defining() == load_recipe(recipe_file).thoughts.defining()


@pytest.mark.parametrize("override", ["thoughts.asked_words=9", "thoughts.sampling.temperature=0", "thoughts.prompt=x"])
def test_what_changes_the_thoughts_defines_them(recipe_file: Path, override: str) -> None:
    assert load_recipe(recipe_file, [override]).thoughts.defining() != load_recipe(recipe_file).thoughts.defining()


@pytest.mark.parametrize("override", ["training.num_workers=4", "training.micro_batch_rows=2", "training.zero_stage=0"])
def test_number_of_workers_does_not_define_a_training(recipe_file: Path, override: str) -> None:
    assert load_recipe(recipe_file, [override]).training.defining() == load_recipe(recipe_file).training.defining()
