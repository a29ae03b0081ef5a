"""Fine-tuning with rows put together by length."""

import numpy as np
import pytest
from runs import on_one_device
from tuning import classification, results, stop_at_step_5, tuning

from bert_jax import inference
from bert_jax.config.codec import decode, encode
from bert_jax.data.labelled import read_examples
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.predict import evaluation_table
from bert_jax.jobs.tuning_examples import SeedStreams
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks.tagging import TaggingConfig

MODEL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)
WORDS = {
  'one': ('this array', 'the function', 'a matrix'),
  'many': ('these arrays', 'the functions', 'two matrices'),
}
# 2 and 16 words: rows of two lengths.
TEXTS = [
  (' '.join([words] * times), label)
  for times in (1, 8)
  for label, phrases in WORDS.items()
  for words in phrases
]
LENGTHS = np.array([4, 8, 16])


def streams(num_seeds, num_rows=21, batch_size=4, lengths=LENGTHS):
  """Over rows of 3, 7 and 15 tokens, each the number of its row."""
  num_tokens = np.resize([3, 7, 15], num_rows)
  ids = np.zeros((num_rows, 16), np.int32)
  for row, (row_T, count) in enumerate(zip(ids, num_tokens, strict=True)):
    row_T[:count] = row + 1
  return SeedStreams(
    {'input_ids': ids},
    num_seeds=num_seeds,
    batch_size=batch_size,
    steps_per_epoch=round(num_rows / batch_size),
    lengths=lengths,
    num_tokens=num_tokens,
    per_token=('input_ids',),
    seed=0,
  )


def batches(stream, steps, batch_size=4):
  numbers = np.arange(batch_size, dtype=np.uint64)
  return [stream.batch(numbers + np.uint64(n * batch_size)) for n in steps]


def test_an_epoch_has_the_rows_that_it_has_without_lengths():
  by_length = batches(streams(2), range(10))
  at_random = batches(streams(1, lengths=LENGTHS[-1:]), range(10))
  for epoch in (range(5), range(5, 10)):
    wanted = sorted(
      row for n in epoch for row in at_random[n]['input_ids'][0, :, 0]
    )
    for seed in range(2):
      rows = [
        row for n in epoch for row in by_length[n]['input_ids'][seed, :, 0]
      ]
      assert sorted(rows) == wanted
      numbers = [
        tuple(pair)
        for n in epoch
        for pair in by_length[n]['example_number'][seed]
      ]
      assert len(set(numbers)) == len(numbers)


def test_rows_are_whole_and_little_is_padding():
  for batch in batches(streams(2), range(10)):
    ids_SBT = batch['input_ids']
    assert ids_SBT.shape[-1] in LENGTHS
    counts_SB = (ids_SBT > 0).sum(axis=-1)
    number_SB = ids_SBT[..., 0] - 1
    np.testing.assert_array_equal(
      counts_SB, np.array([3, 7, 15])[number_SB % 3]
    )
    assert (
      LENGTHS[np.searchsorted(LENGTHS, counts_SB.max())] == ids_SBT.shape[-1]
    )


def test_orders_differ_by_seed_and_epoch_and_not_by_the_number_of_seeds():
  three, one = streams(3), streams(1)
  shown = [b['input_ids'] for b in batches(three, range(5))]
  first, second = ([x[s].tolist() for x in shown] for s in (0, 1))
  assert first != second
  assert first == [b['input_ids'][0].tolist() for b in batches(one, range(5))]
  assert three.lengths_of(0).tolist() != three.lengths_of(1).tolist()
  # A part of a batch, as one of several devices reads it, is that part.
  part = three.batch(np.arange(6, 8, dtype=np.uint64))
  np.testing.assert_array_equal(part['input_ids'], shown[1][:, 2:])


@pytest.fixture
def experiment(small_corpus, module_folder):
  return tuning(
    classification(module_folder, TEXTS * 3, TEXTS),
    model=MODEL,
    tokenizer=str(small_corpus / 'tokenizer'),
    max_length=32,
    length_buckets=4,
    num_seeds=1,
    num_epochs=2,
  )


@pytest.fixture
def finished(monkeypatch, module_folder, experiment):
  """The workdir of `experiment`, run once on one device."""
  if not (module_folder / 'run').exists():
    with monkeypatch.context() as patched:
      on_one_device(patched)
      finetune(experiment, module_folder / 'run')
  return module_folder / 'run'


def figures(workdir):
  return [(r['eval_loss'], r['accuracy']) for r in results(workdir)['runs']]


def test_one_device_and_eight_give_the_same(finished, experiment, tmp_path):
  finetune(experiment, tmp_path / 'eight')
  np.testing.assert_allclose(
    figures(tmp_path / 'eight'), figures(finished), rtol=1e-4
  )


def test_a_stopped_run_ends_as_if_never_stopped(
  finished, experiment, one_device, tmp_path, monkeypatch, capfd
):
  stop_at_step_5(experiment, tmp_path / 'stopped', monkeypatch)
  said = capfd.readouterr().out
  assert 'rows have 8, 32 tokens' in said
  finetune(experiment, tmp_path / 'stopped')
  assert results(tmp_path / 'stopped') == results(finished)


def test_scores_are_those_of_rows_as_long_as_the_longest(
  finished, experiment, tmp_path
):
  """`evaluate` computes them in its own batches, from the saved parameters."""
  best = results(finished)
  best = best['runs'][best['best_seed']]
  rows = evaluation_table(
    inference.load(finished),
    read_examples(experiment.task.eval_path, experiment.task.columns()),
  )
  assert f'{best["eval_loss"]:.4f}' in str(rows)


def test_labels_of_words_are_cut_with_their_rows(
  small_corpus, one_device, tmp_path
):
  sentences = [
    ''.join(f'{word} {label}\n' for word in text.split())
    for text, label in TEXTS
  ]
  path = tmp_path / 'words.conll'
  path.write_text('\n'.join(sentences))
  task = TaggingConfig(
    train_path=str(path), eval_path=str(path), metric='accuracy'
  )
  run = tuning(
    task,
    model=MODEL,
    tokenizer=str(small_corpus / 'tokenizer'),
    max_length=32,
    length_buckets=4,
    num_seeds=1,
    num_epochs=30,
  )
  finetune(run, tmp_path / 'run')
  # Labels beside their words are learned; labels of other columns are not.
  assert results(tmp_path / 'run')['summary']['accuracy']['mean'] > 0.95


def test_runs_of_an_earlier_version_pad_all_rows(experiment):
  value = encode(experiment)
  del value['length_buckets']
  earlier = decode(value, where='config.json')
  assert isinstance(earlier, FinetuneExperiment)
  assert earlier.length_buckets == 1
