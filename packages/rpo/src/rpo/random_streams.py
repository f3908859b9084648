"""The state of the global random generators, as tensors: Stable-Baselines3's algorithms draw from them."""

import numpy as np
import torch
from torch import Tensor


def global_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of NumPy's generator and of torch's, on the CPU and on the device."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002  # the one that others draw from
    assert isinstance(numpy_state, dict)
    assert numpy_state["bit_generator"] == "MT19937"
    state = {
        "torch": torch.get_rng_state(),
        "numpy_key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "numpy_position": torch.tensor([numpy_state["state"]["pos"], numpy_state["has_gauss"]]),
        "numpy_gauss": torch.tensor(numpy_state["gauss"], dtype=torch.float64),
    }
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_global_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `global_state` returned."""
    position, has_gauss = state["numpy_position"].tolist()
    key, gauss = state["numpy_key"].numpy().astype(np.uint32), state["numpy_gauss"].item()
    np.random.set_state(("MT19937", key, position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
