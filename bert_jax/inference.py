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
from bert_jax.data.remote.corpus import local_folder
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.data.tokenizers.base import MASK
from bert_jax.embedding import Embedder, form_of, tokens_at_once
from bert_jax.errors import InputError, quoted
from bert_jax.experiment import (
  ConvertedModel,
  FinetuneExperiment,
  PretrainExperiment,
)
from bert_jax.models import functional
from bert_jax.models.generator import generator_width
from bert_jax.models.heads import model_with_heads
from bert_jax.models.vector_form import VectorForm
from bert_jax.objectives.base import derive_layout
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.task_methods import TaskMethods
from bert_jax.tasks.base import Result, Task
from bert_jax.tasks.text_rows import RowBatch, batches_by_length, join_rows
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


class TrainedModel(TaskMethods):
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

  def fill_mask(self, text: str, top_k: int = 5) -> list[list[dict[str, Any]]]:
    """Returns the `top_k` tokens for each [MASK] in the text.

    In a run on replaced tokens, the generator guesses. The result has one list
    for each mask: [{'token': ..., 'probability': ...}]. Raises InputError
    without a mask, or if the text is too long.
    """
    if not self._predicts_tokens:
      raise InputError(
        'fill_mask needs a model that predicts tokens: a run with a masked LM '
        f'in its objective, or a converted one with that head; {self.origin} '
        f'{self.what_it_is()}'
      )
    table = self.tokenizer.table
    text_ids = self.tokenizer.encode_with_mask(text)
    ids = np.concatenate([[table.cls_id], text_ids, [table.sep_id]])
    (places,) = np.nonzero(ids == table.mask_id)
    if not places.size:
      raise InputError(f'{quoted(text)} has no {MASK}; put one where to guess')
    limit = self.experiment.model.max_positions
    if len(ids) > limit:
      raise InputError(
        f'the text has {len(ids)} tokens with [CLS] and [SEP], the model has '
        f'{limit} positions; shorten it'
      )
    # Lengths are rounded up, so that few programs are compiled.
    row = np.full((1, min(limit, -(-len(ids) // 32) * 32)), table.pad_id)
    row[0, : len(ids)] = ids
    probabilities_MV = np.asarray(
      self._mask_probabilities(self._params, row.astype(np.int32))
    )[0, places]
    return [
      [
        {
          'token': self.tokenizer.token(int(token_id)),
          'probability': float(probabilities_V[token_id]),
        }
        for token_id in np.argsort(-probabilities_V, kind='stable')[:top_k]
      ]
      for probabilities_V in probabilities_MV
    ]

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

  def samples(self, count: int = 6, top_k: int = 5) -> list[dict[str, Any]]:
    """Guesses for one hidden word in each of `count` held-out texts.

    Returns [{'text', 'answer', 'predictions'}], spread over the held-out rows
    of the run's first corpus that has some; [] if there are none.
    """
    if not isinstance(self.experiment, PretrainExperiment):
      raise InputError(
        'samples and a report need the workdir of a bert-jax pretrain or '
        f'finetune run; {self.origin} {self.what_it_is()}'
      )
    data = self.experiment.data
    corpora = [
      local_folder(corpus.path, data.staging_path)
      for corpus in data.all_corpora()
    ]
    folders = [
      corpus / 'eval' / str(data.row_length) for corpus in corpora if corpus
    ]
    held_out = [folder for folder in folders if folder.is_dir()]
    if not held_out or not self._predicts_tokens:
      return []
    corpus = TokenRows(held_out[0])
    found = []
    # Twice as many rows are read as needed: not every one has a word to hide.
    step = max(1, corpus.num_rows // (2 * count))
    for row in corpus.rows(np.arange(0, corpus.num_rows, step)):
      sample = self._hide_one_word(row)
      if sample is not None and len(found) < count:
        text, answer = sample
        found.append(
          {
            'text': text,
            'answer': answer,
            'predictions': self.fill_mask(text, top_k),
          }
        )
    return found

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

  def _hide_one_word(self, row_T: np.ndarray) -> tuple[str, str] | None:
    """Returns (a row's first text with a [MASK] in it, the hidden word)."""
    table = self.tokenizer.table
    ids = row_T[1 : np.argmax(row_T == table.sep_id)]
    starts = np.append(table.word_starts[ids], True)
    words = [self.tokenizer.decode([token_id]) for token_id in ids]
    # The hidden word is a single token of four letters or more, nearest to the
    # middle.
    places = [
      place
      for place in np.flatnonzero(starts[:-1] & starts[1:])
      if len(words[place]) >= 4 and words[place].isalpha()
    ]
    if len(ids) < 12 or not places:
      return None
    place = min(places, key=lambda place: abs(place - len(ids) // 2))
    before, after = ids[:place], ids[place + 1 :]
    decode = self.tokenizer.decode
    text = f'{decode(before)} {MASK} {decode(after)}'
    # A text that was cut within a word may have more tokens than its ids.
    num_tokens = len(self.tokenizer.encode_with_mask(text)) + 2
    if num_tokens > self.experiment.model.max_positions:
      return None
    return text, words[place]

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
  def _mask_probabilities(
    self, params: functional.Params, input_ids_BT: jax.Array
  ) -> jax.Array:
    model = self._model.bind(params)
    table = self.tokenizer.table
    layout = derive_layout(input_ids_BT, table)
    logits_BTV = self.objective.token_logits(model, input_ids_BT, layout)
    probabilities_BTV = jax.nn.softmax(logits_BTV, axis=-1)
    # The model may have more entries than the tokenizer has tokens.
    return probabilities_BTV[..., : table.vocab_size]

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
