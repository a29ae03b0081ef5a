"""Vectors of texts: the states of an encoder's last layer, pooled.

Texts of like length are computed together, so that little is padding, in rows
of few lengths, so that few programs are compiled.
"""

import functools
import os
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.tokenizers import Tokenizer
from bert_jax.errors import InputError, quoted
from bert_jax.interop.sentence_transformers import read_form
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import (
  model_with_heads,
  vectors_of_rows,
  with_length_1,
)
from bert_jax.models.vector_form import POOLINGS, VectorForm
from bert_jax.objectives.base import derive_layout
from bert_jax.tasks.base import SentenceEncoder, Task
from bert_jax.tasks.text_rows import batches_by_length, fill_row

# Texts that are sorted by length together; memory grows with it.
WINDOW = 4096


def form_of(
  origin: str, task: Task | None, *, pools: bool = True
) -> VectorForm:
  """The way in which a model makes vectors.

  That is what a folder of sentence-transformers says, or a task that was tuned
  for vectors; of other models it is the mean, with length 1. `pools` is that of
  read_form.
  """
  folder = pathlib.Path(os.path.expanduser(origin))
  if form := read_form(folder, pools=pools):
    return form
  return task.form if isinstance(task, SentenceEncoder) else VectorForm()


class Embedder:
  """An encoder that gives one vector a text, on one device, in f32.

  Args:
    config: the encoder's.
    params: those of a model with this encoder.
    tokenizer: encodes the texts.
    form: how a vector is made.

  Raises:
    InputError: there is no such pooling.
  """

  def __init__(
    self,
    config: EncoderConfig,
    params: functional.Params,
    tokenizer: Tokenizer,
    form: VectorForm,
  ):
    if form.pooling not in POOLINGS:
      raise InputError(
        f'pooling={quoted(form.pooling)}: choose {", ".join(POOLINGS)}'
      )
    self.form = form
    self.tokenizer = tokenizer
    self.dim = min(form.dim or config.embed_dim, config.embed_dim)
    self.max_tokens = min(
      form.max_tokens or config.max_positions, config.max_positions
    )
    self._model = model_with_heads(config, {}, 'float32')
    self._params = {'encoder': jax.tree.map(jnp.asarray, params['encoder'])}

  def __call__(
    self,
    texts: Sequence[str],
    *,
    cut: bool = False,
    batch_tokens: int = 0,
  ) -> np.ndarray:
    """The vectors of texts, f32 [n, D], in their order.

    Raises InputError if `texts` is no list of texts, or if one has more tokens
    than the model takes, unless `cut` drops those at its end.
    """
    check_texts(texts)
    parts = [np.zeros((0, self.dim), np.float32)]
    for first in range(0, len(texts), WINDOW):
      window = texts[first : first + WINDOW]
      parts.append(self.window(window, first, cut, batch_tokens)[0])
    return np.concatenate(parts)

  def cosines(
    self, texts: Sequence[str], others: Sequence[str], *, cut: bool = False
  ) -> np.ndarray:
    """Cosines between the vectors of two lists of texts, f32 [n, m].

    The form must be one of vectors of length 1, which may be cut.
    """
    vectors = [self(group, cut=cut) for group in (texts, others)]
    if self.form.dim:
      vectors = [np.asarray(with_length_1(jnp.asarray(x))) for x in vectors]
    return vectors[0] @ vectors[1].T

  def window(
    self,
    texts: Sequence[str],
    first: int = 0,
    cut: bool = False,
    batch_tokens: int = 0,
  ) -> tuple[np.ndarray, int]:
    """The vectors f32 [n, D] of texts, and how many texts were cut.

    At most WINDOW at once keep memory bounded. See `encode` on `first` and
    `cut`.
    """
    ids, num_cut = self.encode(texts, first, cut)
    return self._vectors(ids, batch_tokens), num_cut

  def encode(
    self, texts: Sequence[str], first: int = 0, cut: bool = False
  ) -> tuple[list[np.ndarray], int]:
    """The ids of texts without [CLS] and [SEP], and how many texts were cut.

    `check_texts` has passed the texts, of which the first is text `first` + 1.
    Raises InputError on a text that is too long, unless `cut`.
    """
    ids = self.tokenizer.encode_batch(
      [self.form.prompt + text for text in texts]
    )
    room = self.max_tokens - 2  # for [CLS] and [SEP]
    long = [place for place, part in enumerate(ids) if len(part) > room]
    if long and not cut:
      raise InputError(
        f'text {first + long[0] + 1} has {len(ids[long[0]]) + 2} tokens with '
        f'[CLS] and [SEP], the model takes {self.max_tokens}; shorten it, or '
        'let the ends of long texts be cut (cut=True in Python, --cut)'
      )
    return [part[:room] for part in ids], len(long)

  def _vectors(
    self, ids: Sequence[np.ndarray], batch_tokens: int
  ) -> np.ndarray:
    table = self.tokenizer.table
    found = np.empty((len(ids), self.dim), np.float32)
    batch_tokens = batch_tokens or tokens_at_once()
    num_tokens = [len(part) + 2 for part in ids]
    for batch in batches_by_length(num_tokens, self.max_tokens, batch_tokens):
      # Rows that are missing at the end hold one token, and are left out.
      shape = batch.num_rows, batch.length
      rows = np.full(shape, table.pad_id, np.int32)
      rows[:, 0] = table.cls_id
      for row, place in zip(rows, batch.chosen, strict=False):
        fill_row(row, [ids[place]], table)
      vectors = self._embed(self._params, rows)
      found[batch.chosen] = np.asarray(vectors)[: len(batch.chosen)]
    return found

  @functools.partial(jax.jit, static_argnums=0)
  def _embed(
    self, params: functional.Params, input_ids_BT: jax.Array
  ) -> jax.Array:
    layout = derive_layout(input_ids_BT, self.tokenizer.table)
    states_BTD = self._model.bind(params).encoder(input_ids_BT, layout)
    return vectors_of_rows(states_BTD, layout.segment_ids, self.form)


def tokens_at_once() -> int:
  """Tokens of a batch, padding among them, on the device that is there.

  On a CPU more are no faster. Elsewhere they have to fill the device; there
  the number is not measured.
  """
  return 2048 if jax.default_backend() == 'cpu' else 32_768


def check_texts(texts: Sequence[str]) -> None:
  """Raises InputError for what is no list of texts."""
  if isinstance(texts, str):
    raise InputError(f'texts={quoted(texts)}: give a list of texts')
  for number, text in enumerate(texts, 1):
    if not isinstance(text, str):
      raise InputError(f'text {number} is a {type(text).__name__}: give a str')
    try:
      text.encode()
    except UnicodeEncodeError:
      raise InputError(
        f'text {number} holds half of a surrogate pair, which is no character; '
        'mend it'
      ) from None
