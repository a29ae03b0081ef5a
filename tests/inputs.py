"""All documents of an input at once, for tests of sources and forms."""

from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import Document, ReadReport


def read_documents(spec, **options) -> tuple[list[Document], ReadReport]:
  """(the documents, the report on what was left out)."""
  report = ReadReport()
  documents = open_inputs(str(spec), **options).documents(report)
  return list(documents), report


def read_texts(spec, **options) -> tuple[list[str], ReadReport]:
  """The same, of the documents their texts alone."""
  documents, report = read_documents(spec, **options)
  return [document.text for document in documents], report


def texts_of(spec, **options) -> list[str]:
  return read_texts(spec, **options)[0]
