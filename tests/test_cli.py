"""What a user sees: help at once, and every mistake as one sentence with exit code 2 and nothing left half made."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

VERBS = [
    "run",
    "prepare",
    "synthesize",
    "mix",
    "train",
    "evaluate",
    "report",
    "sweep",
    "plan",
    "show",
    "doctor",
    "models",
]
HEAVY = {"ray", "torch", "vllm", "pydantic", "pyarrow", "numpy", "transformers", "deepspeed", "lm_eval", "datasets"}


@dataclass(frozen=True)
class Place:
    """A folder of its own with a recipe that would work, and one document to read."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def corpus(self) -> Path:
        return self.folder / "web.jsonl"

    def write(self, **changed: Any) -> None:
        values = {
            "name": "small",
            "run": str(self.run),
            "student": {"reference": "tiny-random-llama"},
            "corpus": {"sources": {"web": {"path": str(self.corpus), "domain": "stem"}}, "heldout_share": 0},
            "thoughts": {"engine": "fake", "teacher": {"reference": "none"}},
            "arms": {"base": {"train": False}, "reasoning": {}},
        }
        self.recipe.write_text(yaml.safe_dump(values | changed), encoding="utf-8")
        self.corpus.write_text(json.dumps({"id": "1", "text": "word " * 30}) + "\n", encoding="utf-8")

    def rcpt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`rcpt ARGUMENTS` in this folder, without a network."""
        env = os.environ | {"RCPT_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "rcpt_ray", *arguments]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.write()
    return place


def test_help_comes_before_anything_heavy_is_imported() -> None:
    """Nor does importing the package import any of it; checked in a process in which nothing else was."""
    code = (
        "import contextlib, sys; from rcpt_ray.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(yaml.safe_load(ran.stderr))
    listed = [line.split()[0] for line in ran.stdout.splitlines() if line.strip()]
    assert set(VERBS) < set(listed)


def told(ran: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refused command."""
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith("rcpt: ")
    return line.removeprefix("rcpt: ")


def remove_recipe(place: Place) -> None:
    place.recipe.unlink()


def misspell_a_setting(place: Place) -> None:
    place.write(trainin={"num_epochs": 2})


def give_words_for_a_number(place: Place) -> None:
    place.write(seed="many")


def remove_corpus(place: Place) -> None:
    place.corpus.unlink()


def empty_corpus(place: Place) -> None:
    place.corpus.write_text("")


def leave_a_text_null(place: Place) -> None:
    with place.corpus.open("a") as file:
        file.write('{"id": "3", "text": null}\n')


def write_latin_1(place: Place) -> None:
    with place.corpus.open("ab") as file:
        file.write(b'{"id": "2", "text": "M\xfcller"}\n')


def put_the_run_below_a_file(place: Place) -> None:
    (place.folder / "file").write_text("")
    place.write(run=str(place.folder / "file" / "run"))


def take_a_run_of_another_layout(place: Place) -> None:
    place.run.mkdir()
    (place.run / "recipe.json").write_text('{"layout": 999, "recipe": {}}')


@pytest.mark.parametrize(
    ("mistake", "parts"),
    [
        (remove_recipe, ["recipe", "recipe.yaml does not exist", "give the path of a .yaml file"]),
        (misspell_a_setting, ["trainin is not a setting", "remove it or mend its spelling"]),
        (give_words_for_a_number, ["seed='many'", "valid integer"]),
        (remove_corpus, ["corpus.sources.web.path=", "web.jsonl names no file", "give a file, folder or glob"]),
        (empty_corpus, ["corpus.sources", "no rows", "give files with at least one document"]),
        (leave_a_text_null, ["web.jsonl line 2 has no text", "remove the row or set corpus.bad_rows=reject"]),
        (write_latin_1, ["web.jsonl line 2 is not UTF-8", "convert the file to UTF-8"]),
        (put_the_run_below_a_file, ["run=", "file/run cannot be written", "give a folder that you may write"]),
        (take_a_run_of_another_layout, ["run has layout 999 but", "give a new run folder"]),
    ],
    ids=lambda given: given.__name__ if callable(given) else "told",
)
def test_mistake_in_preparing_is_one_sentence_and_finishes_nothing(
    place: Place, mistake: Callable[[Place], None], parts: list[str]
) -> None:
    mistake(place)
    sentence = told(place.rcpt("prepare", str(place.recipe)))
    for part in parts:
        assert part in sentence
    assert list(place.folder.rglob("manifest.json")) == []


def test_model_that_is_nowhere_is_told_before_anything_is_made(place: Place) -> None:
    place.write(student={"reference": "no-such-organisation/no-such-model"})
    sentence = told(place.rcpt("mix", str(place.recipe)))
    assert "model 'no-such-organisation/no-such-model'" in sentence
    assert list(place.folder.rglob("manifest.json")) == []


def test_run_of_another_layout_is_refused_also_by_a_plan(place: Place) -> None:
    """Before the student, which is nowhere, is looked for."""
    take_a_run_of_another_layout(place)
    place.write(student={"reference": "no-such-organisation/no-such-model"})
    assert "run has layout 999 but" in told(place.rcpt("plan", str(place.recipe)))


def test_prepared_corpus_is_shown(place: Place) -> None:
    made = place.rcpt("prepare", str(place.recipe), "corpus.min_words=10")
    assert (made.returncode, made.stderr) == (0, "")
    assert "made     corpus" in made.stdout and "1 of 1 (document)" in made.stdout
    (manifest,) = place.run.glob("corpus/*/manifest.json")
    shown = place.rcpt("show", str(place.run))
    assert shown.returncode == 0 and manifest.parent.name in shown.stdout


def test_folder_that_is_no_run_cannot_be_shown(place: Place) -> None:
    sentence = told(place.rcpt("show", str(place.folder)))
    assert "is not a run folder: it has no recipe.json; give a folder made by rcpt" in sentence
