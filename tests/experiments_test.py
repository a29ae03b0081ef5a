"""Every experiment file loads, validates, and traces at its full size."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.config.experiment_file import load_config
from bert_jax.data.examples import Examples
from bert_jax.data.tables.values import AnswerSpan
from bert_jax.models.heads import model_with_heads
from bert_jax.peft.base import FullTuning
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

EXPERIMENTS = pathlib.Path(__file__).parents[1] / 'experiments'
FILES = sorted(
  path
  for folder in ('pretrain', 'finetune')
  for path in (EXPERIMENTS / folder).glob('*.py')
)
LABELS = ('a', 'b', 'O')
# Maps a task to the answer of one example.
ANSWERS = {
  'classification': 'a',
  'regression': 0.5,
  'tagging': ('a', 'O'),
  'question_answering': (AnswerSpan('b', 0),),
  'sentence_embedding': 0.5,
  'reranking': 1.0,
  'multiple_choice': 1,
  'intents': 'a',
}
# Maps a task to the texts of one example, where these are not two.
TEXTS = {'multiple_choice': ('a', 'b', 'c')}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_it_validates_and_traces(path, small_tokenizer):
  experiment = load_config(str(path))
  pretraining = path.parent.name == 'pretrain'
  table = dataclasses.replace(
    toys.table(),
    vocab_size=30522,
    ordinary_ids=np.arange(5, 30522),
    word_starts=np.ones(30522, bool),
  )
  if pretraining:
    experiment.data.path = 'corpus'
    stages = experiment.plan().stages
    shapes = {(stage.batch_size, stage.row_length) for stage in stages}
    objective = experiment.objective.build(table)
    labels = {}
  else:
    experiment.tokenizer = experiment.init_from = 'workdir'
    shapes = {(experiment.batch_size, experiment.max_length)}
    task = experiment.task
    answer = ANSWERS[task.name]
    examples = Examples(
      columns={
        'texts': [TEXTS.get(task.name, ('a', 'b'))],
        'labels': [answer],
        'slots': [('a', 'O')],
      },
      origins=[''],
    )
    facts = {
      'labels': [*LABELS],
      'intents': [*LABELS],
      'slots': [*LABELS],
      'threshold': 0.0,
      'null_threshold': 0.0,
    }
    objective = task.build(table, facts)
    rows = objective.featurize(
      examples, small_tokenizer, experiment.max_length
    ).rows
    labels = {
      name: jax.ShapeDtypeStruct(
        (experiment.batch_size, *array.shape[1:]), array.dtype
      )
      for name, array in (
        rows | {'label_weights': np.ones(1, np.float32)}
      ).items()
    }
  experiment.validate()
  model = model_with_heads(
    dataclasses.replace(experiment.model, vocab_size=30522),
    objective.heads(),
    'bfloat16',
  )
  method = FullTuning() if pretraining else experiment.peft.build()
  model = method.extend(model)
  optimizer = experiment.optimizer.build(model.infos)
  step = make_train_step(
    objective,
    model,
    optimizer,
    experiment.optimizer.build_schedule(getattr(experiment, 'num_steps', 1000)),
    join=method.join,
  )
  params, frozen = method.split(model.abstract_params(), model.infos)
  state = jax.eval_shape(
    lambda params: init_state(params, optimizer, keep_best=False), params
  )
  for batch_size, length in shapes:
    batch = {
      'input_ids': jax.ShapeDtypeStruct((batch_size, length), jnp.int32),
      'example_number': jax.ShapeDtypeStruct((batch_size, 2), jnp.uint32),
    } | labels
    if pretraining and objective.pairs_kind:
      batch['pair_labels'] = jax.ShapeDtypeStruct((batch_size, 4), jnp.int32)
    after, metrics = jax.eval_shape(
      step, state, frozen, batch, jax.random.key(0)
    )
    assert metrics['loss'].shape == ()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
      lambda x: (x.shape, x.dtype), state
    )
