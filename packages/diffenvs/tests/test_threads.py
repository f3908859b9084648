"""Simulators whose first use is in several threads at once."""

import subprocess
import sys

FIRST_USE = """
import sys, threading
import torch, warp
from diffenvs.robots.hopper import hopper
from diffenvs.simulator import Simulator

sys.setswitchinterval(1e-6)
torch.set_num_threads(1)
barrier, found = threading.Barrier(4), []

def use():
    barrier.wait()
    sim = Simulator(hopper(), 2, num_threads=1)
    q, qd, action = (torch.full((2, width), 0.1, requires_grad=True) for width in (6, 6, 3))
    loss = sum(value.sum() for value in sim.step(q, qd, action))
    found.append((*torch.autograd.grad(loss, (q, qd, action)), sim.link_poses(q)))

level = warp.config.log_level
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(found) == 4, len(found)
assert all(torch.equal(a, b) for other in found for a, b in zip(found[0], other, strict=True))
assert warp.config.log_level == level, warp.config.log_level
"""


def test_simulators_may_be_used_first_in_several_threads():
    result = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
