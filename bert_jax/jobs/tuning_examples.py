"""The examples of a fine-tuning run: read, encoded, served to every seed."""

import numpy as np

from bert_jax.data.held_out import held_out
from bert_jax.data.labelled import ExampleStream, padding_note, read_examples
from bert_jax.data.reading.permutation import Permutation
from bert_jax.data.tokenizers import Tokenizer, unknown
from bert_jax.experiment import FinetuneExperiment
from bert_jax.tasks.base import Facts, Task, cut_phrase
from bert_jax.train.scoring import TuningData


class SeedStreams:
  """A stream for each seed, stacked to arrays [seeds, n, ...]."""

  def __init__(self, streams: list[ExampleStream]):
    self._streams = streams

  def read_before(self, example_number: int) -> dict[str, str]:
    """Describes the examples read so far, as MixedStream.read_before does."""
    if not example_number:
      return {}
    fingerprint = self._streams[0].fingerprint
    return {'training examples': f'{example_number} of {fingerprint[:16]}'}

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    batches = [stream.batch(example_numbers) for stream in self._streams]
    return {
      name: np.stack([batch[name] for batch in batches]) for name in batches[0]
    }


def load_examples(
  experiment: FinetuneExperiment,
  tokenizer: Tokenizer,
  earlier: Facts | None = None,
) -> tuple[Task, TuningData]:
  """Reads and encodes both parts, and prints their sizes and what was cut.

  `earlier` holds the facts of the model to be tuned; see TaskConfig.fit.
  """
  config = experiment.task
  paths = {'train': config.train_path, 'eval': config.eval_path}
  parts = {
    name: read_examples(path, config.columns(), header=config.header)
    for name, path in paths.items()
    if path
  }
  if 'eval' not in parts:
    parts['train'], parts['eval'] = held_out(
      parts['train'], config.columns(), config.train_path
    )
  task = config.build(tokenizer.table, config.fit(parts['train'], earlier))
  features, about, notes = {}, {}, []
  for name, part in parts.items():
    if name == 'train' and 0 < config.max_train_examples < len(part):
      drawn = Permutation(len(part), 0)(np.arange(config.max_train_examples))
      parts[name] = part = part.take(drawn)
    # Featurizing comes before printing, since an answer may be unknown.
    features[name] = task.featurize(part, tokenizer, experiment.max_length)
    unknown.report(
      name,
      part.texts,
      tokenizer,
      max_share=experiment.max_unknown,
      way_out='--config.max_unknown=1 goes on in spite of it',
    )
    cut = cut_phrase(features[name].cut)
    print(f'{name}: {len(part):,} examples, {cut}', flush=True)
    found = task.about(name, part)
    print(*found.lines, sep='\n', end='\n' if found.lines else '', flush=True)
    for what, of_part in found.record.items():
      about.setdefault(what, {})[name] = of_part
    notes += [*part.notes, *found.notes]
  notes = list(dict.fromkeys(notes))
  print(*notes, sep='\n', end='\n' if notes else '', flush=True)
  ids = [part.rows['input_ids'] for part in features.values()]
  if note := padding_note(ids, tokenizer.table.pad_id):
    print(note, flush=True)
  examples = TuningData(
    train=features['train'],
    num_train=len(parts['train']),
    eval=features['eval'],
    held_out=parts['eval'],
    about=about,
    notes=notes,
  )
  return task, examples


def seed_streams(
  experiment: FinetuneExperiment, examples: TuningData
) -> SeedStreams:
  """Makes a stream for each seed, which sees the examples in its own order."""
  return SeedStreams(
    [
      ExampleStream(examples.train.rows, seed=experiment.seed + seed)
      for seed in range(experiment.num_seeds)
    ]
  )
