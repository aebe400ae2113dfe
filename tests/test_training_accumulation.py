"""Gradients of many micro-batches are summed in fp32, where small ones are not lost beside a large one."""

from typing import Any

import pytest
from training_fixtures import be_worker

from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec

NUM_SMALL = 255
SMALL = 2.0**-9
"""Half of what bf16 can tell beside 1 is 2^-8."""


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> None:
    be_worker()


def sum_of_gradients(**settings: Any) -> float:
    """Of one weight in bf16, as the norm that DeepSpeed takes of it: a gradient of 1, then many small ones."""
    import deepspeed
    import torch

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # as in training/engine.py
    spec = TrainingSpec(
        **({"global_batch_rows": 1 + NUM_SMALL, "num_workers": 1, "max_grad_norm": 1e9, "precision": "bf16"} | settings)
    )
    plan = make_plan(spec, spec.global_batch_rows, 16, seed=1)
    assert plan.num_accumulations == 1 + NUM_SMALL
    torch.manual_seed(1)
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    config = deepspeed_config(spec, plan, "bf16")
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    for number in range(1 + NUM_SMALL):
        unit = torch.ones(1, 1, dtype=torch.bfloat16)
        engine.backward(engine(unit).float().sum() * (SMALL if number else 1.0), scale_wrt_gas=False)
        engine.step()
    assert engine.global_steps == 1
    return float(engine.get_global_grad_norm())


@pytest.mark.parametrize("offload", [False, True], ids=["", "offload"])
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_many_small_gradients_count_beside_a_large_one(zero_stage: int, offload: bool) -> None:
    found = sum_of_gradients(zero_stage=zero_stage, offload_optimizer=offload)
    # Workers exchange sums in bf16: under ZeRO 1 the whole sum, rounded once.
    assert found == pytest.approx(1 + NUM_SMALL * SMALL, rel=2**-8)


def test_without_zero_there_is_no_such_sum_to_choose() -> None:
    """What the others would be, were they left as DeepSpeed has them."""
    assert sum_of_gradients(zero_stage=0) == pytest.approx(1.0, rel=1e-6)
