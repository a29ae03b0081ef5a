"""A trained model as a Python object: masks, vectors, results of a task.

model = bert_jax.load('runs/local/pretrain')  # or a folder of Hugging Face
model.fill_mask('The [MASK] of an array')
model.embed(['A text', 'another'])
"""

import collections
import functools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config.json_files import json_digest
from bert_jax.data.examples import Examples, examples_of
from bert_jax.data.length_buckets import count_tokens
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.embedding import Embedder, form_of, tokens_at_once
from bert_jax.errors import InputError
from bert_jax.experiment import (
  ConvertedModel,
  FinetuneExperiment,
  PretrainExperiment,
)
from bert_jax.masked_scoring import MaskedScorer
from bert_jax.models import functional
from bert_jax.models.generator import generator_width
from bert_jax.models.heads import model_with_heads
from bert_jax.models.vector_form import VectorForm
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.task_methods import TaskMethods
from bert_jax.tasks.base import Result, Task
from bert_jax.tasks.text_rows import RowBatch, batches_by_length, join_rows
from bert_jax.token_methods import TokenMethods
from bert_jax.train.saved_params import fingerprint

# Examples whose rows are sorted by length together; memory grows with it.
WINDOW = 1024


def load(path: str | os.PathLike) -> 'TrainedModel':
  """Loads the model of WORKDIR, WORKDIR@STEP or a Hugging Face folder.

  A fine-tuning run gives the model of its best seed. Raises InputError if the
  path is none of these, or has no sound checkpoint.
  """
  source = open_pretrained(str(path))
  source.print_notes()
  return TrainedModel(
    source.experiment,
    source.tokenizer,
    source.load_params(),
    source.task,
    origin=source.origin,
  )


