"""The memory that is planned: parameters and states are those of the real model, and the rest grows as it should."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.memory import MemoryNeed, memory_need, num_trained
from rcpt_ray.training.model_shape import LayerShape, ModelShape, read_model_shape
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec

MEASURE = """
import json, os, sys, tempfile
os.environ["DS_ACCELERATOR"], os.environ["LOCAL_RANK"] = "cpu", "0"
import torch
from pathlib import Path
from rcpt_ray.training.engine import start_engine
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec

folder = sys.argv[1]
store = torch.distributed.FileStore(tempfile.mktemp(), 1)
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
for changed in json.loads(sys.argv[2]):
    spec = TrainingSpec(**changed | {"precision": "bf16"})
    plan = make_plan(spec, 8, 32, 17)
    engine, optimizer = start_engine(TrainingJob(spec, plan, 0, folder, [], Path(folder), folder))
    parameters = [each for each in engine.module.parameters() if each.requires_grad]
    ids = torch.arange(64).reshape(2, 32)
    engine.backward(engine(input_ids=ids, use_cache=False).logits.float().square().mean())
    engine.step()
    tensors = {each.data_ptr(): each for each in engine.module.parameters()}
    moments = [each for state in optimizer.optimizer.state.values() for each in state.values() if each.numel() > 1]
    masters = [each for group in optimizer.optimizer.param_groups for each in group["params"]]
    sums = getattr(optimizer, "fp32_groups_gradients_flat", [])
    print("measured", json.dumps({
        "parameters": sum(each.numel() * each.element_size() for each in tensors.values()),
        "optimizer": sum(each.numel() * each.element_size() for each in [*masters, *moments]),
        "trained": sum(each.numel() for each in parameters),
        "gradients": sum(each.numel() * each.element_size() for each in sums),
    }))
