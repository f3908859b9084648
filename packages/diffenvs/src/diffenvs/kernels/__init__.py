"""The physics, one stage a file; :mod:`diffenvs.kernels.control_step` puts them in order."""
