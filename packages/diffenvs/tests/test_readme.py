"""The code of the package's README."""

import re
from pathlib import Path

from diffenvs import DiffVectorEnv
from diffenvs.testing import check_vector_env

README = Path(__file__).parents[1] / "README.md"


def test_code_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 8
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["actions"].grad.any()
    assert names["env"].observation_space.shape == (37,)
    assert names["qd"].requires_grad
    assert names["varied"].randomize == names["ranges"]
    assert names["friction"].grad is not None
    assert names["model"].num_timesteps == 512
    assert (names["robot"].nq, names["robot"].nu, names["robot"].ground) == (1, 1, False)
    assert names["swing"].task.action_cost == 0.05
    check_vector_env(DiffVectorEnv(names["Swing"](), num_envs=3, dtype="float64", max_episode_steps=15))
