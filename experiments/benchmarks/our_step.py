"""The pretraining step of the benchmarks: a model and one batch, by size."""

import dataclasses

import numpy as np

# Sizes by name: (layers, width, rows, row length, steps a turn).
SIZES = {
  '2x128': (2, 128, 32, 64, 16),
  '4x256': (4, 256, 32, 128, 3),
  '4x256-long': (4, 256, 4, 1024, 3),
  '12x768': (12, 768, 8, 128, 1),
  '12x768-long': (12, 768, 1, 1024, 1),
}
VOCAB_SIZE = 30522
# Families by name: the width of the feed-forward network over that of a layer,
# and the longest row that an encoder has positions for.
FAMILIES = {'bert': (4, 1024), 'modernbert': (1.5, 8192)}


def rows_of_text(size: str) -> np.ndarray:
  """Rows int32 [rows, row length]: random words between [CLS] and [SEP]."""
  _, _, num_rows, length, _ = SIZES[size]
  ids = np.random.default_rng(0).integers(1000, VOCAB_SIZE, (num_rows, length))
  ids[:, 0], ids[:, -1] = 101, 102
  return ids.astype(np.int32)


def model_config(size: str, family: str):
  """The EncoderConfig of a size and family."""
  from bert_jax.models import config

  layers, width, _, _, _ = SIZES[size]
  mlp_ratio, max_positions = FAMILIES[family]
  preset = {'bert': config.bert_base, 'modernbert': config.modernbert_base}
  return preset[family](
    num_layers=layers,
    embed_dim=width,
    num_heads=width // 64,
    mlp_dim=int(mlp_ratio * width),
    vocab_size=VOCAB_SIZE,
    max_positions=max_positions,
  )


def make_step(size: str, dtype: str, family: str = 'bert'):
  """Returns (train.program.Program, first state, one batch) on one device."""
  import jax.numpy as jnp

  from bert_jax.data.reading.stream import example_number_words
  from bert_jax.data.tokenizers.base import SPECIAL_TOKENS, token_table
  from bert_jax.experiment import PretrainExperiment

  num_rows = SIZES[size][2]
  special_ids = dict(zip(SPECIAL_TOKENS, (0, 100, 101, 102, 103), strict=True))
  experiment = PretrainExperiment(
    num_steps=1000,
    batch_size=num_rows,
    model=model_config(size, family),
    compute_dtype=dtype,
  )
  objective = experiment.objective.build(
    token_table(special_ids, np.ones(VOCAB_SIZE, bool))
  )
  program, state = _first_state(experiment, objective)
  batch = {
    'input_ids': jnp.asarray(rows_of_text(size)),
    'example_number': jnp.asarray(example_number_words(np.arange(num_rows))),
  }
  return program, state, batch


def experiment_step(experiment):
  """Makes a step of a PretrainExperiment and the first rows of its corpus."""
  import jax

  from bert_jax.jobs.pretrain import open_data, open_stream, with_vocab_size
  from bert_jax.workdir import default_compute_dtype

  with open_data(experiment) as (corpora, tokenizer):
    experiment = with_vocab_size(experiment, tokenizer)
    numbers = np.arange(experiment.batch_size, dtype=np.uint64)
    batch = open_stream(experiment, corpora).batch(numbers)
    objective = experiment.objective.build(tokenizer.table)
    dtype = default_compute_dtype(jax.devices()[0].platform)
    experiment = dataclasses.replace(
      experiment, num_steps=1000, num_microbatches=1, compute_dtype=dtype
    )
  program, state = _first_state(experiment, objective)
  return program, state, batch


def _first_state(experiment, objective):
  import jax

  from bert_jax.experiment import model_of, program_of
  from bert_jax.parallel.mesh import MeshConfig

  jax.set_mesh(MeshConfig().build(jax.devices()[:1])).__enter__()
  model = model_of(experiment, objective)
  program = program_of(experiment, objective, model, jax.random.key(0))
  return program, program.fresh_state()
