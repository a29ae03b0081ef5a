"""Measures how much of a text is unknown, and names the wrong setting.

A tokenizer of another case, script or language shows as unknown words: a model
that is trained on [UNK] learns nothing of them, and nothing else tells.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.data.tokenizers.vocabulary_case import without_accents
from bert_jax.errors import InputError, quoted

# Text that suits its tokenizer has below 1 %, with emoji and foreign names some
# 3 %. A fifth is no text that the vocabulary was made for.
MAX_SHARE = 0.2
# Share of MAX_SHARE that is enough where the reason is plain: half of the
# unknown words are known in lower case or without accents. English that is
# wrongly left as it is has some 15 % of unknown words.
_PLAIN = 0.15
_HALF = 0.5
SHOWN_WORDS = 5
# The texts that are looked at where all of them would take long.
_MAX_TEXTS = 20_000
_MAX_CHARACTERS = 2_000


@dataclasses.dataclass
class Unknown:
  """The share of a text that is unknown to a tokenizer.

  num_tokens, num_unknown: counts of the text so far. common: unknown words with
  how often they occur, or a sample of them.
  """

  tokenizer: Tokenizer
  num_tokens: int = 0
  num_unknown: int = 0
  common: Counter[str] = dataclasses.field(default_factory=Counter)

  @property
  def share(self) -> float:
    return self.num_unknown / max(1, self.num_tokens)

  def line(self) -> str:
    """The share in a line, with the commonest words."""
    token = self.tokenizer.token(self.tokenizer.table.unk_id)
    text = f'unknown to the tokenizer: {self.share:.2%} {token}'
    if self.num_unknown:
      shown = most_common(self.common, SHOWN_WORDS)
      text += (
        f' ({self.num_unknown:,} of {self.num_tokens:,} tokens), such as '
        + ', '.join(quoted(word, 24) for word in shown)
      )
    return text

  def problem(self, max_share: float = MAX_SHARE) -> str:
    """The reason why a share of unknown tokens shows a wrong setting, or ''.

    More than `max_share` is a problem; 1: nothing is.
    """
    if max_share >= 1 or self.share <= _PLAIN * max_share:
      return ''
    changes = (
      ('in lower case', str.lower, 'do_lower_case true'),
      ('without accents', without_accents, 'strip_accents true'),
      (
        'in lower case without accents',
        lambda word: without_accents(word.lower()),
        'do_lower_case true',
      ),
    )
    for how, change, option in changes:
      if _share_known(self.tokenizer, self.common, change) >= _HALF:
        return (
          f'{self.share:.1%} of the tokens are unknown, and most of these '
          f'words are known {how}: say {option} in tokenizer_config.json of '
          'the tokenizer'
        )
    if self.share <= max_share:
      return ''
    return (
      f'{self.share:.1%} of the tokens are unknown: the tokenizer is of '
      'another language or script, or its vocab.txt is not that of its '
      'tokenizer_config.json'
    )


def words(tokenizer: Tokenizer, text: str) -> Counter[str]:
  """The words, or characters, of a text's beginning that are unknown."""
  part = text[:_MAX_CHARACTERS]
  ((ids, offsets),) = tokenizer.encode_with_offsets([part])
  found = offsets[ids == tokenizer.table.unk_id].tolist()
  if len(part) < len(text):
    # The last word may be cut.
    found = [place for place in found if place[1] < len(part)]
  return Counter(part[first:end].strip() for first, end in found)


def report(
  name: str,
  texts: Sequence[tuple[str, ...]],
  tokenizer: Tokenizer,
  *,
  max_share: float | None = None,
  way_out: str = '',
  num_texts: int = 0,
) -> None:
  """Prints the share of unknown tokens in labelled texts.

  Args:
    name: the name of the part, such as 'train'.
    texts: a tuple of texts for each example.
    tokenizer: encodes them.
    max_share: more is an error; None: a warning is printed.
    way_out: the flag that goes on in spite of it, for the error.
    num_texts: the number of examples, if `texts` are only a part of them.

  Raises:
    InputError: More is unknown than `max_share`.
  """
  chosen = [texts[place] for place in places_to_look_at(len(texts))]
  num_texts = num_texts or len(texts)
  found = Unknown(tokenizer)
  for group in chosen:
    for text, ids in zip(group, tokenizer.encode_batch(group), strict=True):
      num_unknown = int(np.count_nonzero(ids == tokenizer.table.unk_id))
      found.num_tokens += len(ids)
      found.num_unknown += num_unknown
      if num_unknown and len(found.common) < _MAX_TEXTS:
        found.common.update(words(tokenizer, text))
  of = ''
  if len(chosen) < num_texts:
    of = f', in {len(chosen):,} of {num_texts:,} examples'
  print(f'{name}: {found.line()}{of}', flush=True)
  why = found.problem(MAX_SHARE if max_share is None else max_share)
  if why and max_share is not None:
    raise InputError(f'{name}: {why}; {way_out}')
  if why:
    print(f'{name}: warning: {why}', flush=True)


def most_common(common: Counter[str], count: int) -> list[str]:
  """The words that occur most often; of equally many the first by alphabet."""
  ranked = sorted(common.items(), key=lambda item: (-item[1], item[0]))
  return [word for word, _ in ranked[:count]]


def _share_known(tokenizer: Tokenizer, common: Counter[str], change) -> float:
  """The share of the words that are changed by `change`, and known then."""
  ranked = most_common(common, 100)
  total = sum(common[word] for word in ranked)
  changed = [word for word in ranked if change(word) != word]
  encoded = tokenizer.encode_batch([change(word) for word in changed])
  known = sum(
    common[word]
    for word, ids in zip(changed, encoded, strict=True)
    if len(ids) and not (ids == tokenizer.table.unk_id).any()
  )
  return known / total if total else 0.0


def places_to_look_at(num_texts: int) -> Sequence[int]:
  """The places, in order, of the texts that `report` looks at."""
  if num_texts <= _MAX_TEXTS:
    return range(num_texts)
  return [i * num_texts // _MAX_TEXTS for i in range(_MAX_TEXTS)]
