"""The step of an experiment without a corpus, on rows of random ids."""

import dataclasses
from typing import Any

import jax
import numpy as np

from bert_jax.data.config import DataConfig
from bert_jax.data.reading.stream import example_number_words
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS, synthetic_table
from bert_jax.experiment import PretrainExperiment, model_of, program_of
from bert_jax.objectives.base import PretrainingObjective
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.train.program import Program
from bert_jax.workdir import default_compute_dtype

_SHORTEST_TEXT = 8
# One pair in the first text of each row, as rows of a corpus with pairs have.
_PAIR_LABELS = (0, -1, -1, -1)


@dataclasses.dataclass(frozen=True)
class SyntheticStep:
  """The step of an experiment on one device.

  experiment: for this device alone, with its compute dtype.
  """

  experiment: PretrainExperiment
  objective: PretrainingObjective
  program: Program

  def placed_batch(self, step: int) -> dict[str, jax.Array]:
    """The rows of a step on the device."""
    sharding = batch_sharding(jax.sharding.get_mesh())
    return jax.device_put(self.batch(step), sharding)

  def batch(self, step: int) -> dict[str, np.ndarray]:
    """The rows of a step: equal ones for equal steps."""
    experiment = self.experiment
    num_rows, length = experiment.batch_size, experiment.data.row_length
    first = step * num_rows
    batch = {
      'input_ids': packed_rows(
        num_rows, length, experiment.model.vocab_size, seed=step
      ),
      'example_number': example_number_words(
        np.arange(first, first + num_rows)
      ),
    }
    if self.objective.pairs_kind:
      labels = np.array(_PAIR_LABELS, np.int32)
      batch['pair_labels'] = np.tile(labels, (num_rows, 1))
    return batch


def synthetic_step(
  experiment: PretrainExperiment, num_rows: int, row_length: int
) -> SyntheticStep:
  """Builds the step of an experiment for one device; compiles nothing.

  The mesh of that device has to be set; see `one_device`. The experiment has
  its vocabulary's size. Its mesh, microbatches, stages and corpora are left
  out.
  """
  platform = jax.default_backend()
  experiment = dataclasses.replace(
    experiment,
    batch_size=num_rows,
    num_microbatches=1,
    data=DataConfig(path='synthetic', row_length=row_length),
    mesh=MeshConfig(),
    compute_dtype=experiment.compute_dtype or default_compute_dtype(platform),
  )
  experiment.validate()
  objective = experiment.objective.build(
    synthetic_table(experiment.model.vocab_size)
  )
  program = program_of(
    experiment,
    objective,
    model_of(experiment, objective),
    jax.random.key(experiment.seed),
  )
  return SyntheticStep(experiment, objective, program)


def one_device() -> Any:
  """A context in which the mesh is the first device alone."""
  return jax.set_mesh(MeshConfig().build(jax.devices()[:1]))


def packed_rows(
  num_rows: int, length: int, vocab_size: int, seed: int = 0
) -> np.ndarray:
  """Rows int32 [num_rows, length]: texts of all lengths, little padding."""
  table = synthetic_table(vocab_size)
  rng = np.random.default_rng(seed)
  rows = rng.integers(
    len(SPECIAL_TOKENS), vocab_size, (num_rows, length), np.int32
  )
  for ids in rows:
    start = 0
    while length - start >= _SHORTEST_TEXT:
      end = min(start + rng.integers(_SHORTEST_TEXT, length + 1), length)
      ids[start], ids[end - 1] = table.cls_id, table.sep_id
      start = end
    ids[start:] = table.pad_id
  return rows
