"""Training SentencePiece: the same bytes each time, from a bounded sample."""

import pytest
import trained_tokenizers
from trained_tokenizers import fingerprint_elsewhere, many_words

from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import sample, sentencepiece_training
from bert_jax.errors import InputError

MODEL_TYPES = sentencepiece_training.MODEL_TYPES


def train(texts, model_type, vocab_size=600):
  kind = f'sentencepiece_{model_type}'
  return trained_tokenizers.train(kind, texts, vocab_size)


@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_the_same_text_gives_the_same_bytes_in_every_process(model_type):
  words = many_words()
  texts = [' '.join(words), ' '.join(words[::-1])]
  made = "[' '.join(many_words()), ' '.join(many_words()[::-1])]"
  found = fingerprint_elsewhere(
    f"train('sentencepiece_{model_type}', {made}, 600)",
    first='os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})',
  )
  assert found == train(texts, model_type).fingerprint


@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_a_small_text_gives_fewer_entries(model_type):
  tokenizer = train(['the arrays are arranged in an array'] * 9, model_type)
  assert 270 < tokenizer.table.vocab_size < 330


@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_a_vocabulary_too_small_for_the_characters_is_an_error(model_type):
  with pytest.raises(
    InputError, match=r'--vocab_size=261: .* at least 26\d en'
  ):
    train(['the arrays'] * 9, model_type, 261)


@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_white_space_is_an_error(model_type):
  with pytest.raises(InputError, match='nothing but white space'):
    train([' \n\t'], model_type)


def draw(texts):
  return sample.draw(Document(text, 'origin') for text in texts)


def test_all_of_a_small_text_is_drawn():
  text = 'The arrays\nare arranged ' * 300 + 'x' * 3000
  chunks = draw([text, 'more'])
  assert ''.join(chunks) == text + 'more'
  assert max(map(len, chunks)) <= sample.CHUNK_CHARACTERS
  # Words are cut only where there is no white space.
  assert all(chunk[0].isspace() for chunk in chunks[1:7])


def test_a_large_text_is_sampled_evenly(monkeypatch):
  monkeypatch.setattr(sample, 'MAX_CHARACTERS', 6000)
  texts = [f'{i:06d}' for i in range(20_000)]
  chunks = draw(texts)
  assert 2000 < sum(map(len, chunks)) <= 6000
  assert chunks == sorted(chunks) == draw(texts)
  assert 0.4 < sum(int(chunk) < 10_000 for chunk in chunks) / len(chunks) < 0.6
