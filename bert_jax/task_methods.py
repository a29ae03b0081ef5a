"""Methods of a trained model that serve one task each, such as `rerank`."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from bert_jax.data.examples import Examples, examples_of
from bert_jax.errors import InputError, quoted
from bert_jax.tasks.answers import Answer
from bert_jax.tasks.base import Result, Task
from bert_jax.tasks.question_answering import QuestionAnswering
from bert_jax.tasks.ranked import RankedDocument, ranked
from bert_jax.tasks.regression import Regression
from bert_jax.tasks.reranking import Reranking
from bert_jax.tasks.tagged_text import TaggedText, tagged, words_of
from bert_jax.tasks.tagging import Tagging

# Maps a method to the tasks that it serves, and the model that it needs.
_SERVES: dict[str, tuple[tuple[type, ...], str]] = {
  'answer': ((QuestionAnswering,), 'a model that answers questions'),
  'rerank': ((Reranking, Regression), 'a reranker, or a regression of pairs'),
  'tag': ((Tagging,), 'a tagger of words'),
}


class _Predicts(Protocol):
  """The part of a trained model that these methods call."""

  origin: str

  def require_task(self, method: str) -> Task: ...

  def results(self, examples: Examples) -> Iterator[Result]: ...

  def predict(self, texts: Sequence[tuple[str, ...]]) -> Any: ...

  def what_it_is(self) -> str: ...


class TaskMethods:
  """The methods; each gives one line of error with a model of another task."""

  def answer(self: _Predicts, question: str, context: str) -> Answer:
    """The answer to a question as a span of its context.

    Raises InputError if the model does not answer questions, a text is empty,
    or the question leaves no room for the context.
    """
    _require(self, 'answer')
    return self.predict([(question, context)])[0]

  def rerank(
    self: _Predicts,
    query: str,
    documents: Sequence[str],
    *,
    top_k: int | None = None,
  ) -> list[RankedDocument]:
    """The documents by their scores for a query, the best first.

    Pairs of like length are computed together. Of a pair with more tokens than
    `max_length` the longer text is cut, as in `predict`.

    Args:
      query: what is looked for.
      documents: the texts to be ordered, any number.
      top_k: how many of the best are returned; all without it.

    Raises:
      InputError: the model gives no score for a pair, a text is empty, or
        top_k is below 1.
    """
    _require(self, 'rerank')
    if isinstance(documents, str):
      raise InputError('rerank takes a list of documents; put it in [ ]')
    if top_k is not None and top_k < 1:
      raise InputError(f'top_k is {top_k}; give 1 or more')
    for what, text in [
      ('the query', query),
      *((f'document {n}', text) for n, text in enumerate(documents)),
    ]:
      if not text.strip():
        raise InputError(f'{what} is empty; fill it in, or leave it out')
    if not documents:
      return []
    pairs = examples_of([(query, document) for document in documents])
    return ranked(documents, [*self.results(pairs)])[:top_k]

  def tag(self: _Predicts, text: str | Sequence[str]) -> list[TaggedText]:
    """The entities of a text in order, each with its place.

    A tagger whose labels are none of entities, such as parts of speech, gives
    all words.

    Args:
      text: a text, which is parted into words by blanks and punctuation; see
        tagged_text.words_of. Or the words as the tagger was tuned on them, for
        languages without blanks: places are then those in ' '.join(words).

    Raises:
      InputError: the model is no tagger of words, or there are none.
    """
    task = _require(self, 'tag')
    if isinstance(text, str):
      places = words_of(text)
    else:
      ends = [*itertools.accumulate(len(word) + 1 for word in text)]
      places = [
        (end - 1 - len(word), end - 1)
        for word, end in zip(text, ends, strict=True)
      ]
      text = ' '.join(text)
    words = tuple(text[start:end] for start, end in places)
    if not words or not all(map(str.strip, words)):
      raise InputError(
        f'the text {quoted(text)} has no words, or an empty one; fill it in'
      )
    (result,) = self.results(examples_of([words]))
    return tagged(text, places, result, task.facts['labels'])


def _require(model: _Predicts, method: str) -> Task:
  """The model's task; InputError with the methods that work, if another's."""
  task = model.require_task(method)
  tasks, needed = _SERVES[method]
  if isinstance(task, tasks):
    return task
  works = [
    name for name, (kinds, _) in _SERVES.items() if isinstance(task, kinds)
  ]
  raise InputError(
    f'{method} needs {needed}; {model.origin} {model.what_it_is()}, and '
    f'{", ".join(["predict", *works])} and embed work with it'
  )
