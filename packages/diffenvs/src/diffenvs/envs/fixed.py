"""Attributes of environments that are fixed when they are made."""

from __future__ import annotations

from typing import Any, Final

FIXED: Final = frozenset(
    {"task", "model", "dt", "num_envs", "device", "dtype", "autoreset_mode", "randomize", "render_mode"}
)


class FixedAttributes:
    """Refuses to assign what is fixed: an environment does not look at it again, so that nothing would change."""

    _is_made = False
    """To be set at the end of the construction."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign an attribute, unless it is fixed.

        Raises
        ------
        AttributeError
            If it is; the message says what to do instead.
        """
        if self._is_made and name in FIXED:
            raise AttributeError(
                f"`{name}` is fixed when an environment is made, and cannot be assigned. Make another environment; or "
                "give a DiffVectorEnv other parameters of its model with `set_parameters`."
            )
        super().__setattr__(name, value)
