"""Pictures of simulations: :mod:`~diffenvs.rendering.scene` says what is seen, the other modules show it."""
