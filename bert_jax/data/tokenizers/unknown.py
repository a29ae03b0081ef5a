"""Measures how much of a text is unknown, and names the wrong setting.

A tokenizer of another case, script or language shows as unknown words: a model
that is trained on [UNK] learns nothing of them, and nothing else tells.
"""

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


def words(tokenizer: Tokenizer, text: str) -> Counter[str]:
  """The words, or characters, of a text's beginning that are unknown."""
  part = text[:_MAX_CHARACTERS]
  ((ids, offsets),) = tokenizer.encode_with_offsets([part])
  found = offsets[ids == tokenizer.table.unk_id].tolist()
  if len(part) < len(text):
    # The last word may be cut.
    found = [place for place in found if place[1] < len(part)]
  return Counter(part[first:end].strip() for first, end in found)


def line(
  tokenizer: Tokenizer, num_tokens: int, num_unknown: int, common: Counter[str]
) -> str:
  """The share in a line, with the commonest words."""
  token = tokenizer.token(tokenizer.table.unk_id)
  share = num_unknown / max(1, num_tokens)
  text = f'unknown to the tokenizer: {share:.2%} {token}'
  if num_unknown:
    shown = ', '.join(quoted(w, 24) for w in most_common(common, SHOWN_WORDS))
    text += f' ({num_unknown:,} of {num_tokens:,} tokens), such as {shown}'
  return text


def problem(
  tokenizer: Tokenizer,
  num_tokens: int,
  num_unknown: int,
  common: Counter[str],
  max_share: float = MAX_SHARE,
) -> str:
  """The reason why a share of unknown tokens shows a wrong setting, or ''.

  Args:
    tokenizer: to which it is unknown.
    num_tokens, num_unknown: counts of the text.
    common: unknown words with how often they occur, or a sample of them.
    max_share: more is a problem; 1: nothing is.
  """
  share = num_unknown / max(1, num_tokens)
  if max_share >= 1 or share <= _PLAIN * max_share:
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
    if _share_known(tokenizer, common, change) >= _HALF:
      return (
        f'{share:.1%} of the tokens are unknown, and most of these words are '
        f'known {how}: say {option} in tokenizer_config.json of the tokenizer'
      )
  if share <= max_share:
    return ''
  return (
    f'{share:.1%} of the tokens are unknown: the tokenizer is of another '
    'language or script, or its vocab.txt is not that of its '
    'tokenizer_config.json'
  )


def report(
  name: str,
  texts: Sequence[tuple[str, ...]],
  tokenizer: Tokenizer,
  *,
  max_share: float | None = None,
  way_out: str = '',
) -> None:
  """Prints the share of unknown tokens in labelled texts.

  Args:
    name: the name of the part, such as 'train'.
    texts: a tuple of texts for each example.
    tokenizer: encodes them.
    max_share: more is an error; None: a warning is printed.
    way_out: the flag that goes on in spite of it, for the error.

  Raises:
    InputError: More is unknown than `max_share`.
  """
  chosen = _spread(texts)
  num_tokens = num_unknown = 0
  common: Counter[str] = Counter()
  for group in chosen:
    for text, ids in zip(group, tokenizer.encode_batch(group), strict=True):
      unknown = int(np.count_nonzero(ids == tokenizer.table.unk_id))
      num_tokens += len(ids)
      num_unknown += unknown
      if unknown and len(common) < _MAX_TEXTS:
        common.update(words(tokenizer, text))
  counted = (tokenizer, num_tokens, num_unknown, common)
  of = ''
  if len(chosen) < len(texts):
    of = f', in {len(chosen):,} of {len(texts):,} examples'
  print(f'{name}: {line(*counted)}{of}', flush=True)
  found = problem(*counted, MAX_SHARE if max_share is None else max_share)
  if found and max_share is not None:
    raise InputError(f'{name}: {found}; {way_out}')
  if found:
    print(f'{name}: warning: {found}', flush=True)


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


def _spread(texts: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
  if len(texts) <= _MAX_TEXTS:
    return list(texts)
  return [texts[i * len(texts) // _MAX_TEXTS] for i in range(_MAX_TEXTS)]
