"""Methods of a trained model that predicts tokens, such as `fill_mask`."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.data.remote.corpus import local_folder
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.data.tokenizers.base import MASK
from bert_jax.errors import InputError, quoted
from bert_jax.experiment import PretrainExperiment
from bert_jax.masked_scoring import MaskedScorer, TextScore, whole_row
from bert_jax.models import functional
from bert_jax.objectives.base import derive_layout


class TokenMethods:
  """The methods; each gives one line of error with a model of another kind."""

  origin: str
  experiment: Any
  tokenizer: Tokenizer
  objective: Any
  _predicts_tokens: bool
  _params: functional.Params
  _model: functional.Model
  _scorer: MaskedScorer | None

  def what_it_is(self) -> str:
    """Says where the model comes from and what heads it has."""
    raise NotImplementedError

  def fill_mask(self, text: str, top_k: int = 5) -> list[list[dict[str, Any]]]:
    """Returns the `top_k` tokens for each [MASK] in the text.

    In a run on replaced tokens, the generator guesses. The result has one list
    for each mask: [{'token': ..., 'probability': ...}]. Raises InputError
    without a mask, or if the text is too long.
    """
    self._require_tokens('fill_mask')
    table = self.tokenizer.table
    text_ids = self.tokenizer.encode_with_mask(text)
    ids = whole_row(text_ids, table)
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
      self._mask_probabilities(
        self._params, row.astype(np.int32), places[None].astype(np.int32)
      )
    )[0]
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

  def score_texts(
    self, texts: Sequence[str], *, hidden: str = 'word'
  ) -> list[TextScore]:
    """Pseudo-log-likelihoods of texts: how well each token fits in its text.

    The sum of the logarithms of each token's probability, where the token is
    hidden from the model (Salazar et al. 2020, https://arxiv.org/abs/1910.14659).
    It orders texts, such as two forms of a sentence; it is no probability of a
    text, and grows with its length.

    Args:
      texts: any number.
      hidden: 'word' also hides the rest of a token's word, which would give it
        away (Kauf & Ivanova 2023, https://arxiv.org/abs/2305.10588); 'token'
        hides nothing else.

    Raises:
      InputError: the model predicts no tokens, or a text is too long.
    """
    self._require_tokens('score_texts')
    return self.masked_scorer().scores(texts, hidden)

  def masked_scorer(self) -> MaskedScorer:
    """The MaskedScorer that `score_texts` calls."""
    self._require_tokens('masked_scorer')
    if self._scorer is None:
      self._scorer = MaskedScorer(
        self.objective,
        self._model,
        self._params,
        self.tokenizer,
        self.experiment.model.max_positions,
      )
    return self._scorer

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

  def _require_tokens(self, method: str) -> None:
    if not self._predicts_tokens:
      raise InputError(
        f'{method} needs a model that predicts tokens: a run with a masked LM '
        f'in its objective, or a converted one with that head; {self.origin} '
        f'{self.what_it_is()}'
      )

  @functools.partial(jax.jit, static_argnums=0)
  def _mask_probabilities(
    self,
    params: functional.Params,
    input_ids_BT: jax.Array,
    places_BM: jax.Array,
  ) -> jax.Array:
    model = self._model.bind(params)
    table = self.tokenizer.table
    layout = derive_layout(input_ids_BT, table)
    logits_BMV = self.objective.token_logits(
      model, input_ids_BT, layout, places_BM
    )
    probabilities_BMV = jax.nn.softmax(logits_BMV, axis=-1)
    # The model may have more entries than the tokenizer has tokens.
    return probabilities_BMV[..., : table.vocab_size]
