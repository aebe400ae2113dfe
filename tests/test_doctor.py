"""`rcpt doctor` from a broken state: each finding names what is wrong and what to do, and nothing shows a traceback."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import PROJECT

from rcpt_ray.cli import main
from rcpt_ray.doctor import command, gpu, machine, model_access, storage, token, versions
from rcpt_ray.doctor.check import Check
from rcpt_ray.doctor.elsewhere import NoAnswer, ask
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe, load_recipe

TORCH = {
    "torch": "2.13.0",
    "built_for": "13.0",
    "available": True,
    "driver_cuda": "13.0",
    "nccl": "2.28.9",
    "bf16": True,
}
CARD = "NVIDIA L40S, 46068 MiB, 580.95.05"


@pytest.fixture
def quiet_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token as it should be, in a home of its own."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "home" / ".ray" / "auth_token"
    file.parent.mkdir(parents=True)
    file.write_text("0" * 64)
    file.chmod(0o600)
    return file


def recipe_of(tmp_path: Path, *overrides: str, **changed: Any) -> Recipe:
    values = {
        "name": "small",
        "run": str(tmp_path / "run"),
        "student": {"reference": "tiny-random-llama"},
        "corpus": {"sources": {"web": {"path": str(tmp_path / "web.jsonl"), "domain": "stem"}}},
        "thoughts": {"engine": "fake", "teacher": {"reference": "none"}},
        "arms": {"base": {"train": False}, "reasoning": {}},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values | changed))
    return load_recipe(file, overrides)


def only(checks: Iterator[Check] | list[Check], name: str = "") -> Check:
    (check,) = [one for one in checks if not name or one.name == name]
    return check


def assert_wants(check: Check, found: str, fix: str) -> None:
    assert not check.well and found in check.found and fix in check.fix, check.line


# --- token -----------------------------------------------------------------------------------------------------------


def test_token_for_its_owner_alone_is_well(quiet_token: Path) -> None:
    assert only(list(token.token_checks(needs_token=True))).well


def test_token_as_ray_leaves_it_may_be_read_by_others(quiet_token: Path) -> None:
    """`ray get-auth-token --generate` writes with the umask, so usually with mode 644."""
    quiet_token.chmod(0o644)
    assert_wants(only(list(token.token_checks(True))), "mode 644", f"chmod 600 {quiet_token}")


def test_token_that_is_missing_matters_where_a_cluster_is_joined(quiet_token: Path) -> None:
    quiet_token.unlink()
    assert_wants(only(list(token.token_checks(needs_token=True))), "no ", "ray get-auth-token --generate")
    assert only(list(token.token_checks(needs_token=False))).well


def test_empty_token_and_a_path_to_none_end_ray(quiet_token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_token.write_text("\n")
    assert_wants(only(list(token.token_checks(True))), "is empty", "remove it")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(quiet_token.with_name("other")))
    assert_wants(only(list(token.token_checks(False))), "does not exist", "unset RAY_AUTH_TOKEN_PATH")


def test_authentication_switched_off_is_told(quiet_token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert_wants(only(list(token.token_checks(False))), "RAY_AUTH_MODE=disabled", "unset RAY_AUTH_MODE")


def test_dashboard_that_listens_to_the_world_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert token.listening_check(["127.0.0.1", "::1"]).well
    assert_wants(token.listening_check(["0.0.0.0"]), "listens on 0.0.0.0", "--dashboard-host=127.0.0.1")


# --- storage ---------------------------------------------------------------------------------------------------------


def test_folders_are_tried_and_left_as_they_were(tmp_path: Path) -> None:
    assert all(check.well for check in storage.run_checks(str(tmp_path / "not" / "yet")))
    assert list(tmp_path.iterdir()) == []


def test_run_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Below a file; modes would not stop root."""
    (tmp_path / "file").write_text("")
    check = only(storage.run_checks(str(tmp_path / "file" / "run")), "run folder")
    assert_wants(check, "Not a directory", "give run= a folder that you may write")


def test_run_on_an_object_store_is_told() -> None:
    assert_wants(only(list(storage.run_checks("s3://bucket/run"))), "is not a folder", "every node mounts")


