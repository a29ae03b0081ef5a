"""Runs whose workdir lies at gs://, before a server of Cloud Storage's API.

Orbax saves and restores by TensorStore and gcsfs, our own files and the lock go
through google-cloud-storage, all to the same objects.
"""

import json
import threading

import numpy as np
import pytest
from other_process import ROOT, said
from runs import assert_same_arrays, assert_same_run, stop_after
from tuning import classification, results, tuning

from bert_jax import bucket_lock, buckets, inference
from bert_jax.errors import InputError
from bert_jax.jobs import inspect
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.pretrain import pretrain
from bert_jax.report.page import write_report
from bert_jax.train.checkpoint import saved_steps
from bert_jax.train.goodput import goodput_of, read_starts
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes

URL = 'gs://bucket/runs/a'
LAST = 'runs/a/checkpoints/10/'
_finished = {}


@pytest.fixture
def run(gcs, small_experiment):
  """The finished run of `small_experiment` at URL, made once.

  While it was made, every fifth request of all clients was refused for a while.
  """
  if not _finished:
    count = 0

    def failing(request):
      nonlocal count
      count += 1
      return 503 if 20 < count < 60 and count % 5 == 0 else 0

    gcs.failing = failing
    pretrain(small_experiment, URL)
    assert count > 60
    _finished.update(gcs.objects)
  gcs.clear()
  gcs.objects.update(_finished)
  return Workdir(URL)


def forget(gcs, *starts):
  """Removes the objects whose names begin so."""
  for where, name in list(gcs.objects):
    if name.startswith(starts):
      del gcs.objects[where, name]


def contents(gcs):
  return {name: stored.content for name, stored in gcs.objects.items()}


def test_a_run_is_that_of_a_disk(run, gcs, finished_run):
  assert_same_run(URL, finished_run)
  assert saved_steps(run.checkpoints) == [10, 5]
  assert json.loads(run.complete.read_text()) == {'step': 10}
  ours = {name.split('/')[2] for name in gcs.names('bucket')}
  assert ours == {path.name for path in finished_run.iterdir()}
  assert [path.name for path in run.metrics.iterdir()] == ['part-0.jsonl']


def test_a_stopped_run_goes_on_bit_for_bit(gcs, small_experiment, finished_run):
  with pytest.MonkeyPatch.context() as patched:
    stop_after(patched, 3)
    assert pretrain(small_experiment, URL).stopped_by == 'SIGTERM'
  workdir = Workdir(URL)
  assert saved_steps(workdir.checkpoints) == [3]
  assert not workdir.complete.exists() and not workdir.lock_path.exists()
  assert pretrain(small_experiment, URL).saved_step == 10
  assert_same_run(URL, finished_run)
  assert len(workdir.starts.read_text().splitlines()) == 2
  first, second = read_starts(workdir.goodput)
  assert (first.last_step, second.first_step, second.last_step) == (3, 3, 10)
  assert goodput_of([first, second]).num_starts == 2


@pytest.mark.parametrize('requests', [1, 12])
def test_half_a_checkpoint_is_none(
  run, gcs, small_experiment, finished_run, requests
):
  """The storage takes so many objects of a save, as before a kill."""
  forget(gcs, LAST, 'runs/a/complete.json')
  written = 0

  def failing(request):
    nonlocal written
    written += 'POST /upload' in request and 'checkpoints%2F10' in request
    written += 'POST /upload' in request and 'checkpoints/10' in request
    return 403 if written > requests else 0

  gcs.failing = failing
  with pytest.raises(InputError, match='saving step 10 failed'):
    pretrain(small_experiment, URL)
  left = gcs.names('bucket', LAST)
  assert left and LAST + buckets.COMMITTED not in left
  gcs.failing = lambda request: 0
  assert saved_steps(run.checkpoints) == [5]
  with pytest.raises(InputError, match='no checkpoint of step 10; there are 5'):
    inference.load(f'{URL}@10')
  forget(gcs, 'runs/a/lock')
  pretrain(small_experiment, URL)
  assert_same_run(URL, finished_run)


