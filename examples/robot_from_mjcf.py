"""A robot of one's own: an arm from MJCF text, held to MuJoCo's motion, finds the torques that bring it to a place.

Model.from_mjcf takes text or a file. Without contact and limits the equations of motion are MuJoCo's own, so the same
torques lead to the same place; only here, they can be found by gradient descent.
"""

# pyright: reportAttributeAccessIssue=false
import mujoco
import numpy as np
import torch
from torch import Tensor

from diffenvs import Model
from diffenvs.simulator import Simulator

MJCF = """
<mujoco model="arm">
  <option timestep="0.001" integrator="Euler"><flag eulerdamp="disable"/></option>
  <worldbody>
    <body name="upper" pos="0 0 1">
      <joint name="shoulder" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0  0 0 -0.4" size="0.03" mass="1" contype="0" conaffinity="0"/>
      <body name="lower" pos="0 0 -0.4">
        <joint name="elbow" axis="0 1 0" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0  0 0 -0.4" size="0.03" mass="1" contype="0" conaffinity="0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" ctrlrange="-1 1" gear="15"/>
    <motor joint="elbow" ctrlrange="-1 1" gear="15"/>
  </actuator>
</mujoco>
"""
SUBSTEPS, STEPS = 20, 50
GOAL = (1.0, 1.2)  # angles of shoulder and elbow [rad], where the arm shall be at rest


def simulate(simulator: Simulator, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Angles and velocities after the actions, (1, 2) each, from hanging at rest."""
    q, qd = torch.zeros(2, 1, 2, dtype=torch.float64)
    for action in actions:
        q, qd = simulator.step(q, qd, action)
    return q, qd


def simulate_in_mujoco(actions: Tensor) -> np.ndarray:
    """Angles after the actions in MuJoCo, (2,)."""
    model = mujoco.MjModel.from_xml_string(MJCF)
    data = mujoco.MjData(model)
    for action in actions:
        data.ctrl[:] = action[0].numpy()
        mujoco.mj_step(model, data, SUBSTEPS)
    return data.qpos


def main() -> tuple[np.ndarray, np.ndarray]:
    """Print where the torques that were found bring the arm, here and in MuJoCo; returns both, (2,) each."""
    model = Model.from_mjcf(MJCF, dt=0.001 * SUBSTEPS, substeps=SUBSTEPS)
    simulator = Simulator(model, num_envs=1, dtype=torch.float64)
    inputs = torch.zeros(STEPS, 1, model.nu, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([inputs], max_iter=40, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        q, qd = simulate(simulator, inputs.tanh())
        loss = (q - torch.tensor(GOAL)).square().sum() + 0.1 * qd.square().sum()
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(error)
    actions = inputs.detach().tanh()
    here, there = simulate(simulator, actions)[0][0].numpy(), simulate_in_mujoco(actions)
    print(f"goal {np.array(GOAL)}  here {here}  in MuJoCo {there}")
    return here, there


if __name__ == "__main__":
    main()