def test_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an NFS mount with nolock: the other process is let in."""

    class NoLock:
        def __init__(self, path: Path) -> None:
            path.touch()

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(storage, "FileLock", NoLock)
    assert_wants(only(storage.run_checks(str(tmp_path)), "run folder"), "does not keep another process out", "NFS 4.1")


def test_clock_of_the_file_server_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.time, "time", lambda now=time.time: now() + 90)
    assert_wants(only(storage.run_checks(str(tmp_path)), "clock"), "90 s off", "time synchronization")


# --- GPUs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("torch", "name", "found", "fix"),
    [
        (TORCH | {"built_for": None}, "CUDA", "is built for CPUs", "requirements/gpu.txt"),
        (TORCH | {"driver_cuda": "12.8"}, "CUDA", "built for 13.0, the driver runs 12.8", "update the NVIDIA driver"),
        (TORCH | {"available": False}, "CUDA", "torch sees no card", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_cards_that_torch_cannot_use_are_told(torch: dict[str, Any], name: str, found: str, fix: str) -> None:
    assert_wants(only(gpu.gpu_checks(gpu.Found([CARD], "", torch), False), name), found, fix)


def test_cards_that_work_are_told_with_cuda_and_nccl() -> None:
    checks = list(gpu.gpu_checks(gpu.Found([CARD, CARD], "", TORCH), True))
    assert all(check.well for check in checks)
    assert [check.found for check in checks][0::2] == [f"2 x {CARD}", "2.28.9"]


def test_driver_that_fails_and_torch_that_does_not_import_are_told() -> None:
    says = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"
    assert_wants(only(list(gpu.gpu_checks(gpu.Found([], says, TORCH), False))), says, "driver")
    broken = gpu.Found([], "", {}, "ImportError: libcudart.so.13: cannot open shared object file")
    assert_wants(only(list(gpu.gpu_checks(broken, False))), "libcudart", "make install")


def test_machine_without_cards_is_well_unless_the_recipe_wants_some() -> None:
    nothing = gpu.Found([], "", TORCH | {"built_for": None})
    assert all(check.well for check in gpu.gpu_checks(nothing, are_wanted=False))
    assert_wants(only(gpu.gpu_checks(nothing, are_wanted=True), "GPUs"), "wants some here", "cluster.address=auto")


# --- packages, machine, models ---------------------------------------------------------------------------------------


def test_each_package_that_differs_or_is_missing_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = {"ray": "2.61.0", "deepspeed": "0.19.8", "PyYAML": metadata.version("pyyaml"), "some-extra": "1.0"}

    def installed(name: str, version: Any = metadata.version) -> str:
        if name == "deepspeed":
            raise metadata.PackageNotFoundError(name)
        return str(version(name))

    monkeypatch.setattr(versions, "project_pins", lambda: ("requirements/cpu.txt", pins))
    monkeypatch.setattr(metadata, "version", installed)
    told = {check.name: check for check in versions.version_checks() if check.name != "Python"}
    assert set(told) == {"ray", "deepspeed"}  # one that nothing here asks for may be absent
    assert_wants(told["ray"], "pinned at 2.61.0", "make install")
    assert_wants(told["deepspeed"], "missing", "make install")


def test_pins_of_this_project_are_found() -> None:
    source, pins = versions.project_pins()
    assert source == "requirements/cpu.txt" and pins["ray"] == metadata.version("ray")


def test_small_shared_memory_is_told() -> None:
    """Docker's default is 64 MB."""
    assert_wants(machine.store_check(0.06), "0.1 GiB free", "--shm-size=8g")


def test_models_of_a_recipe_are_looked_for_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    thoughts = {"engine": "vllm", "teacher": {"reference": str(tmp_path / "half")}}
    recipe = recipe_of(tmp_path, student={"reference": "no-organisation/no-model"}, thoughts=thoughts)
    student, teacher = model_access.model_checks(recipe)
    assert_wants(student, "not in the cache and the hub is out of reach", "rcpt models pull no-organisation/no-model")
    assert_wants(teacher, "no safetensors weights", "save_pretrained")
    assert not (tmp_path / "cache").exists()
    assert [check.well for check in model_access.model_checks(recipe_of(tmp_path))] == [True]


# --- the command -----------------------------------------------------------------------------------------------------


def test_check_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    def breaks() -> list[Check]:
        raise ZeroDivisionError("no way")

    checks = list(command.all_checks([("one", breaks), ("two", lambda: [Check("two", True, "here")])]))
    assert_wants(checks[0], "ZeroDivisionError: no way", "run rcpt doctor again")
    assert [check.well for check in checks] == [False, True]


def test_process_that_ends_or_hangs_while_it_is_asked_is_told() -> None:
    with pytest.raises(NoAnswer, match="No module named"):
        ask("rcpt_ray.no_such_module", timeout_s=60)
    with pytest.raises(NoAnswer, match="no answer within 0 s"):
        ask("rcpt_ray.doctor.torch_facts", timeout_s=0.01)


def test_broken_machine_ends_with_code_2_one_sentence_and_no_traceback(tmp_path: Path, quiet_token: Path) -> None:
    """A token that all may read, a cache below a file, and a cluster where nobody is."""
    quiet_token.chmod(0o644)
    (tmp_path / "file").write_text("")
    recipe_of(tmp_path)
    environment = os.environ | {"RCPT_CACHE": str(tmp_path / "file" / "cache"), "HF_HUB_OFFLINE": "1"}
    arguments = ["doctor", str(tmp_path / "recipe.yaml"), "cluster.address=127.0.0.1:1"]
    ran = subprocess.run(
        [sys.executable, "-m", "rcpt_ray", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2 and "Traceback" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    fixes = {line[5:29].strip(): line for line in ran.stdout.splitlines() if line.startswith("FIX")}
    assert {"token", "model cache", "cluster"} <= set(fixes)
    assert "set RCPT_CACHE to a folder that you may write" in fixes["model cache"]
    assert "nothing answers at 127.0.0.1:1" in fixes["cluster"] and "ray up cluster.yaml" in fixes["cluster"]
    (sentence,) = ran.stderr.splitlines()
    assert sentence.startswith("rcpt: doctor: ") and "what to do stands beside each" in sentence


def test_recipe_that_is_wrong_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "none.yaml")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "none.yaml does not exist" in told.err


def test_everything_well_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "groups", lambda recipe: [("a", lambda: [Check("a", True, "here")])])
    command.print_checks()
    monkeypatch.setattr(command, "groups", lambda recipe: [("a", lambda: [Check("a", False, "gone", "bring it")])])
    with pytest.raises(UserError, match="doctor: a need attention"):
        command.print_checks()
    assert [line[:3] for line in capsys.readouterr().out.splitlines()] == ["ok ", "FIX"]
