"""`rcpt plan` says what each training would do and need, before and after its mixture is there, and starts nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rcpt_ray.artifacts import Counts, Manifest, write_atomic
from rcpt_ray.cli import main
from rcpt_ray.plan import print_plan
from rcpt_ray.recipe import load_recipe

ARMS = {"base": {"train": False}, "standard": {"overrides": {"mixture.layout": "text_only"}}}
TRAINING = {"global_batch_rows": 8, "num_workers": 2, "learning_rate": 0.001, "schedule": "wsd", "warmup_share": 0.25}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A folder with a recipe and a corpus of 60 documents."""
    folder = tmp_path_factory.mktemp("plan")
    documents = [
        json.dumps({"id": str(n), "text": f"document {n} " + "some more words " * (20 + n)}) for n in range(60)
    ]
    (folder / "web.jsonl").write_text("\n".join(documents))
    recipe = {
        "name": "small",
        "run": str(folder / "run"),
        "student": {"reference": str(tiny_model_folder)},
        "corpus": {"sources": {"web": {"path": str(folder / "web.jsonl"), "domain": "stem"}}, "heldout_share": 0},
        "thoughts": {"engine": "fake", "teacher": {"reference": "none"}},
        "mixture": {"row_tokens": 512},
        "training": TRAINING,
        "report": {"baseline": "base"},
        "arms": ARMS,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def planned(place: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What is printed, without the frames of tables."""
    capsys.readouterr()
    print_plan(load_recipe(place / "recipe.yaml", overrides))
    return capsys.readouterr().out


def cells(printed: str, label: str) -> list[str]:
    """The values of a row of the table of trainings."""
    (line,) = [line for line in printed.splitlines() if line.startswith("│") and line[1:].strip().startswith(label)]
    return [cell.strip() for cell in line.strip("│").split("│")[1:]]


def test_before_the_mixture_is_there_figures_are_expected_ones(place: Path, capsys: Any) -> None:
    printed = planned(place, capsys)
    (rows,) = cells(printed, "rows")
    assert rows.startswith("about ") and rows.endswith(" of 512 tokens")
    assert cells(printed, "global batch") == ["8 rows, 4,096 tokens"]
    assert cells(printed, "workers x micro-batch x accumulations") == ["2 x 1 x 4"]
    assert cells(printed, "learning rate")[0].startswith("wsd, 0.001 to ")
    assert cells(printed, "trained") == ["all parameters, 0.2M of 0.2M"]
    assert cells(printed, "memory of a worker")[0].endswith("GiB")
    assert '"gradient_accumulation_steps": 4' in printed


def test_plan_imports_neither_torch_nor_ray_and_makes_nothing(place: Path) -> None:
    code = (
        "import sys; from rcpt_ray.cli import main\n"
        "code = main(['plan', sys.argv[1], 'run=' + sys.argv[2]])\n"
        "print(code, sorted({'torch', 'ray', 'transformers', 'deepspeed'} & set(sys.modules)))"
    )
    run = place / "never"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(place / "recipe.yaml"), str(run)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "0 []", ran.stdout + ran.stderr
    assert not run.exists()


def test_trainings_that_differ_stand_side_by_side_and_equal_ones_together(place: Path, capsys: Any) -> None:
    arms = ARMS | {
        "again": ARMS["standard"],
        "lora": {"overrides": {"mixture.layout": "text_only", "training.adapter": {"rank": 4, "alpha": 8}}},
    }
    printed = planned(place, capsys, f"arms={json.dumps(arms)}")
    (header,) = [line for line in printed.splitlines() if line.startswith("┃ training ")]
    assert [name.strip() for name in header.strip("┃").split("┃")[1:]] == ["standard, again", "lora"]
    assert cells(printed, "trained")[1].startswith("adapters of rank 4, ")


@pytest.fixture(scope="module")
def mixed(place: Path) -> Manifest:
    """The mixture, made by `rcpt mix` in a run folder of its own."""
    assert main(["mix", str(place / "recipe.yaml"), f"run={place / 'mixed'}"]) == 0
    (file,) = (place / "mixed").glob("mixture/*/manifest.json")
    return Manifest.model_validate_json(file.read_text())


def test_steps_that_a_streaming_training_is_set_to_are_planned(place: Path, capsys: Any) -> None:
    stream = ["arms={reasoning: {}}", "report.baseline=reasoning", "training.feed=stream", "training.num_epochs=1"]
    set_to = planned(place, capsys, *stream, "training.stream.num_steps=40")
    assert cells(set_to, "steps") == ["40, 10 of warmup, 8 of decay"]
    assert cells(set_to, "rows") == ["about 320 of 512 tokens"]
    (reckoned,) = cells(planned(place, capsys, *stream), "steps")
    assert reckoned.startswith("about ") and not reckoned.startswith("about 40,")
    packed = [*stream, "training.feed=packed", "training.stream.num_steps=40"]
    assert cells(planned(place, capsys, *packed), "steps") == [reckoned]


def test_finished_mixture_gives_the_exact_rows_and_steps(place: Path, mixed: Manifest, capsys: Any) -> None:
    printed = planned(place, capsys, f"run={place / 'mixed'}", "training.num_epochs=3")
    num_rows = mixed.details["num_rows"]
    assert cells(printed, "rows") == [f"{num_rows:,} of 512 tokens x 3 epochs"]
    assert cells(printed, "tokens read") == [f"{3 * mixed.tokens['all']:,}"]
    num_steps = -(-3 * num_rows // 8)
    assert cells(printed, "steps") == [
        f"{num_steps}, {round(num_steps * 0.25)} of warmup, {round(num_steps * 0.2)} of decay"
    ]


def test_time_is_that_of_the_speed_measured_in_the_run_folder(place: Path, mixed: Manifest, capsys: Any) -> None:
    run = place / "mixed"
    assumed = cells(planned(place, capsys, f"run={run}"), "time")
    assert assumed[0].endswith("on 2 CPUs (assumed speed)")
    counts = Counts(unit="packed row read", num_in=1, num_ok=1)
    measured = Manifest(
        stage="training",
        fingerprint="0" * 16,
        stage_version=1,
        inputs={},
        config={},
        counts=counts,
        output_digest="",
        seconds=1,
        throughput={"tokens_per_s": mixed.tokens["all"] / 90},
    )
    file = run / "training" / ("0" * 16) / "manifest.json"
    write_atomic(file, measured.model_dump_json())
    assert cells(planned(place, capsys, f"run={run}"), "time") == ["about 1 min 30 s on 2 CPUs (speed measured here)"]
    file.unlink()


def test_expected_speed_stands_in_until_one_is_measured(place: Path, mixed: Manifest, capsys: Any) -> None:
    """Two workers of half the speed that takes the mixture 90 seconds, at an hourly price of 40 each."""
    half = mixed.tokens["all"] / 180
    expected = [f"run={place / 'mixed'}", f"training.expected_tokens_per_s={half}", "training.price_per_worker_hour=40"]
    printed = planned(place, capsys, *expected)
    assert cells(printed, "time") == ["about 1 min 30 s on 2 CPUs (expected speed)"]
    assert "cost 2.00" in printed


def test_more_memory_than_there_is_is_a_warning(place: Path, capsys: Any) -> None:
    huge = ["training.micro_batch_rows=100000", "training.global_batch_rows=200000"]
    (warning,) = [line for line in planned(place, capsys, *huge).splitlines() if "2 workers need" in line]
    assert warning.startswith("beware: ") and "but this machine has" in warning
    assert "training.gradient_checkpointing=true" in warning
    assert "2 workers need" not in planned(place, capsys)


def test_gpu_that_is_not_here_is_told_by_its_size(place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    printed = planned(place, capsys, "training.gpus_per_worker=1")
    assert "beware: a worker needs a GPU of 16 GB or more" in printed
    assert "on 2 GPUs" in cells(printed, "time")[0]


def test_fewer_rows_than_a_batch_are_one_step_and_a_warning(place: Path, capsys: Any) -> None:
    printed = planned(place, capsys, "training.global_batch_rows=4096")
    assert "are fewer than training.global_batch_rows=4096, so there is one step, partly of empty rows" in printed
    assert cells(printed, "steps")[0].startswith("about 1")


def test_rows_longer_than_the_context_of_the_student_are_a_warning(place: Path, capsys: Any) -> None:
    assert "beware: mixture.row_tokens=4,096 is longer than the student's context of 2,048 tokens" in planned(
        place, capsys, "mixture.row_tokens=4096"
    )


def test_impossible_plan_ends_with_code_2_and_one_sentence(place: Path, capsys: Any) -> None:
    """Nothing to train on, and shares of the steps that do not fit into one training."""
    (place / "empty.jsonl").write_text("")
    assert main(["plan", str(place / "recipe.yaml"), f"corpus.sources.web.path={place / 'empty.jsonl'}"]) == 2
    assert main(["plan", str(place / "recipe.yaml"), "training.decay_share=0.8"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("rcpt: training: the mixture has 0 packed rows of 512 tokens")
    assert "warmup_share=0.25 + decay_share=0.8 must not be above 1" in second
