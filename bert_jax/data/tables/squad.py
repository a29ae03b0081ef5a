"""Questions of SQuAD's .json, which nests them in articles and paragraphs.

Versions 1.1 and 2.0 share the form {"data": [{"title", "paragraphs":
[{"context", "qas": [{"id", "question", "answers", "is_impossible"}]}]}]}.
Source: Rajpurkar et al. 2016, 2018.
"""

from collections.abc import Iterator
from typing import Any

from bert_jax.errors import InputError

Record = dict[str, Any]


def is_document(record: Record) -> bool:
  """Returns whether an object has the form of a whole file of SQuAD."""
  articles = record.get('data')
  return (
    isinstance(articles, list)
    and bool(articles)
    and isinstance(articles[0], dict)
    and 'paragraphs' in articles[0]
  )


def questions(document: Record, path: str) -> Iterator[tuple[str, Record]]:
  """Yields (place, question) with the keys of the question and its context.

  The place reads 'path: article 1, paragraph 2, question 3'. Keys beside those
  of the question are 'title' and 'context'.

  Raises:
    InputError: A part lacks the list or the text that it should have, or an
      impossible question has answers.
  """
  articles = _objects(document, 'data', path)
  for number, article in enumerate(articles, 1):
    of_article = f'{path}: article {number}'
    paragraphs = _objects(article, 'paragraphs', of_article)
    for number, paragraph in enumerate(paragraphs, 1):
      of_paragraph = f'{of_article}, paragraph {number}'
      if 'context' not in paragraph:
        raise InputError(f'{of_paragraph}: has no context; mend the file.')
      qas = _objects(paragraph, 'qas', of_paragraph)
      for number, question in enumerate(qas, 1):
        place = f'{of_paragraph}, question {number}'
        if question.get('is_impossible') is True and question.get('answers'):
          raise InputError(
            f'{place}: is_impossible is true, and there are answers; leave one '
            'of them.'
          )
        shared = {
          'title': article.get('title'),
          'context': paragraph['context'],
        }
        yield place, shared | question


def _objects(parent: Record, key: str, where: str) -> list[Record]:
  """The objects of a list in `parent`; InputError on anything else."""
  found = parent.get(key)
  if not isinstance(found, list) or not all(
    isinstance(one, dict) for one in found
  ):
    raise InputError(
      f'{where}: {key} is not a list of objects, as in a file of SQuAD; mend '
      'the file.'
    )
  return found
