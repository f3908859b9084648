"""Robots from MJCF and URDF files, and the translation of states from and to MuJoCo.

MuJoCo's compiler reads the file, so defaults, includes, units and the inertias of geoms are its own;
:meth:`diffenvs.Model.from_mjcf` says what is taken and how. MuJoCo writes quaternions (w, x, y, z) and the velocity of
a free joint in two frames; ours are those of :mod:`diffenvs.spatial`. Only this package knows both.
"""

try:
    import mujoco  # noqa: F401  # all modules of this package need it
except ImportError as error:
    raise ImportError("MJCF and URDF are read by MuJoCo: pip install diffenvs[mjcf]") from error

from diffenvs.mjcf.convert import load
from diffenvs.mjcf.states import from_mujoco, to_mujoco

__all__ = ["from_mujoco", "load", "to_mujoco"]
