"""URLs where a path on this machine is needed: refused before any work.

pathlib takes gs://bucket/run for a folder `gs:` below the current one. A
workdir alone may lie at gs://.
"""

import importlib.util

import pytest
from other_process import ROOT, said

from bert_jax import durable_files
from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.tokenizers.folder import train_folder
from bert_jax.errors import InputError
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.inspect import read_experiment
from bert_jax.jobs.pretrain import pretrain
from bert_jax.local_paths import local_path
from bert_jax.pretrained import open_pretrained
from bert_jax.report.page import write_report

URLS = ['s3://bucket/run', 'hdfs://host/run', 'gs:/b/run']


@pytest.fixture(autouse=True)
def nothing_is_made(tmp_path, monkeypatch):
  """In an empty folder, where a local `gs:` would be seen."""
  folder = tmp_path / 'here'
  folder.mkdir()
  monkeypatch.chdir(folder)
  yield
  assert not list(folder.iterdir())


def new_folder(path):
  with durable_files.new_folder(path):
    pass


def prepare_rows(path):
  prepare(
    None,
    None,
    row_lengths=(32,),
    eval_fraction=0.1,
    output=path,
    num_workers=1,
    progress=False,
  )


def train_tokenizer(path):
  train_folder(
    None, kind='wordpiece', vocab_size=9, lowercase=True, output=path
  )


OUTPUTS = [
  new_folder,
  lambda url: write_report('run', output=url),
  prepare_rows,
  train_tokenizer,
]
WORKDIRS = [open_pretrained, read_experiment, write_report]


@pytest.mark.parametrize('url', ['gs://bucket/run'])
@pytest.mark.parametrize('use', OUTPUTS)
def test_an_output_lies_on_a_disk(use, url):
  test_every_use_of_a_path_refuses_it(use, url)


@pytest.mark.parametrize('use', WORKDIRS)
def test_a_workdir_in_a_bucket_that_is_not_there_is_named(gcs, use):
  with pytest.raises(InputError, match='gs://bucket/run is not a workdir'):
    use('gs://bucket/run')
  assert all(request.startswith('GET ') for request in gcs.requests)


@pytest.mark.parametrize('url', URLS)
@pytest.mark.parametrize('use', [*OUTPUTS, *WORKDIRS])
def test_every_use_of_a_path_refuses_it(use, url):
  with pytest.raises(InputError, match='remote storage is not supported') as e:
    use(url)
  assert url in str(e.value)


@pytest.mark.parametrize('url', URLS)
def test_a_workdir_is_refused_before_its_data_is_looked_for(
  small_experiment, url
):
  small_experiment.data.path = '/nowhere'
  with pytest.raises(InputError, match=f'--workdir={url}: remote storage'):
    pretrain(small_experiment, url)


@pytest.mark.parametrize('name', ['init_from', 'resume_from'])
def test_so_is_what_a_run_starts_from(small_experiment, tmp_path, name):
  setattr(small_experiment, name, 's3://bucket/run@3')
  with pytest.raises(InputError, match=f'{name}=s3://bucket/run@3: remote'):
    pretrain(small_experiment, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_fine_tuning_refuses_both(tmp_path):
  from bert_jax.experiment import FinetuneExperiment
  from bert_jax.tasks.classification import ClassificationConfig

  task = ClassificationConfig(train_path='/nowhere', eval_path='/nowhere')
  experiment = FinetuneExperiment(
    task=task, num_epochs=1, batch_size=8, init_from='s3://bucket/run'
  )
  with pytest.raises(InputError, match='init_from=s3://bucket/run: remote'):
    finetune(experiment, tmp_path / 'run')
  experiment.init_from = str(tmp_path)
  with pytest.raises(InputError, match='--workdir=s3://bucket/run: remote'):
    finetune(experiment, 's3://bucket/run')


@pytest.mark.parametrize(
  'arguments',
  [
    ['predict', '--workdir=/nowhere', '--input=a.jsonl', '--output=gs://b/p'],
    ['convert', '--input=/nowhere', '--output=gs://b/p'],
    ['evaluate', '--workdir=s3://b/p', '--input=a.jsonl'],
  ],
)
def test_verbs_say_so_in_one_line(arguments):
  (line,) = said(ROOT, *arguments, status=2).splitlines()
  assert '//b/p: remote storage is not supported here yet' in line


def test_a_missing_package_is_named_before_any_work(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError) as error:
    open_pretrained('gs://bucket/run')
  assert str(error.value) == (
    "path=gs://bucket/run needs the package gcsfs: pip install 'bert_jax[gcs]'"
  )


def test_paths_of_this_machine_are_taken(tmp_path):
  for name in ('runs/a', './gs:/a', 'a:b', 'x=1://', '~nobody-here/a'):
    assert local_path(name).is_absolute()
  with pytest.raises(InputError, match='leave file:// out'):
    local_path('file:///tmp/run')
