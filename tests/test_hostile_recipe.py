"""Recipes that mean harm end in one sentence, with exit code 2, before anything is written."""

import re
from pathlib import Path

import pytest

from rcpt_ray.artifacts import open_run
from rcpt_ray.cli import main
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import load_recipe
from rcpt_ray.redact import redacted, refuse_secrets
from rcpt_ray.yaml_text import MAX_BYTES, parse_yaml

TINY = "jobs/recipes/tiny.yaml"


def _laughs(head: str, each: str) -> str:
    """Eleven anchors, each ten times the one before."""
    lines = [f"a{number}: &a{number} " + each % ",".join([f"*a{number - 1}"] * 10) for number in range(1, 12)]
    return "\n".join([f"a0: &a0 {head}", *lines])


BOMBS = {
    "an object of Python": ("student: !!python/object/apply:os.system [touch canary]", "no valid YAML in line 1"),
    "a name of Python": ("name: !!python/name:os.system", "no valid YAML in line 1"),
    "a billion laughs": (_laughs("[x]", "[%s]"), "more than 10,000 values"),
    "a billion merged keys": (_laughs("{x: 1}", "{<<: [%s]}"), "more than 10,000 values"),
    "an anchor within itself": ("arms: &a [*a]", "recursive"),
    "deep lists": ("[" * 100_000, "nested more than 24 deep"),
    "deep mappings": ("{a: " * 100 + "1" + "}" * 100, "nested more than 24 deep"),
    "very many values": (f"[{'a,' * 100_000}]", "more than 10,000 values"),
    "a key that stands twice": ("run: here\nname: x\nrun: /etc", "the key 'run' stands twice"),
    "no number": ("seed: .nan", "seed is no finite number"),
    "no end": ("seed: -.inf", "seed is no finite number"),
    "ten to the four hundredth": ("seed: 1" + "0" * 400, "more than 40 characters"),
    "hexadecimal digits": ("seed: 0x" + "f" * 200_000, "more than 40 characters"),
    "a number in sixties": ("seed: 1" + ":1" * 100_000, "more than 40 characters"),
    "a nul byte": ("name: a\0b", "special characters are not allowed"),
    "a nul escape": ('run: "a\\0b"', r"run holds the character '\\x00'"),
    "a terminal escape": ('name: "\\x1b[2J"', r"name holds the character '\\x1b'"),
    "half a character": ('name: "\\ud800"', r"name holds the character '\\ud800'"),
    "bytes": ("name: !!binary aGk=", "name is a bytes"),
    "a date": ("name: 2001-12-14", "name is a date"),
    "a set": ("arms: !!set {a}", "arms is a set"),
    "a key that is no text": ("arms: {1: {}}", "put it in quotes"),
    "too many bytes": ("x" * (MAX_BYTES + 1), "larger than 256 KiB"),
    "a name as long as a book": ("run: x\nname: [" + "x" * 200_000 + "]", r"name=\['xxxxxxxx"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_hostile_yaml_is_refused_in_one_sentence(
    bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = BOMBS[bomb]
    recipe = tmp_path / "bomb.yaml"
    recipe.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "bomb.yaml"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and len(told) < 2100 and "Traceback" not in told
    assert re.search(said, told)
    assert [file.name for file in tmp_path.iterdir()] == ["bomb.yaml"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=1" + "0" * 400, "more than 40 characters"),
        ("training.learning_rate=.nan", "no finite number"),
        ("training.learning_rate=1e999", "learning_rate='1e999' is wrong"),
        ("training.num_epochs=99999999999999999999", "no finite number"),
        ("training.num_epochs=9999999999999999", "less than or equal"),
        ("thoughts.sampling.num_samples=1000000", "less than or equal"),
        ("student=!!python/object/apply:os.system [touch canary]", "is no valid YAML"),
        ("a" + ".a" * 50_000 + "=1", "nested more than 24 deep"),
        ("student.reference=\"a\\nb\"", "student.reference="),
        ("__class__=x", "__class__ is not a setting"),
        ("run=" + "x" * 300, "cannot be written|File name too long"),
        ("corpus.sources.stem.path=" + "x" * 300, "a name of 255"),
        ("evaluation.tasks={../../canary: {path: x}}", "string should match pattern"),
        ("evaluation.tasks={q: {kind: stock, name: mmlu, data: {/etc/x: x.jsonl}}}", "string should match pattern"),
        ("arms={../x: {}}", "may hold letters, digits"),
        ("name=../../x", "name='../../x' is wrong"),
        ("thoughts.prompt=../../../etc/passwd", "thoughts.prompt="),
        ("thoughts.engine_args={trust_remote_code: true}", "trust_remote_code is not passed on"),
        ("thoughts.pool.engine_args={worker-cls: os.system}", "can run code"),
        ("thoughts.http.api_key_variable=AWS_SECRET_ACCESS_KEY", "ends in _API_KEY"),
        ("arms.reasoning.overrides={training.watch.heldout_every_steps: 1, training.guard.others.folder: /etc,"
         " training.guard.others.name: cron}", "is outside of run="),
        ("sweep={arm: reasoning, space: {training.num_epochs: {low: 1, high: 9, levels: 1000000000}}}", "levels="),
    ],
)  # fmt: skip
def test_hostile_override_is_refused(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        open_run(load_recipe(TINY, [override]).run, {})


@pytest.mark.parametrize(
    "override",
    [
        "run=CANARY",
        "corpus.sources.stem.path=s3://key:CANARY@bucket/x.jsonl",
        "corpus.sources.stem.path=s3://bucket/x.jsonl?X-Amz-Signature=CANARY",
        "thoughts.http.url=https://user:CANARY@host/v1",
        "thoughts.http.url=https://host/v1?api_key=CANARY",
        "thoughts.http.api_key_variable=CANARY",
        "training.watch.mlflow=postgresql://user:CANARY@host/db",
        "student.revision=CANARY",
        "arms.reasoning.description=my token is CANARY",
        "arms.reasoning.overrides={mixture.thought_open: CANARY}",
        "thoughts.engine_args={CANARY: 1}",
        "corpus.sources.stem.where={name: [CANARY]}",
        "no_setting.CANARY=1",
        "hf_CANARYcanary0123456789",
    ],
)
def test_secret_in_a_recipe_is_refused_and_not_repeated(
    override: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "canarySECRET0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    assert main(["run", TINY, override.replace("CANARY", secret)]) == 2
    told = capsys.readouterr()
    assert secret not in told.out + told.err


def test_recipe_without_an_end_is_read_no_further_than_its_limit() -> None:
    with pytest.raises(UserError, match="larger than 256 KiB"):
        load_recipe("/dev/zero")


def test_minus_zero_is_zero() -> None:
    """Else two equal recipes had two fingerprints."""
    spec = load_recipe(TINY, ["training.weight_decay=-0.0"]).training
    assert str(spec.weight_decay) == "0.0"


@pytest.mark.parametrize(
    "name", ["/shared/runs/hf_smollm2_135m_paper", "sk-wikipedia-corpus-2024", "sk-SmolLM2-135M-Instruct-on-Law"]
)
def test_name_that_begins_as_a_key_does_is_a_name(name: str) -> None:
    refuse_secrets({"run": name})
    assert redacted(f"cannot read {name}") == f"cannot read {name}"


@pytest.mark.parametrize(
    "key",
    [
        "hf_" + "aBcDeFgHiJkLmNoPq" * 2,
        "sk-" + "aB3dE6gH9jK2" * 4,
        "sk-proj-" + "x_aB3dE6gH9jK2-" * 8,
        "sk-ant-api03-aB3dE6gH9jK2mN5p-qR8s",
        "sk-or-v1-" + "0a1b2c3d" * 8,
    ],
)
def test_key_of_a_known_shape_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="run holds a user, password, key or token"):
        refuse_secrets({"run": f"/shared/{key}"})
    assert redacted(f"denied: {key}") == "denied: ***"


def test_one_mapping_of_many_keys_is_merged_and_many_mappings_are_not() -> None:
    base = "base: &base {" + ", ".join(f"k{number}: {number}" for number in range(60)) + "}\n"
    assert len(parse_yaml(base + "own: {<<: *base, k0: x}", "this")["own"]) == 60
    with pytest.raises(UserError, match="more than 50 mappings are merged"):
        parse_yaml(base + f"own: {{<<: [{', '.join(['*base'] * 51)}]}}", "this")
