"""The checks of `bert-jax check_device`, one file a part.

Nothing here, nor below it, imports Orbax, readers of data or what prepares it,
so that a bare accelerator image is enough: jax, flax, optax, numpy, absl-py.
"""
