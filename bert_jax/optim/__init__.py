"""Optimizers and learning-rate schedules: configs that build optax objects."""
