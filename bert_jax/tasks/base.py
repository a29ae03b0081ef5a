"""What fine-tuning asks of a task, beyond what it asks of an objective."""

from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from bert_jax.objectives.base import Batch, Objective


class Task(Objective, Protocol):
  """An objective over labelled rows that can also predict and be scored."""

  label_names: list[str]

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """A prepared batch -> f32 predictions, one entry an example."""
    ...

  def score(
    self, labels: np.ndarray, predictions: np.ndarray
  ) -> dict[str, Any]:
    """Figures of one run over a whole evaluation set, on the host.

    `labels` int [n], `predictions` as `predict` gave them. The figure named by
    the task's `metric` chooses the best epoch; higher is better.
    """
    ...
