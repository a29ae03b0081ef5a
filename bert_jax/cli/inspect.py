"""Show the examples of a run as text, with their masks, or a corpus in figures.

  bert-jax inspect --workdir=RUN --step=1200
  bert-jax inspect --workdir=RUN --example=307200
  bert-jax inspect --config=FILE --config.data.path=DIR --step=0
  bert-jax inspect --corpus=DIR

It shows what training saw, or would see by a config: from a log's "non-finite"
step to its text. A run with classes of your own takes its
experiment file beside --workdir, or --import=MODULE.
"""

from absl import flags

from bert_jax.cli.flags import define_config, no_arguments, overridden
from bert_jax.errors import InputError

_CONFIG = define_config(default='')
_WORKDIR = flags.DEFINE_string('workdir', '', 'A pretraining run.')
_STEP = flags.DEFINE_integer('step', None, 'Shows the batch of this step.')
_EXAMPLE = flags.DEFINE_integer('example', None, 'Shows this example number.')
_ROWS = flags.DEFINE_integer('rows', 8, 'Shows at most so many rows of a step.')
_CORPUS = flags.DEFINE_string('corpus', '', 'A prepared corpus, in figures.')


def main(argv: list[str]) -> None:
  no_arguments(argv)
  # With --workdir, --config is there for the classes that the file defines.
  config = None if _WORKDIR.value else _CONFIG.value
  given = [flag for flag in (config, _WORKDIR.value, _CORPUS.value) if flag]
  if len(given) != 1:
    raise InputError('give one of --workdir=RUN, --config=FILE, --corpus=DIR')
  if _WORKDIR.value and (fields := overridden()):
    raise InputError(
      f'--config.{fields[0]}: the run of --workdir has its own config; leave '
      'it out'
    )
  if _CORPUS.value:
    from bert_jax.data.preparing.inspect_corpus import describe_corpus

    for line in describe_corpus(_CORPUS.value):
      print(line)
    return
  if (_STEP.value is None) == (_EXAMPLE.value is None):
    raise InputError(
      'give one of --step=K and --example=G beside --workdir or --config'
    )
  from bert_jax.jobs import inspect

  experiment = config or inspect.read_experiment(_WORKDIR.value)
  for line in inspect.describe_examples(
    experiment, step=_STEP.value, example=_EXAMPLE.value, rows=_ROWS.value
  ):
    print(line)