class TrainedModel(TaskMethods, TokenMethods):
  """Parameters, tokenizer and heads together, on one device, in f32."""

  def __init__(
    self,
    experiment: PretrainExperiment | FinetuneExperiment | ConvertedModel,
    tokenizer: Tokenizer,
    params: functional.Params,
    task: Task | None = None,
    *,
    origin: str = 'this model',
  ):
    self.origin = origin
    # Typed as Any: methods ask the experiment's class at run time.
    self.experiment: Any = experiment
    self.tokenizer = tokenizer
    self.task = task
    self.objective = objective = _objective_of(
      experiment, tokenizer, params, task
    )
    # A converted model may have other heads, or none.
    heads = {n: head for n, head in objective.heads().items() if n in params}
    self._predicts_tokens = (
      task is None
      and objective.predicts_tokens
      and len(heads) == len(objective.heads())
    )
    self._params = jax.tree.map(
      jnp.asarray, {name: params[name] for name in ('encoder', *heads)}
    )
    self._model = model_with_heads(experiment.model, heads, 'float32')
    self._embedders: dict[VectorForm, Embedder] = {}
    self._scorer: MaskedScorer | None = None

  def embed(
    self,
    texts: Sequence[str],
    *,
    pooling: str = '',
    normalize: bool | None = None,
    dim: int = 0,
    cut: bool = False,
  ) -> np.ndarray:
    """The vectors of texts, f32 [n, D], in their order.

    Args:
      texts: any number.
      pooling: 'mean', 'cls' or 'max'. Without it that of a folder of
        sentence-transformers or of a tuned sentence encoder, else 'mean'.
      normalize: whether vectors have length 1. Without it as those do, else
        they have.
      dim: numbers to keep, the first ones; 0: as those say, else all.
      cut: drops the tokens at the end of a text that the model has no place
        for, which is refused otherwise.

    Raises:
      InputError: a text is too long, dim is too large, or the folder asks for
        what is not computed here.
    """
    return self.embedder(pooling, normalize, dim)(texts, cut=cut)

  def similarity(
    self, texts: Sequence[str], others: Sequence[str], *, cut: bool = False
  ) -> np.ndarray:
    """Cosines between the vectors of two lists of texts, f32 [n, m]."""
    return self.embedder(normalize=True).cosines(texts, others, cut=cut)

  def embedder(
    self, pooling: str = '', normalize: bool | None = None, dim: int = 0
  ) -> Embedder:
    """The Embedder that `embed` calls; arguments as of `embed`."""
    width = self.experiment.model.embed_dim
    if not 0 <= dim <= width:
      raise InputError(f'dim={dim}: vectors have {width} numbers; keep fewer')
    pools = not pooling or normalize is None
    form = form_of(self.origin, self.task, pools=pools)
    if pooling:
      form = form._replace(pooling=pooling)
    if normalize is not None:
      form = form._replace(normalize=normalize)
    if dim:
      form = form._replace(dim=dim)
    if form not in self._embedders:
      self._embedders[form] = Embedder(
        self.experiment.model, self._params, self.tokenizer, form
      )
    return self._embedders[form]

  def identity(self) -> dict[str, str]:
    """Digests, by name, that are equal for models with equal results."""
    return {
      'digest of the parameters': fingerprint(self._params),
      'tokenizer': self.tokenizer.fingerprint,
      'digest of the facts': json_digest(self.task and self.task.facts),
    }

  @property
  def was_tuned(self) -> bool:
    """True for the model of a fine-tuning run, whose columns are known."""
    return isinstance(self.experiment, FinetuneExperiment)

  def predict(self, texts: Sequence[tuple[str, ...]]) -> Any:
    """The task's values for texts, such as class probabilities f32 [n, C].

    `values` in the task's file describes them. `texts` has a tuple of texts, or
    of words, for each example.
    """
    task = self.require_task('predict')
    return task.values([*self.results(examples_of(texts))])

  def results(
    self, examples: Examples, cut: collections.Counter[str] | None = None
  ) -> Iterator[Result]:
    """Yields the task's result for each example, in order.

    Rows of like length are computed together, WINDOW examples at a time. So
    the last digits of a result depend on what stands beside it. What is done
    with long examples is counted in `cut`; see tasks.base.Features.
    """
    task = self.require_task('predict')
    columns = self.experiment.task.columns()
    answers = {column.role for column in columns if column.is_answer}
    for window in examples.without(answers).windows(WINDOW):
      features = task.featurize(
        window, self.tokenizer, self.experiment.max_length
      )
      if cut is not None:
        cut.update(features.cut)
      predictions = self._predictions(features.rows['input_ids'])
      yield from task.decode(predictions, features)

  def _predictions(self, ids: np.ndarray) -> Any:
    """The task's predictions for rows [R, T], as if they were computed at once.

    Those of columns that are padding are 0 where they were not computed. Rows
    [R, K, T] are as long as the longest of their K texts.
    """
    num_rows, *texts, length = ids.shape
    num_tokens_R = count_tokens(ids, self.tokenizer.table.pad_id)
    whole_row = jax.ShapeDtypeStruct((1, *texts, length), np.int32)
    at_once = tokens_at_once() // math.prod(texts)

    def part(batch: RowBatch) -> tuple[list[int], Any]:
      rows = ids[batch.chosen, ..., : batch.length]
      filled = np.resize(rows, (batch.num_rows, *texts, batch.length))
      return batch.chosen, jax.device_get(self._predict(self._params, filled))

    return join_rows(
      jax.eval_shape(self._predict, self._params, whole_row),
      num_rows,
      map(part, batches_by_length(num_tokens_R, length, at_once)),
    )

  def require_task(self, method: str) -> Task:
    """The model's task; InputError if it has no head for one."""
    if self.task:
      return self.task
    said = f'{method} needs a classifier of texts, or a head of another task'
    if reason := getattr(self.experiment, 'no_classifier', ''):
      raise InputError(f'{said}; {self.origin} has none: {reason}')
    works = (
      'fill_mask and embed work' if self._predicts_tokens else 'embed works'
    )
    raise InputError(
      f'{said}; {self.origin} {self.what_it_is()}, and as it is {works} with '
      f'it. Tune it first: bert-jax finetune --config.init_from={self.origin}'
    )

  def what_it_is(self) -> str:
    """Says where the model comes from and what heads it has."""
    if isinstance(self.experiment, PretrainExperiment):
      return 'is a pretraining run'
    if self.task:
      return f'is {self.experiment.task.describe(self.task.facts)}'
    heads = getattr(self.experiment, 'heads', ())
    has = f'the heads {", ".join(heads)}' if heads else 'no head'
    return f'is a pretrained model with {has}'

  @functools.partial(jax.jit, static_argnums=0)
  def _predict(self, params: functional.Params, input_ids_BT: jax.Array) -> Any:
    prepared = self.objective.prepare(
      {'input_ids': input_ids_BT}, jax.random.key(0)
    )
    return self.objective.predict(self._model.bind(params), prepared)


def _objective_of(
  experiment: PretrainExperiment | FinetuneExperiment | ConvertedModel,
  tokenizer: Tokenizer,
  params: functional.Params,
  task: Task | None,
) -> Any:
  """The task of a model, or the objective that its heads fit."""
  if task:
    return task
  if isinstance(experiment, PretrainExperiment):
    return experiment.objective.build(tokenizer.table)
  if 'generator' in params and 'mlm_head' not in params:
    width = generator_width(experiment.model, params)
    config = ReplacedTokenConfig(generator_width=width)
    return config.build(tokenizer.table)
  return MaskedLMConfig().build(tokenizer.table)
