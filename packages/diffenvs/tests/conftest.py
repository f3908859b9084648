"""What all tests share: one torch thread, reproducible examples, and the helper modules that lie beside them."""

import sys
from pathlib import Path

import hypothesis
import pytest
import torch

# Files are imported by their path (--import-mode=importlib), which leaves their folder out of the search path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("gradients", "recorded", "simulators")

torch.set_num_threads(1)
hypothesis.settings.register_profile("diffenvs", deadline=None, derandomize=True)
hypothesis.settings.load_profile("diffenvs")
