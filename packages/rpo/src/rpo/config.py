"""Settings that algorithms share, and the checks of their values."""

import dataclasses
import math
from typing import Any, Literal, Self

from rpo.arguments import is_integer
from rpo.logs import plain
from rpo.presets import preset_named


def require(config: object, name: str, expectation: str, valid: bool) -> None:
    """Raise ValueError that names class, field, expectation and what came, unless the value is valid."""
    if not valid:
        raise ValueError(
            f"`{name}` of {type(config).__name__} must be {expectation}. Got {getattr(config, name, None)!r}."
        )


def require_integer(config: object, name: str, minimum: int) -> None:
    """Raise ValueError unless the field is an integer of at least `minimum`."""
    require(config, name, f"an integer >= {minimum}", is_integer(getattr(config, name), minimum))


def require_number(
    config: object, name: str, low: float, high: float = math.inf, *, above: bool = False, infinite: bool = False
) -> None:
    """Raise ValueError unless the field is a number in [low, high], finite unless `infinite`, > low with `above`."""
    value = getattr(config, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    valid = number and value <= high and (value > low if above else value >= low) and (infinite or math.isfinite(value))
    closed = infinite or math.isfinite(high)
    interval = f"{'(' if above else '['}{low}, {high}{']' if closed else ')'}"
    require(config, name, f"a number in {interval}", valid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """Settings that all algorithms have: the window, the networks and the actor's optimiser.

    Numbers may be NumPy's; they are kept as Python's, which JSON can hold.
    """

    horizon: int = 32
    """Control steps in a window, H (table 4)."""
    gamma: float = 0.99
    """Discount per control step (table 4)."""
    hidden_sizes: tuple[int, ...] = (400, 200, 100)
    """Widths of the hidden layers of each network (table 4)."""
    learning_rate: float = 5e-4
    """Learning rate of the actor at the first window (table 4)."""
    betas: tuple[float, float] = (0.7, 0.95)
    """Decay rates of AdamW's moments (table 4)."""
    weight_decay: float = 0.01
    """AdamW's weight decay (torch's default, which SAPO's code leaves as it is)."""
    max_grad_norm: float = 0.5
    """Norm to which the gradient of each optimiser is clipped (table 4)."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            kept = tuple(map(plain, value)) if isinstance(value, tuple) else plain(value)
            object.__setattr__(self, name, kept)
        require_integer(self, "horizon", minimum=1)
        require_number(self, "gamma", 0, 1)
        for name in ("learning_rate", "max_grad_norm"):
            require_number(self, name, 0, above=True)
        require_number(self, "weight_decay", 0)
        sizes = self.hidden_sizes
        valid_sizes = isinstance(sizes, tuple) and all(type(size) is int and size >= 1 for size in sizes)
        require(self, "hidden_sizes", "a tuple of integers >= 1", valid_sizes and bool(sizes))
        betas = self.betas
        pair = isinstance(betas, tuple) and len(betas) == 2 and all(isinstance(beta, (int, float)) for beta in betas)
        require(self, "betas", "two numbers in [0, 1)", pair and all(0 <= beta < 1 for beta in betas))

    @classmethod
    def for_env(cls, env_id: str | None, preset: str = "paper") -> Self:
        """Return a preset's settings of a task it has, or its defaults for any other environment.

        Raises
        ------
        ValueError
            If there is no such preset.
        """
        own = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in preset_named(preset).values(env_id).items() if name in own})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the configuration that `to_dict` gave, after a trip through JSON or not.

        Raises
        ------
        ValueError
            If a name is no field of this configuration, or a value is not valid.
        """
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}.")
        # JSON has lists only; the dataclasses hold tuples.
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstOrderConfig(AlgorithmConfig):
    """Settings of the algorithms that learn from the gradients of the simulation; the defaults are those of RPO."""

    td_lambda: float = 0.95
    """Mixing factor of the critics' TD(lambda) targets (table 4)."""
    target_reduce: Literal["mean", "min"] = "mean"
    """Which value of the ensemble the critics' targets bootstrap with (mean: RPO, appendix C.2)."""
    critic_count: int = 2
    """Critics in the ensemble, C (table 4)."""
    critic_epochs: int = 32
    """Passes of the critics over a window, L (table 4)."""
    critic_minibatches: int = 4
    """Minibatches of one critic epoch (SAPO's code; the paper gives no number)."""
    critic_learning_rate: float = 5e-4
    """Learning rate of the critics at the first window (table 4)."""
    learning_rate_decay: Literal["exponential", "linear"] = "exponential"
    """Shape of the decay of the learning rates of actor and critics (table 4)."""
    learning_rate_end: float = 1e-5
    """Learning rate of both once `decay_timesteps` are over (SAPO's code; the paper gives no value)."""
    decay_timesteps: int = 10_000_000
    """Environment steps over which the learning rates decay: the task's budget, whatever one `learn` runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("critic_count", "critic_epochs", "critic_minibatches", "decay_timesteps"):
            require_integer(self, name, minimum=1)
        require_number(self, "td_lambda", 0, 1)
        for name in ("critic_learning_rate", "learning_rate_end"):
            require_number(self, name, 0, above=True)
        for name in ("learning_rate", "critic_learning_rate"):
            expectation = f"a number >= `learning_rate_end`, {self.learning_rate_end}"
            require(self, name, expectation, getattr(self, name) >= self.learning_rate_end)
        require(self, "target_reduce", "'mean' or 'min'", self.target_reduce in ("mean", "min"))
        shapes = ("exponential", "linear")
        require(self, "learning_rate_decay", "'exponential' or 'linear'", self.learning_rate_decay in shapes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleStepConfig(FirstOrderConfig):
    """Settings of the algorithms that take one step a window along the plain gradient of its objective."""

    critic_epochs: int = 16
    """Passes of the critics over a window, L (table 4; 32 in the ablation of figure 6)."""
    learning_rate: float = 2e-3
    """Learning rate of the actor at the first window (table 4)."""
    learning_rate_decay: Literal["exponential", "linear"] = "linear"
    """Shape of the decay of the learning rates of actor and critics (table 4; exponential in that of figure 6)."""
