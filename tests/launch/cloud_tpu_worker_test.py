"""launch/cloud_tpu_worker.sh with a stand-in for Python: a run's life, alone
and as cloud_tpu.sh leads it on two workers.
"""

import pathlib
import time

import pytest
from launcher_machine import Machine

pytestmark = pytest.mark.hosts

# A run that says its arguments, and saves on SIGTERM.
PYTHON = """
trap 'echo saved; exit 75' TERM
echo "run $* port=${JAX_COORDINATOR_PORT:-none}"
case "$*" in
  *--hang*) while :; do sleep 0.02; done ;;
  *--code=*) last=${!#}; exit "${last#*=}" ;;
esac
"""


# A bucket with one run, which lists objects as gcloud does.
GCLOUD = """
[ "$*" = 'storage ls gs://bucket/run/checkpoints/*/commit_success.txt' ] \\
  || { echo 'ERROR: One or more URLs matched no objects.' >&2; exit 1; }
for step in 100 20; do
  echo "gs://bucket/run/checkpoints/$step/commit_success.txt"
done
"""


@pytest.fixture
def worker(tmp_path):
  machine = Machine(tmp_path)
  machine.add('python', PYTHON)
  machine.add('gcloud', GCLOUD)
  venv = tmp_path / 'venv'
  (venv / 'bin').mkdir(parents=True)
  (venv / 'bin' / 'python').symlink_to(machine.bin / 'python')
  folders = {
    'BERT_JAX_STATE': str(tmp_path / 'state'),
    'BERT_JAX_VENV': str(venv),
  }

  def call(*arguments, status=0):
    return machine.run(
      'cloud_tpu_worker.sh', *arguments, status=status, **folders
    )

  yield call
  call('stop')


def await_status(worker, wanted):
  deadline = time.monotonic() + 20
  while not (line := worker('status').rstrip()).endswith(wanted):
    assert time.monotonic() < deadline, line
    time.sleep(0.05)
  assert line.startswith('worker ')


def test_run_outlives_its_start_and_saves_when_it_is_stopped(worker):
  worker('start', '8476', '--workdir=a b', '--hang')
  await_status(worker, ' running')
  worker('stop')
  await_status(worker, ' ended 75')
  log = worker('log', '0')
  assert log.startswith('run -m bert_jax pretrain --workdir=a b --hang port=84')
  assert log.endswith('saved\n')
  assert worker('log', str(len(log) - 6)) == 'saved\n'


@pytest.mark.parametrize('code', ['0', '2', '137'])
def test_exit_status_of_the_run_is_told(worker, code):
  worker('start', '', f'--code={code}')
  await_status(worker, f' ended {code}')
  assert 'port=none' in worker('log', '0')


def test_second_start_ends_what_is_left_of_the_first(worker):
  worker('start', '', '--hang')
  worker('start', '', '--code=0')
  await_status(worker, ' ended 0')


def test_run_that_vanished_is_told_as_lost(worker):
  await_status(worker, ' ended lost')


def test_steps_are_the_checkpoints_of_a_workdir(worker, tmp_path):
  run: pathlib.Path = tmp_path / 'a run'
  assert worker('steps', str(run)) == ''
  for step in ('100', '20'):
    (run / 'checkpoints' / step).mkdir(parents=True)
  assert worker('steps', str(run)).split() == ['100', '20']


def test_steps_in_a_bucket_are_its_whole_checkpoints(worker):
  assert worker('steps', 'gs://bucket/run').split() == ['100', '20']
  assert worker('steps', 'gs://bucket/another') == ''


def test_unknown_verb_is_one_line(worker):
  (line,) = worker('halt', status=2).splitlines()
  assert "unknown verb 'halt'" in line


# Google with two workers, which are folders of this machine.
WORKERS = """
case "$*" in
  *'queued-resources create'*) : > "$PLAN/there" ;;
  *'queued-resources delete'*) rm -f "$PLAN/there" ;;
  *'queued-resources describe'*)
    [ -e "$PLAN/there" ] || { echo NOT_FOUND >&2; exit 1; }
    echo ACTIVE ;;
  *'tpu-vm scp'*)
    for worker in a b; do cp -r "$6" "$PLAN/$worker/${7#*:}" || exit 1; done ;;
  *'tpu-vm ssh'*)
    workers='a b'
    for word in "$@"; do
      case "$word" in
        --worker=0) workers=a ;;
        --command=*) command=${word#*=} ;;
      esac
    done
    status=0
    for worker in $workers; do
      cd "$PLAN/$worker" || exit 1
      HOME=$PWD bash -c "$command" || status=$?
    done
    exit $status ;;
esac
"""
# A run that is stopped once, with a checkpoint.
RUN = """#!/bin/bash
printf 'argument <%s>\\n' "$@"
if [ ! -e "$HOME/stopped" ]; then
  : > "$HOME/stopped"
  mkdir -p "$WORKDIR/checkpoints/10"
  exit 75
fi
"""


def test_commands_of_the_launcher_do_on_workers_what_is_meant(tmp_path):
  google = Machine(tmp_path)
  google.add('gcloud', WORKERS)
  (google.root / 'launch' / 'setup_environment.sh').write_text(
    '#!/bin/bash\necho "$@" > "$HOME/installed"\n'
  )
  (google.root / 'launch' / 'setup_environment.sh').chmod(0o755)
  data = google.folder / 'my corpus'
  data.mkdir()
  (data / 'rows').write_text('rows')
  for name in 'ab':
    python = google.plan / name / 'bert_jax_venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(RUN)
    python.chmod(0o755)
  workdir = google.folder / 'a run'
  output = google.run(
    'cloud_tpu.sh',
    'up',
    '--name=one',
    '--project=ours',
    '--zone=there',
    '--accelerator_type=v5litepod-16',
    '--runtime_version=v2',
    '--max_hours=1',
    '--poll_seconds=0',
    f'--workdir={workdir}',
    f'--data={data}',
    '--setup=echo "$PWD" > mounted',
    '--',
    '--config=FILE',
    "--config.name=it's a & b",
    WORKDIR=str(workdir),
  )
  assert 'stopped; restart 1 since checkpoint 10' in output
  assert output.count("argument <--config.name=it's a & b>") == 2
  assert output.count(f'argument <--workdir={workdir}>') == 2
  assert 'argument <--config.data.path=../bert_jax_data>' in output
  for name in 'ab':
    home = google.plan / name
    assert (home / 'bert_jax_data' / 'rows').read_text() == 'rows'
    assert (home / 'bert_jax_state' / 'code').read_text() == '0\n'
    assert (home / 'mounted').read_text() == f'{home}\n'
    assert '--extra=tpu,gcs' in (home / 'installed').read_text()
  assert not (google.plan / 'there').exists()