def test_a_damaged_checkpoint_is_set_aside(
  run, gcs, small_experiment, finished_run, capsys
):
  where, stored = max(
    (item for item in gcs.objects.items() if f'{LAST}params/d/' in item[0][1]),
    key=lambda item: len(item[1].content),
  )
  content = bytearray(stored.content)
  content[len(content) // 2] ^= 1
  gcs.store(where[0], {'name': where[1]}, bytes(content))
  before = {name.removeprefix(LAST) for name in gcs.names('bucket', LAST)}
  pretrain(small_experiment, URL)
  assert (
    'it is now damaged-10, trying the one before' in capsys.readouterr().out
  )
  aside = f'{Workdir(URL).checkpoints}/damaged-10/'.removeprefix('gs://bucket/')
  names = {name.removeprefix(aside) for name in gcs.names('bucket', aside)}
  assert names == before
  assert_same_run(URL, finished_run)


def test_verbs_read_it(run, gcs, finished_run, tmp_path):
  before = contents(gcs)
  text = 'the [MASK] of its values'
  model, theirs = inference.load(URL), inference.load(finished_run)
  assert model.fill_mask(text) == theirs.fill_mask(text)
  # Another process reads it too, as one on a laptop would.
  lines = said(ROOT, 'fill_mask', f'--workdir={URL}', text).splitlines()
  assert [line.split()[2] for line in lines[1:]] == [
    guess['token'] for guess in theirs.fill_mask(text)[0]
  ]
  ours, other = (
    list(inspect.describe_examples(inspect.read_experiment(path), step=3))
    for path in (URL, finished_run)
  )
  assert ours == other
  page = tmp_path / 'report.html'
  assert write_report(URL, output=page) == page
  assert contents(gcs) == before
  assert str(write_report(URL)) == f'{URL}/report.html'
  assert contents(gcs)['bucket', 'runs/a/report.html'] == page.read_bytes()


def test_another_run_goes_on_from_it(
  run, gcs, small_experiment, finished_run, tmp_path
):
  before = contents(gcs)
  small_experiment.resume_from = f'{URL}@5'
  pretrain(small_experiment, tmp_path / 'run')
  assert_same_arrays(tmp_path / 'run', finished_run)
  assert contents(gcs) == before


def test_fine_tuning_there_is_that_of_a_disk(run, finished_run, tmp_path):
  rows = [(f'{word} array holds', word) for word in ('this', 'one')]
  task = classification(tmp_path, rows * 8, rows)
  url, folder = 'gs://bucket/runs/tuned', tmp_path / 'tuned'
  finetune(tuning(task, init_from=URL), url)
  finetune(tuning(task, init_from=str(finished_run)), folder)
  ours, theirs = results(url), results(folder)
  assert ours | {'init_from': ''} == theirs | {'init_from': ''}
  assert finetune(tuning(task, init_from=URL), url).state is None
  ours, theirs = (inference.load(path) for path in (url, folder))
  texts = [('this array holds',), ('an array',)]
  np.testing.assert_array_equal(ours.predict(texts), theirs.predict(texts))


def test_a_storage_that_does_not_answer_is_named(
  gcs, small_experiment, monkeypatch
):
  monkeypatch.setattr(buckets, 'PATIENCE_SECONDS', 2.0)
  gcs.failing = lambda request: 503
  with pytest.raises(TimeoutError) as error:
    pretrain(small_experiment, URL)
  assert error.value.filename == URL
  gcs.failing = lambda request: 403
  with pytest.raises(PermissionError, match='gcloud auth') as refused:
    pretrain(small_experiment, URL)
  assert refused.value.filename == URL
  words = ['report', f'--workdir={URL}']
  (line,) = said(ROOT, *words, status=2).splitlines()
  assert line.startswith(f'bert-jax report: {URL}/') and '403' in line


def test_a_run_whose_lock_is_taken_over_ends(
  gcs, small_experiment, monkeypatch
):
  monkeypatch.setattr(bucket_lock, 'RENEW_SECONDS', 0.02)
  taken = threading.Event()

  def failing(request):
    if 'checkpoints%2F5' in request and not taken.is_set():
      gcs.store('bucket', {'name': 'runs/a/lock'}, b'process 7 on other\nx\n')
      gcs.store('bucket', {'name': 'runs/a/goodput.json'}, b'theirs')
      taken.set()
      threading.Event().wait(0.2)
    return 0

  gcs.failing = failing
  with pytest.raises(InputError, match='process 7 on other has taken it over'):
    pretrain(small_experiment, URL)
  assert contents(gcs)['bucket', 'runs/a/lock'] == b'process 7 on other\nx\n'
  assert contents(gcs)['bucket', 'runs/a/goodput.json'] == b'theirs'
  assert 10 not in saved_steps(Workdir(URL).checkpoints)


@pytest.mark.parametrize('field', ['logging.tensorboard', 'profile_steps'])
def test_what_needs_a_disk_is_refused(gcs, small_experiment, field):
  if field == 'profile_steps':
    small_experiment.profile_steps = (1, 2)
  else:
    small_experiment.logging.tensorboard = True
  with pytest.raises(InputError, match=f'{field}=.*written to a disk alone'):
    pretrain(small_experiment, URL)
  assert not gcs.objects


def test_every_name_in_a_url_is_asked_for():
  for url in ('gs://', 'gs://bucket', 'gs://bucket/'):
    with pytest.raises(InputError, match='give a folder in a bucket'):
      Workdir(url)
