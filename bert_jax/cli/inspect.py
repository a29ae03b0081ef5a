"""Show the examples of a run as text, with their masks, or a corpus in figures.

  bert-jax inspect --workdir=RUN --step=1200
  bert-jax inspect --workdir=RUN --example=307200
  bert-jax inspect --corpus=DIR

What is shown is what training saw: from a log's "non-finite" step to its text.
"""

from absl import flags

from bert_jax.cli.flags import no_arguments
from bert_jax.errors import InputError

_WORKDIR = flags.DEFINE_string('workdir', '', 'A pretraining run.')
_STEP = flags.DEFINE_integer('step', None, 'Shows the batch of this step.')
_EXAMPLE = flags.DEFINE_integer('example', None, 'Shows this example number.')
_ROWS = flags.DEFINE_integer('rows', 8, 'Of a step, at most so many rows.')
_CORPUS = flags.DEFINE_string('corpus', '', 'A prepared corpus, in figures.')


def main(argv: list[str]) -> None:
  no_arguments(argv)
  if bool(_CORPUS.value) == bool(_WORKDIR.value):
    raise InputError('give --workdir=RUN, or --corpus=DIR')
  if _CORPUS.value:
    from bert_jax.data.inspect_corpus import describe_corpus

    for line in describe_corpus(_CORPUS.value):
      print(line)
    return
  if (_STEP.value is None) == (_EXAMPLE.value is None):
    raise InputError('give --step=K or --example=G beside --workdir')
  from bert_jax import inspecting

  for line in inspecting.describe_examples(
    _WORKDIR.value, step=_STEP.value, example=_EXAMPLE.value, rows=_ROWS.value
  ):
    print(line)