"""


def spec_of(**changed: Any) -> TrainingSpec:
    return TrainingSpec(**({"global_batch_rows": 2, "micro_batch_rows": 2, "num_workers": 1} | changed))


def need_of(model: ModelShape, spec: TrainingSpec, row_tokens: int = 512, precision: Any = "bf16") -> MemoryNeed:
    plan = make_plan(spec, 64, row_tokens, seed=17)
    return memory_need(model, spec, plan, precision, deepspeed_config(spec, plan, precision))


def test_parameters_and_states_are_those_that_deepspeed_holds(tiny_model_folder: Path) -> None:
    """In full and with adapters; one process starts DeepSpeed for both."""
    specs = [spec_of(zero_stage=2), spec_of(zero_stage=1, adapter={"rank": 4, "alpha": 8})]
    changed = json.dumps([spec.model_dump() for spec in specs])
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tiny_model_folder), changed], capture_output=True, text=True, check=False
    )
    measured = [json.loads(line.split(" ", 1)[1]) for line in ran.stdout.splitlines() if line.startswith("measured ")]
    assert len(measured) == len(specs), ran.stderr
    model = read_model_shape(tiny_model_folder)
    for spec, found in zip(specs, measured, strict=True):
        need = need_of(model, spec)
        planned = {
            "parameters": need.parameters,
            "optimizer": need.optimizer,
            "trained": num_trained(model, spec),
            "gradients": need.gradients if spec.zero_stage == 1 else 0,  # the others come and go
        }
        assert planned == found


def test_parameters_are_counted_without_the_model(tiny_model_folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_model_folder)
    shape = read_model_shape(tiny_model_folder)
    assert shape.num_parameters == model.num_parameters() == 188_736
    assert shape.layer == LayerShape(2, 64, num_heads=2, num_kv_heads=1, head=32, intermediate=256)
    assert (shape.vocabulary, shape.context_tokens) == (model.config.vocab_size, 2048)


def mixture_of_experts(folder: Path) -> ModelShape:
    """Two layers of 8 experts, 2 of them for a token, in two files as large models come."""
    folder.mkdir(exist_ok=True)
    names, files = {}, ["model-1.safetensors", "model-2.safetensors"]
    for number, file in enumerate(files):
        tensors = {f"model.layers.{number}.mlp.experts.{expert}.up_proj.weight": [128, 64] for expert in range(8)}
        if number == 0:
            tensors["model.embed_tokens.weight"] = [1000, 64]
        header = {name: {"dtype": "BF16", "shape": size, "data_offsets": [0, 0]} for name, size in tensors.items()}
        content = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
        (folder / file).write_bytes(len(content).to_bytes(8, "little") + content)
        names |= dict.fromkeys(tensors, file)
    (folder / "other.safetensors").write_bytes(b"not of this model")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    config = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 1000}
    config |= {"num_experts_per_tok": 2, "moe_intermediate_size": 128, "intermediate_size": 999}
    (folder / "config.json").write_text(json.dumps({"text_config": config}))
    return read_model_shape(folder)


def test_all_experts_are_held_and_those_chosen_are_gone_through(tmp_path: Path) -> None:
    model = mixture_of_experts(tmp_path)
    assert model.num_parameters == 2 * 8 * 128 * 64 + 1000 * 64
    assert model.layer is not None and model.layer.intermediate == 2 * 128
    assert model.num_adapter_parameters(4, "all-linear") == 2 * 8 * 4 * (128 + 64)
    assert model.num_adapter_parameters(4, r".*\.0\.mlp\.experts\.[01]\..*") == 2 * 4 * (128 + 64)


def test_unknown_architecture_has_states_and_no_activations(tmp_path: Path) -> None:
    mixture_of_experts(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"dim": 64}))
    model = read_model_shape(tmp_path)
    need = need_of(model, spec_of())
    assert model.layer is None
    assert (need.parameters, need.activations) == (2 * model.num_parameters, 0)


LARGE = ModelShape(
    tensors={"model.embed_tokens.weight": (100_000, 4096), "model.layers.0.mlp.up_proj.weight": (4096, 400_000)},
    vocabulary=100_000,
    context_tokens=None,
    layer=LayerShape(num_layers=32, hidden=4096, num_heads=32, num_kv_heads=8, head=128, intermediate=12_800),
)


@pytest.mark.parametrize(
    ("zero_stage", "parameters", "gradients", "optimizer"), [(0, 2, 2, 12), (1, 2, 4, 3), (2, 2, 1, 3)]
)
def test_stages_of_zero_share_out_optimizer_then_gradients(
    zero_stage: int, parameters: float, gradients: float, optimizer: float
) -> None:
    """Bytes a parameter on 4 workers, as in figure 1 of the ZeRO paper but for gradients, whose sums are in fp32."""
    need, size = (
        need_of(LARGE, spec_of(zero_stage=zero_stage, num_workers=4, global_batch_rows=8)),
        LARGE.num_parameters,
    )
    assert (need.parameters, need.gradients, need.optimizer) == (
        parameters * size,
        gradients * size,
        optimizer * size,
    )


def test_third_stage_holds_a_share_and_what_it_has_gathered() -> None:
    need = need_of(LARGE, spec_of(zero_stage=3, num_workers=4, global_batch_rows=8))
    assert need.parameters == 2 * (LARGE.num_parameters // 4 + 1_000_000_000)
    small = need_of(LARGE, spec_of(zero_stage=3, num_workers=8, global_batch_rows=16))
    assert small.optimizer == 12 * LARGE.num_parameters // 8


def test_offloaded_optimizer_moves_to_the_host_of_a_gpu_alone() -> None:
    on_gpu = need_of(LARGE, spec_of(offload_optimizer=True, gpus_per_worker=1))
    assert (on_gpu.optimizer, on_gpu.step) == (0, 0)
    assert on_gpu.host >= 12 * LARGE.num_parameters
    on_cpu = need_of(LARGE, spec_of(offload_optimizer=True))
    assert (on_cpu.optimizer, on_cpu.host) == (12 * LARGE.num_parameters, 0)


def activations(row_tokens: int = 1024, **changed: Any) -> int:
    """Without the logits, which are bounded."""
    spec = spec_of(gpus_per_worker=1, **changed)
    return need_of(LARGE, spec, row_tokens).activations - need_of(LARGE, spec, 1).activations


def test_activations_grow_with_tokens_and_scores_with_their_square() -> None:
    lean, eager = activations(attention="sdpa"), activations(attention="eager")
    scores = 32 * 32 * 6 * 2 * 1024**2  # layers x heads x (4 + 2 bytes) x rows x T^2
    assert eager - lean == pytest.approx(scores, rel=0.01)
    assert activations(2048, attention="sdpa") == pytest.approx(2 * lean, rel=0.1)
    assert activations(2048, attention="eager") > 2.9 * eager


def test_checkpointing_keeps_one_layer_and_the_inputs_of_the_others() -> None:
    whole, recomputed = activations(attention="sdpa"), activations(attention="sdpa", gradient_checkpointing=True)
    inputs = 32 * 2 * 2048 * 4096  # layers x bytes x tokens x hidden
    assert inputs < recomputed < 0.15 * whole + inputs


def test_adapters_need_no_states_of_the_weights_that_stay() -> None:
    full, adapters = need_of(LARGE, spec_of()), need_of(LARGE, spec_of(adapter={"rank": 16}))
    trained = 16 * (4096 + 400_000)
    assert (adapters.optimizer, adapters.gradients) == (12 * trained, 4 * trained)
    assert adapters.parameters == full.parameters + 2 * trained
    assert adapters.total < 0.5 * full.total
