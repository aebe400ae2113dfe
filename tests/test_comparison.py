"""A comparison makes every trained arm over domains and seeds, shares what it can, and outlives a failed variant."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from processes import rcpt
from run_folder import manifests, only_folder

from rcpt_ray.artifacts import Counts, Manifest, Outcome, canonical_json, write_atomic
from rcpt_ray.cli import main
from rcpt_ray.comparison import in_domain
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.cost import Held, with_cost
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.models import ResolvedModel
from rcpt_ray.pipeline import Pipeline, build_pipeline
from rcpt_ray.plan import print_plan
from rcpt_ray.recipe import Recipe, load_recipe, recipe_from
from rcpt_ray.report.gather import gather
from rcpt_ray.settings import ModelSpec
from rcpt_ray.show import print_run
from rcpt_ray.stage import Builder, Built, Stage, StageError

PROJECT = Path(__file__).parent.parent
DOMAINS = {"stem": ["stem"], "law": ["law"], "both": ["stem", "law"]}


def compared(**changed: Any) -> dict[str, Any]:
    """A recipe of two study sources and one of replay, base and two trained arms, three domains and two seeds."""
    sample = {"path": "samples://corpus/stem.jsonl", "domain": "stem"}
    values: dict[str, Any] = {
        "name": "compared",
        "run": "runs/compared",
        "student": {"reference": "a-model"},
        "corpus": {
            "sources": {
                "stem": sample,
                "law": {"path": "samples://corpus/law.jsonl", "domain": "law"},
                "web": sample | {"role": "replay"},
            }
        },
        "thoughts": {"engine": "fake", "teacher": {"reference": "none"}},
        "comparison": {"domains": DOMAINS, "seeds": [17, 18]},
        "arms": {
            "base": {"train": False},
            "standard": {"overrides": {"mixture.layout": "text_only", "mixture.match_tokens_of": "reasoning"}},
            "reasoning": {},
        },
    }
    return values | changed


def sentence_of(values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as told:
        recipe_from(values)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_every_trained_arm_is_made_over_domains_and_seeds_and_base_stays_one() -> None:
    variants = recipe_from(compared()).variants
    assert list(variants)[:4] == ["base", "standard.stem.s17", "standard.stem.s18", "standard.law.s17"]
    assert len(variants) == 1 + 2 * 3 * 2
    one = variants["standard.law.s18"]
    assert (one.arm, one.training_domain, one.seed, one.sources) == ("standard", "law", 18, ("law",))
    assert one.matched_to == "reasoning.law.s18"
    assert variants["reasoning.both.s17"].sources is None, "all sources are no restriction"
    assert (variants["base"].training_domain, variants["base"].seed) == ("", 17)


@pytest.mark.parametrize(
    ("comparison", "name"),
    [
        ({}, "reasoning"),
        ({"domains": {"law": ["law"]}}, "reasoning"),
        ({"domains": DOMAINS}, "reasoning.law"),
        ({"seeds": [4, 5]}, "reasoning.s5"),
        ({"domains": DOMAINS, "seeds": [5]}, "reasoning.law"),
    ],
)
def test_a_name_holds_what_there_are_several_of(comparison: dict[str, Any], name: str) -> None:
    assert name in recipe_from(compared(comparison=comparison)).variants


@pytest.mark.parametrize(
    ("comparison", "told"),
    [
        ({"domains": {}}, "comparison.domains={} names no domain"),
        ({"domains": {"stem": []}}, "comparison.domains.stem=[] has no source to train on; name some of stem, law"),
        ({"domains": {"a": ["lwa"]}}, "comparison.domains.a: lwa is no source of role study; those are stem, law"),
        ({"domains": {"a": ["web"]}}, "comparison.domains.a: web is no source of role study; those are stem, law"),
        ({"domains": {"a": ["law", "law"]}}, "comparison.domains.a names law twice"),
        ({"domains": {"s17": ["law"]}}, "comparison.domains.s17: a name of a domain may hold letters"),
        ({"domains": {"a.b": ["law"]}}, "comparison.domains.a.b: a name of a domain may hold letters"),
        ({"seeds": []}, "comparison.seeds=[] holds no seed"),
        ({"seeds": [17, 18, 17]}, "comparison.seeds=[17, 18, 17] holds 17 twice; each seed is trained once"),
        ({"seeds": [-1]}, "comparison.seeds.0=-1 is wrong"),
    ],
)
def test_domains_and_seeds_that_make_no_sense_are_refused(comparison: dict[str, Any], told: str) -> None:
    assert sentence_of(compared(comparison=comparison)).startswith(told)


def test_weights_that_leave_a_domain_nothing_are_refused_with_the_numbers() -> None:
    told = sentence_of(compared(mixture={"weights": {"law/thought": 0.9, "web/replay": 0.1}}))
    assert told == (
        "arms.standard: mixture.weights {law/thought: 0.9, web/replay: 0.1} leave a share of 0 to the sources of "
        "comparison.domains.stem (stem); give one of them a weight, or take the domain out"
    )


def test_a_stream_is_not_compared_over_domains() -> None:
    arms = {"base": {"train": False}, "reasoning": {"overrides": {"training.feed": "stream"}}}
    assert "arms.reasoning: training.feed=stream is made once" in sentence_of(compared(arms=arms))
    assert recipe_from(compared(arms=arms, comparison={})).variants["reasoning"].arm == "reasoning"


def test_held_out_thoughts_need_held_out_documents() -> None:
    values = compared(evaluation={"heldout_thoughts": True})
    values["corpus"] = values["corpus"] | {"heldout_share": 0}
    assert "evaluation.heldout_thoughts=true needs held-out documents" in sentence_of(values)


def test_replay_keeps_its_share_in_every_domain() -> None:
    weights = {"stem/thought": 0.5, "law/thought": 0.3, "law/raw": 0.1, "web/replay": 0.1}
    recipe = recipe_from(compared(mixture={"weights": weights}))
    settings = recipe.variant_settings(recipe.variants["reasoning.law.s17"])
    assert settings.mixture.weights == pytest.approx({"law/thought": 0.675, "law/raw": 0.225, "web/replay": 0.1})


@given(st.dictionaries(st.sampled_from(["a/raw", "a/thought", "b/raw", "web/replay"]), st.integers(1, 50), min_size=1))
def test_weights_of_a_domain_sum_to_one_and_keep_their_proportions(parts: dict[str, int]) -> None:
    parts = {"a/thought": 1} | parts
    weights = {name: part / sum(parts.values()) for name, part in parts.items()}
    left = in_domain(MixtureSpec(weights=weights), "x", "d", ("a",)).weights
    assert left is not None and sum(left.values()) == pytest.approx(1)
    assert set(left) == {name for name in parts if not name.startswith("b/")}
    if "a/raw" in left:
        assert left["a/raw"] / left["a/thought"] == pytest.approx(parts["a/raw"] / parts["a/thought"])


class Making:
    """Makes stages without doing anything, each with a digest of what defines it; those of some titles fail."""

    def __init__(self, folder: Path, failing: Sequence[str] = ()) -> None:
        self.folder, self.failing, self.made = folder, failing, dict[str, Stage]()

    def __call__(self, stages: Sequence[Stage]) -> list[Built | StageError]:
        return [self._make(stage) for stage in stages]

    def _make(self, stage: Stage) -> Built | StageError:
        assert stage.fingerprint is not None, f"{stage.title} came before its inputs"
        assert stage.title not in self.made or stage.name in ("thoughts", "select"), "made twice"
        if stage.title in self.failing:
            return StageError(stage, RuntimeError("no luck"))
        self.made[stage.title] = stage
        digest = hashlib.sha256(canonical_json([stage.title, stage.fingerprint]).encode()).hexdigest()
        manifest = Manifest(
            stage=stage.name,
            fingerprint=stage.fingerprint,
            stage_version=stage.version,
            inputs={},
            config={},
            counts=Counts(unit="x", num_in=1, num_ok=1),
            output_digest=digest,
            seconds=1,
        )
        return Built(stage, self.folder / stage.name / stage.fingerprint, manifest)


@pytest.fixture
def a_model(tmp_path: Path) -> Callable[[ModelSpec, bool], ResolvedModel]:
    return lambda spec, _: ResolvedModel(spec.reference, str(tmp_path), "none", f"sum of {spec.reference}")


def walked(recipe: Recipe, making: Making, a_model: Any) -> Pipeline:
    return build_pipeline(recipe, Builder(making), resolve=a_model)


def test_corpus_and_thoughts_are_made_once_for_all_variants(tmp_path: Path, a_model: Any) -> None:
    recipe = load_recipe(PROJECT / "jobs/recipes/compare.yaml", ["evaluation.tasks={}"])
    making = Making(tmp_path)
    done = walked(recipe, making, a_model)
    # Thoughts, paraphrases and thoughts about held-out documents.
    assert Counter(stage.name for stage in making.made.values()) == {
        "corpus": 1,
        "thoughts": 3,
        "select": 3,
        "mixture": 24,
        "training": 24,
        "evaluation": 25,
        "report": 1,
    }
    assert len({built.digest for arm in done.arms.values() if (built := arm.generated)}) == 1
    matched = making.made["mixture of paraphrase.law.s18"].inputs["matched"]
    assert done.arms["reasoning.law.s18"].mixture is not None
    assert matched == done.arms["reasoning.law.s18"].mixture.digest
    assert making.made["mixture of reasoning.law.s18"].settings["sources"] == ["law"]
    assert making.made["training of reasoning.law.s18"].settings["seed"] == 18
    assert making.made["evaluation of reasoning.law.s18"].settings["seed"] == 17, "all are measured alike"


def test_held_out_thoughts_are_measured_on_and_never_trained_on(tmp_path: Path, a_model: Any) -> None:
    making = Making(tmp_path)
    done = walked(recipe_from(compared(evaluation={"heldout_thoughts": True})), making, a_model)
    assert done.heldout.selected is not None and done.heldout.generated is not None
    heldout = done.heldout.selected.digest
    assert making.made["held-out thoughts by fake engine"].settings["documents"] == "part-heldout-*.parquet"
    for stage in making.made.values():
        assert (heldout in stage.inputs.values()) == (stage.name == "evaluation"), stage.title


def test_a_comparison_of_one_shares_all_stages_with_the_recipe_without_it(tmp_path: Path, a_model: Any) -> None:
    plain, of_one = Making(tmp_path), Making(tmp_path)
    walked(recipe_from(compared(comparison={})), plain, a_model)
    walked(recipe_from(compared(comparison={"domains": {"all": ["law", "stem"]}, "seeds": [17]})), of_one, a_model)
    made = {title: stage.fingerprint for title, stage in plain.made.items() if title != "report"}
    assert {title: stage.fingerprint for title, stage in of_one.made.items() if title != "report"} == made


def test_a_training_that_fails_ends_its_variant_alone(tmp_path: Path, a_model: Any) -> None:
    making = Making(tmp_path, failing=["training of reasoning.law.s18"])
    done = walked(recipe_from(compared()), making, a_model)
    assert {name: str(error) for name, error in done.failures.items()} == {
        "reasoning.law.s18": "training of reasoning.law.s18: RuntimeError: no luck"
    }
    assert "evaluation of reasoning.law.s18" not in making.made
    assert "evaluation of standard.law.s18" in making.made, "its mixture was there"
    assert sum(stage.name == "evaluation" for stage in making.made.values()) == 12
    assert making.made["report"].settings["failures"] == {
        "reasoning.law.s18": "training of reasoning.law.s18: RuntimeError: no luck"
    }
    result = next(arm for arm in gather(recipe_from(compared()), finished(done)).arms if arm.failure)
    assert (result.name, result.arm, result.training_domain, result.seed) == (
        "reasoning.law.s18",
        "reasoning",
        "law",
        18,
    )
    assert result.evaluation is None and result.scores.num_rows == 0 and result.mixture is not None


def finished(done: Pipeline) -> Pipeline:
    """The same without evaluations and trainings whose files nobody wrote."""
    done.arms = {name: arm.__class__(mixture=arm.mixture) for name, arm in done.arms.items()}
    return done


def test_what_is_matched_to_a_mixture_that_failed_is_left_out_with_it(tmp_path: Path, a_model: Any) -> None:
    making = Making(tmp_path, failing=["mixture of reasoning.stem.s17"])
    done = walked(recipe_from(compared()), making, a_model)
    assert set(done.failures) == {"reasoning.stem.s17", "standard.stem.s17"}
    assert str(done.failures["standard.stem.s17"]) == "mixture of reasoning.stem.s17: RuntimeError: no luck"
    assert "mixture of standard.stem.s17" not in making.made
    assert "training of standard.stem.s18" in making.made


@pytest.mark.parametrize("failing", ["corpus", "thoughts by fake engine"])
def test_what_all_trained_variants_need_ends_everything(failing: str, tmp_path: Path, a_model: Any) -> None:
    making = Making(tmp_path, failing=[failing])
    with pytest.raises(StageError, match=f"{failing}: RuntimeError: no luck"):
        walked(recipe_from(compared()), making, a_model)
    assert not any(stage.name in ("mixture", "evaluation", "report") for stage in making.made.values())


def test_an_evaluation_costs_the_hours_of_what_computed_it() -> None:
    outcome = Outcome(Counts(unit="item", num_in=1, num_ok=1))
    spec = EvaluationSpec(gpus=1.0, pool={"price_per_engine_hour": 3.0, "max_engines": 4, "gpus_per_engine": 2.0})
    spent = with_cost(outcome, spec, Held(transformers_s=1800))
    assert (spent.cost, spent.details["gpu_hours"]) == (1.5, 0.5), "transformers is one process"
    spent = with_cost(outcome, spec, Held(transformers_s=1800, engines_s=7200))
    assert (spent.cost, spent.details["engine_hours"], spent.details["gpu_hours"]) == (7.5, 2.5, 4.5)
    assert with_cost(outcome, EvaluationSpec(), Held(1800)).cost is None


def test_the_plan_of_many_variants_is_a_page(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [
        f"run={tmp_path}",
        f"student={{reference: {tiny_model_folder}}}",
        f"thoughts.teacher={{reference: {tiny_model_folder}}}",
        "comparison.seeds=[17, 18, 19]",
        "training.price_per_worker_hour=2",
        "thoughts.pool.price_per_engine_hour=2",
        "evaluation.tasks={}",
    ]
    print_plan(load_recipe(PROJECT / "jobs/recipes/compare.yaml", more))
    printed = capsys.readouterr().out
    assert "4 trained arms over domains stem, law, both and seeds 17, 18, 19: 36 variants" in printed
    for stage in ("mixture", "training", "evaluation"):
        (line,) = [line for line in printed.splitlines() if f"{stage} of standard, its variants" in line]
        assert "9 to do" in line
    assert "reasoning.both.s17, the largest of 9" in printed
    (total,) = [line for line in printed.splitlines() if " of work left; " in line]
    assert "tokens to write; " in total and "tokens to train on; cost " in total
    assert len(printed.splitlines()) < 80


def test_many_finished_stages_are_one_line_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_atomic(tmp_path / "recipe.json", json.dumps({"layout": 1, "recipe": {"name": "compared"}}))
    for number in range(9):
        manifest = Manifest(
            stage="training",
            fingerprint=f"{number:016d}",
            stage_version=1,
            inputs={},
            config={},
            counts=Counts(unit="row", num_in=4, num_ok=4),
            tokens={"trained": 100},
            output_digest="",
            seconds=10,
            throughput={"tokens_per_s": 50.0},
            cost=0.5,
        )
        write_atomic(tmp_path / "training" / manifest.fingerprint / "manifest.json", manifest.model_dump_json())
    write_atomic(tmp_path / "training" / "f" / "failure.json", json.dumps({"reason": "its loss is nan"}))
    print_run(str(tmp_path))
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "9 folders" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")][2:] == [
        "finished",
        "36",
        "36",
        "",
        '{"trained":900}',
        "90",
        '{"tokens_per_s":50.0}',
        "4.50",
    ]
    assert "failed: its loss is nan" in printed


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model_folder: Path) -> Path:
    values = compared(run=str(tmp_path / "run"), student={"reference": str(tiny_model_folder)})
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def test_a_report_as_it_is_needs_something_finished(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(recipe_file), "--as-is"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "nothing is finished in" in told


def test_a_report_as_it_is_tells_of_what_is_finished(recipe_file: Path, tmp_path: Path) -> None:
    assert main(["prepare", str(recipe_file)]) == 0
    assert main(["report", str(recipe_file), "--as-is"]) == 0
    (page,) = (tmp_path / "run").glob("report/*/report.html")
    assert "reasoning.law.s18" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "thoughts").exists(), "nothing but the report is made"


@pytest.mark.slow
def test_the_comparison_of_the_project_runs_and_fills_every_section(tmp_path: Path) -> None:
    """compare.yaml itself with the tiny model, and one arm more whose trainings cannot begin."""
    run = tmp_path / "run"
    broken = {"training.adapter.target_modules": "nowhere", "training.max_failures": 0}
    tiny = "{reference: tiny-random-llama}"
    command = [
        "run",
        "jobs/recipes/compare.yaml",
        f"run={run}",
        f"student={tiny}",
        f"thoughts.teacher={tiny}",
        "thoughts.sampling.max_thought_tokens=32",
        "evaluation.generation_engine=transformers",
        "evaluation.tasks.quiz_generated.max_thought_tokens=16",
        "evaluation.tasks.word_problems.max_thought_tokens=16",
        "comparison.domains={stem: [stem], both: [stem, law]}",
        f"arms.broken={json.dumps({'overrides': broken})}",
    ]
    ran = rcpt(*command, "comparison.seeds=[17]", timeout_s=1500)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "2 of 11 variants failed" in ran.stdout
    assert len(manifests(run, "corpus")) == 1
    assert len(manifests(run, "thoughts")) == 3
    assert len(manifests(run, "training")) == 4 * 2
    evaluations = manifests(run, "evaluation")
    assert len(evaluations) == 1 + 4 * 2
    assert all({"quiz", "quiz_generated", "word_problems"} <= set(one.details["tasks"]) for one in evaluations)
    assert all(one.details["engine_hours"] > 0 for one in evaluations)
    page = (only_folder(run, "report") / "report.md").read_text(encoding="utf-8")
    assert "broken.stem failed: training of broken.stem: " in page
