"""What only a GPU can show; skipped without one."""

import pytest
import torch
from small_runs import small_config

from rpo.algorithms import ALGORITHMS
from rpo.optimizers import FiniteAdamW

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def _no_waiting():
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_networks_on_the_gpu_learn_from_a_simulation_on_the_cpu(lq, name):
    algorithm = ALGORITHMS[name]
    model = algorithm(lq(4), small_config(algorithm), device="cuda", seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(32, log_interval=None)
    after = list(model.policy.parameters())
    assert {parameter.device.type for parameter in after} == {"cuda"}
    assert all(parameter.isfinite().all() for parameter in after)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.adapter.env.x.device.type == "cpu"


@pytest.mark.usefixtures("_no_waiting")
def test_host_does_not_wait_to_learn_whether_a_step_is_finite():
    parameter = torch.nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = FiniteAdamW([parameter], 0.1, name="actor", betas=(0.7, 0.95), weight_decay=0.0)
    for gradient in (torch.ones(3, device="cuda"), torch.full((3,), torch.nan, device="cuda")):
        parameter.grad = gradient
        optimizer.step_if_finite(gradient.norm(), loss=gradient.sum())
    torch.cuda.set_sync_debug_mode("default")
    assert optimizer.skipped == 1
    assert optimizer.state[parameter]["step"] == 1
