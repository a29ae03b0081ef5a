"""The examples of a fine-tuning run: read, encoded, served to every seed."""

import functools
import math
from collections.abc import Mapping

import numpy as np

from bert_jax.data.examples import Examples
from bert_jax.data.held_out import held_out
from bert_jax.data.labelled import ExampleStream, padding_note, read_examples
from bert_jax.data.length_buckets import (
  bucket_of,
  choose_lengths,
  count_tokens,
)
from bert_jax.data.reading.permutation import Permutation
from bert_jax.data.tokenizers import Tokenizer, unknown
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.objectives.base import VectorObjective
from bert_jax.tasks.base import (
  Facts,
  Features,
  Task,
  TaskConfig,
  TrainingColumns,
  cut_phrase,
)
from bert_jax.train.scoring import TuningData


class SeedStreams:
  """A stream for each seed, stacked to arrays [seeds, n, ...].

  With several `lengths`, the rows of an epoch are put together by length. Each
  step has rows of one length, the steps come in a drawn order, and which rows
  of like length meet differs by seed and epoch. The rows of an epoch are the
  same for all seeds, so the length of a step does not depend on their number.

  Args:
    rows: The rows of all examples; see ExampleStream.
    num_seeds: The number of seeds, which count from `seed`.
    batch_size: Rows of a seed in a step.
    steps_per_epoch: Steps of an epoch.
    lengths: Lengths of rows, ascending, int [k]; a single one changes no order.
    num_tokens: Tokens of each row, int [rows].
    per_token: Names of arrays whose last axis is that of the tokens.
    seed: The first seed, and that of the order of lengths.
  """

  def __init__(
    self,
    rows: Mapping[str, np.ndarray],
    *,
    num_seeds: int,
    batch_size: int,
    steps_per_epoch: int,
    lengths: np.ndarray,
    num_tokens: np.ndarray,
    per_token: tuple[str, ...],
    seed: int,
  ):
    # With several lengths, seeds read one stream, and have their order here.
    own = [seed + n for n in range(num_seeds if len(lengths) == 1 else 1)]
    streams = [ExampleStream(rows, seed=one) for one in own]
    self._streams = streams * (num_seeds // len(streams))
    self._batch_size = batch_size
    self.steps_per_epoch = steps_per_epoch
    self._lengths = lengths
    self._bucket_of_row = bucket_of(num_tokens, lengths)
    self._per_token = per_token
    self._seed = seed
    self._epoch = functools.lru_cache(maxsize=2)(self._make_epoch)

  def read_before(self, example_number: int) -> dict[str, str]:
    """Describes the examples read so far, as MixedStream.read_before does."""
    if not example_number:
      return {}
    fingerprint = self._streams[0].fingerprint
    read = f'{example_number} of {fingerprint[:16]}'
    if len(self._lengths) > 1:
      read += f' by lengths {", ".join(map(str, self._lengths))}'
    return {'training examples': read}

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of a step, or a part of them, by their example numbers."""
    steps, places = np.divmod(
      np.asarray(example_numbers).astype(np.int64), self._batch_size
    )
    epoch, step = divmod(int(steps[0]), self.steps_per_epoch)
    assert (steps == steps[0]).all()  # a part of a batch, as the feed asks
    numbers, lengths = self._epoch(epoch)
    batches = [
      stream.batch(of_stream[step, places])
      for stream, of_stream in zip(self._streams, numbers, strict=True)
    ]
    batch = {
      name: np.stack([batch[name] for batch in batches]) for name in batches[0]
    }
    for name in self._per_token:
      batch[name] = batch[name][..., : lengths[step]]
    return batch

  def lengths_of(self, epoch: int) -> np.ndarray:
    """The length of the rows of each step of an epoch, int64 [steps]."""
    return self._epoch(epoch)[1]

  def step_of_each_length(self) -> list[int]:
    """A step of the first epoch for each length that it has."""
    return np.unique(self.lengths_of(0), return_index=True)[1].tolist()

  def _make_epoch(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Example numbers uint64 [steps, batch] of each seed, lengths [steps]."""
    shape = self.steps_per_epoch, self._batch_size
    size = self.steps_per_epoch * self._batch_size
    numbers = np.uint64(epoch * size) + np.arange(size, dtype=np.uint64)
    # Rows of the evaluation part may be longer than all of these.
    lengths = np.minimum(self._lengths, self._streams[0].row_length)
    if len(lengths) == 1:
      same = [numbers.reshape(shape)] * len(self._streams)
      return same, np.full(self.steps_per_epoch, lengths[0])
    # All seeds read the rows of this epoch of the first stream, each in an
    # order of its own.
    buckets = self._bucket_of_row[self._streams[0].locate(numbers)[1]]
    order = Permutation(self.steps_per_epoch, self._seed, epoch, 1)
    turn = order(np.arange(self.steps_per_epoch))
    found = []
    for seed in range(len(self._streams)):
      drawn = Permutation(size, self._seed + seed, epoch, 2)(np.arange(size))
      by_bucket = drawn[np.argsort(buckets[drawn], kind='stable')]
      found.append(numbers[by_bucket.reshape(shape)[turn]])
    longest = np.sort(buckets).reshape(shape)[turn].max(axis=1)
    return found, lengths[longest]


def load_examples(
  experiment: FinetuneExperiment,
  tokenizer: Tokenizer,
  earlier: Facts | None = None,
) -> tuple[Task, TuningData]:
  """Reads and encodes both parts, and prints their sizes and what was cut.

  `earlier` holds the facts of the model to be tuned; see TaskConfig.fit.
  """
  config = experiment.task
  parts = _read_parts(config)
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
  _check_batch(experiment, task, len(parts['train']))
  num_tokens = {
    name: count_tokens(part.rows['input_ids'], tokenizer.table.pad_id)
    for name, part in features.items()
  }
  lengths = _row_lengths(experiment, features, num_tokens)
  examples = TuningData(
    train=features['train'],
    num_train=len(parts['train']),
    eval=features['eval'],
    held_out=parts['eval'],
    about=about,
    notes=notes,
    lengths=lengths,
    num_tokens=num_tokens,
    padding=_padding_shares(
      features, num_tokens, lengths, tokenizer.table.pad_id
    ),
  )
  return task, examples


def _read_parts(config: TaskConfig) -> dict[str, Examples]:
  """The examples for training, 'train', and for evaluation, 'eval'."""
  columns = config.columns()
  of_training = columns
  if isinstance(config, TrainingColumns):
    of_training = config.training_columns()
  train = read_examples(config.train_path, of_training, header=config.header)
  if config.eval_path:
    path = config.eval_path
    held = read_examples(path, columns, header=config.header)
  else:
    train, held = held_out(train, columns, config.train_path)
  return {'train': train, 'eval': held}


def _check_batch(
  experiment: FinetuneExperiment, task: Task, num_examples: int
) -> None:
  """Raises InputError if a batch would compare an example with itself."""
  compares = isinstance(task, VectorObjective) and task.couples_examples
  if compares and num_examples < experiment.batch_size:
    raise InputError(
      f'task.train_path={experiment.task.train_path} has {num_examples} '
      f'examples, and the loss compares the {experiment.batch_size} of a '
      f'batch; give --config.batch_size={num_examples} or less'
    )


def seed_streams(
  experiment: FinetuneExperiment, examples: TuningData, steps_per_epoch: int
) -> SeedStreams:
  """Makes a stream for each seed, which sees the examples in its own order."""
  return SeedStreams(
    examples.train.rows,
    num_seeds=experiment.num_seeds,
    batch_size=experiment.batch_size,
    steps_per_epoch=steps_per_epoch,
    lengths=examples.lengths,
    num_tokens=examples.num_tokens['train'],
    per_token=examples.train.per_token,
    seed=experiment.seed,
  )


def _padding_shares(
  features: dict[str, Features],
  num_tokens: dict[str, np.ndarray],
  lengths: np.ndarray,
  pad_id: int,
) -> dict[str, float]:
  """The share of padding in the rows of each part, each padded to its length.

  A step whose rows have several lengths is as long as its longest, so a run
  computes a little more padding.
  """
  found = {}
  for name, part in features.items():
    ids = part.rows['input_ids']
    length_of_row = lengths[bucket_of(num_tokens[name], lengths)]
    places = math.prod(ids.shape[1:-1]) * int(length_of_row.sum())
    found[name] = 1 - int(np.count_nonzero(ids != pad_id)) / places
  return found


def _row_lengths(
  experiment: FinetuneExperiment,
  features: dict[str, Features],
  num_tokens: dict[str, np.ndarray],
) -> np.ndarray:
  """The lengths that rows of both parts are padded to, int64 [k], ascending.

  Prints them and the share of padding; with a single one, a max_length that
  would do.
  """
  used = np.concatenate([*num_tokens.values()])
  most = max(part.rows['input_ids'].shape[-1] for part in features.values())
  if experiment.length_buckets == 1:
    if note := padding_note(int(used.max()), most):
      print(note, flush=True)
    return np.array([most])
  lengths = choose_lengths(used, most, experiment.length_buckets)
  padded = lengths[bucket_of(used, lengths)].sum()
  print(
    f'rows have {", ".join(map(str, lengths))} tokens, '
    f'{1 - used.sum() / padded:.0%} padding; '
    f'{1 - used.sum() / (len(used) * most):.0%} if all had {most}',
    flush=True,
  )
  return lengths
