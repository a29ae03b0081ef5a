"""Trains a tokenizer: words are counted, then frequent pieces are merged.

Same text, same bytes: on every machine, with any number of threads.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import base, wordpiece
from bert_jax.errors import InputError

# Characters outside this share of the text get no entry; words with them are
# [UNK]. SentencePiece calls it character_coverage.
CHARACTER_COVERAGE = 0.9999
MIN_PAIR_COUNT = 2

# Bounds the memory: beyond it, words seen once are forgotten, then those
# seen twice, and so on.
_MAX_WORDS = 4_000_000
# Bounds the time: larger corpora are scaled down to about this many words.
_MAX_TRAINING_WORDS = 50_000_000

# ASCII without the control characters that BERT's cleaning removes.
_PLAIN_ASCII = re.compile(r'[ -~\t\n\r]*')
_ASCII_WORDS = re.compile(r'[A-Za-z0-9]+|[!-/:-@\[-`{-~]')


def train_wordpiece(
  documents: Iterable[Document], *, vocab_size: int, lowercase: bool
) -> wordpiece.WordPiece:
  """Learns a WordPiece vocabulary by merging the most frequent pairs.

  Args:
    documents: Read once; their words are counted, so that memory is bounded by
      the number of different words.
    vocab_size: Entries, with the five special tokens. A small text may give
      fewer.
    lowercase: Lower the text and strip its accents ("uncased").

  Returns:
    A tokenizer: special tokens first, then characters, then merged pieces.

  Raises:
    InputError: vocab_size has no room for the characters of the text.
  """
  from tokenizers import Tokenizer, models, pre_tokenizers, trainers

  words = count_words(documents, lowercase)
  alphabet = _alphabet(words)
  # Chinese characters and punctuation are words of their own, never inside one.
  continuations = [
    wordpiece.CONTINUATION + c for c in alphabet if not _stands_alone(c)
  ]
  smallest = len(base.SPECIAL_TOKENS) + len(alphabet) + len(continuations)
  if vocab_size < smallest:
    raise InputError(
      f'--vocab_size={vocab_size}: this text needs at least {smallest} '
      f'entries, for its {len(alphabet)} characters and the special tokens.'
    )
  model = models.WordPiece(
    unk_token=base.UNK, continuing_subword_prefix=wordpiece.CONTINUATION
  )
  tokenizer = Tokenizer(model)
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  trainer = trainers.WordPieceTrainer(
    vocab_size=vocab_size,
    min_frequency=MIN_PAIR_COUNT,
    # Ties between pairs are broken by id, and the trainer gives ids to '##x' in
    # the order of a hash table, which differs from run to run. Given as
    # "special" tokens they have fixed ones.
    special_tokens=[*base.SPECIAL_TOKENS, *continuations],
    initial_alphabet=alphabet,
    limit_alphabet=len(alphabet),
    continuing_subword_prefix=wordpiece.CONTINUATION,
    show_progress=False,
  )
  tokenizer.train_from_iterator(_training_text(words), trainer)
  token_ids = tokenizer.get_vocab(with_added_tokens=False)
  return wordpiece.WordPiece(
    sorted(token_ids, key=token_ids.__getitem__), lowercase=lowercase
  )


def count_words(documents: Iterable[Document], lowercase: bool) -> Counter[str]:
  """Counts the words of a text after BERT's cleaning and splitting."""
  from tokenizers import pre_tokenizers

  normalizer = wordpiece.normalizer(lowercase)
  splitter = pre_tokenizers.BertPreTokenizer()
  words: Counter[str] = Counter()
  rare = 0
  for document in documents:
    if _PLAIN_ASCII.fullmatch(document.text):
      # A shortcut: the same words as below, in a third of the time.
      text = document.text.lower() if lowercase else document.text
      words.update(_ASCII_WORDS.findall(text))
    else:
      text = wordpiece.prepare_text(document.text, lowercase)
      pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
      words.update(word for word, _ in pieces)
    if len(words) > _MAX_WORDS:
      rare += 1
      words = Counter({w: n for w, n in words.items() if n > rare})
  return words


def _alphabet(words: Counter[str]) -> list[str]:
  """The most frequent characters that make up CHARACTER_COVERAGE, sorted."""
  characters: Counter[str] = Counter()
  for word, count in words.items():
    for character in word:
      characters[character] += count
  covered, total = 0, characters.total()
  alphabet = []
  for character in sorted(characters, key=lambda c: (-characters[c], c)):
    if covered >= CHARACTER_COVERAGE * total:
      break
    covered += characters[character]
    alphabet.append(character)
  return sorted(alphabet)


def _training_text(words: Counter[str]) -> Iterator[str]:
  """Text with the same words as often, in a fixed order."""
  scale = max(1, -(-words.total() // _MAX_TRAINING_WORDS))
  for word, count in sorted(words.items()):
    repeats = count // scale
    for first in range(0, repeats, 1000):
      yield ' '.join(itertools.repeat(word, min(1000, repeats - first)))


def _stands_alone(character: str) -> bool:
  """Returns whether BERT's splitting makes a word of each such character."""
  from tokenizers import pre_tokenizers

  text = wordpiece.normalizer(lowercase=False).normalize_str(f'a{character}a')
  return len(pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)) > 1
