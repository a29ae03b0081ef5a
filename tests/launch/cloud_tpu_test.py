"""launch/cloud_tpu.sh with a stand-in for gcloud: ends, failures, deletion."""

import signal
import subprocess
import time

import pytest
from launcher_machine import Machine

pytestmark = pytest.mark.hosts

# Google, as far as the launcher sees it: a resource is there from its creation
# to its deletion, and what it says is planned by the test.
GCLOUD = """
case "$*" in
  *'queued-resources create'*)
    next_line create && : > "$PLAN/there" ;;
  *'queued-resources delete'*)
    next_line delete && rm -f "$PLAN/there" ;;
  *'queued-resources describe'*)
    if [ -e "$PLAN/there" ]; then next_line state
    else echo 'ERROR: NOT_FOUND: Resource was not found' >&2; exit 1; fi ;;
  *'queued-resources list'*) next_line list ;;
  *'tpu-vm scp'*) next_line scp ;;
  *'tpu-vm ssh'*'worker.sh status'*) next_line status ;;
  *'tpu-vm ssh'*'worker.sh log'*) next_line log ;;
  *'tpu-vm ssh'*'worker.sh start'*) next_line start ;;
  *'tpu-vm ssh'*'worker.sh stop'*) next_line stop ;;
  *'tpu-vm ssh'*'worker.sh steps'*) next_line steps ;;
  *'tpu-vm ssh'*) next_line ssh ;;
esac
"""
FLAGS = (
  '--name=one',
  '--project=ours',
  '--zone=europe-west4-b',
  '--accelerator_type=v5litepod-16',
  '--runtime_version=v2-alpha-tpuv5-lite',
  '--workdir=/mnt/share/run',
  '--spot',
  '--max_hours=1',
  '--poll_seconds=0',
)
CONFIG = ('--', '--config=experiments/pretrain/bert_base.py')
RUNNING = 'worker a running\\nworker b running'
COMPLETE = 'worker a ended 0\\nworker b ended 0'
STOPPED = 'worker a ended 75\\nworker b ended 75'
CRASHED = 'worker a ended 137\\nworker b ended 1'
WORDS = {
  'queued-resources create': 'create',
  'queued-resources delete': 'delete',
  'queued-resources list': 'list',
  'tpu-vm scp': 'scp',
  'worker.sh install': 'install',
  'worker.sh start': 'start',
  'worker.sh stop': 'stop',
}


@pytest.fixture
def google(tmp_path):
  machine = Machine(tmp_path)
  machine.add('gcloud', GCLOUD)
  machine.let(state='ACTIVE', status=COMPLETE)
  return machine


def up(google, *flags, status=0):
  return google.run(
    'cloud_tpu.sh', 'up', *FLAGS, *flags, *CONFIG, status=status
  )


def actions(google):
  """The commands that change something, each as one word."""
  return [
    word
    for command in google.commands()
    for part, word in WORDS.items()
    if part in command
  ]


BEGIN = ['scp', 'install', 'start']
WHOLE = ['create', *BEGIN, 'delete']


def test_complete_run_is_not_restarted_and_its_slice_is_deleted(google):
  google.let(
    state=['WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'],
    status=[RUNNING, RUNNING, COMPLETE],
    log=['step 1', 'step 2', 'done'],
  )
  output = up(google, '--data=gs://bucket/corpus')
  assert actions(google) == WHOLE
  assert 'cloud_tpu.sh: complete: /mnt/share/run' in output
  assert 'step 1\n' in output and 'done\n' in output
  (create,) = [c for c in google.commands() if 'resources create' in c]
  for flag in (
    'create bert-jax-one --node-id=bert-jax-one',
    '--accelerator-type=v5litepod-16',
    '--runtime-version=v2-alpha-tpuv5-lite',
    '--spot',
    '--project=ours --zone=europe-west4-b --quiet',
  ):
    assert flag in create
  (start,) = [c for c in google.commands() if 'worker.sh start' in c]
  assert "start '' --config=experiments/pretrain/bert_base.py" in start
  assert '--workdir=/mnt/share/run --preempted_exit_code=75' in start
  assert '--config.data.path=gs://bucket/corpus' in start
  # The log is read on from where it ended.
  logs = [c for c in google.commands() if 'worker.sh log' in c]
  assert [c.split('log ')[1].split()[0] for c in logs] == ['0', '7', '14']


def test_stopped_run_is_started_again_on_the_slice_that_is_still_there(google):
  google.let(status=[RUNNING, STOPPED, RUNNING, COMPLETE])
  output = up(google)
  assert actions(google) == ['create', *BEGIN, 'start', 'delete']
  assert 'stopped; restart 1 since checkpoint' in output


def test_bad_input_ends_without_a_restart(google):
  google.let(
    status='worker a ended 2\\nworker b running',
    log="pretrain: error: --config.data.path='x' is no corpus",
  )
  output = up(google, status=2)
  assert actions(google) == WHOLE
  assert 'is no corpus' in output
  assert 'bad input, which the log above names' in output


def test_preempted_slice_is_made_anew_and_the_run_resumes(google):
  google.let(
    state=['ACTIVE', 'ACTIVE', 'SUSPENDING', 'ACTIVE'],
    status=[RUNNING, COMPLETE],
    steps=['', '100'],
  )
  output = up(google)
  assert actions(google) == WHOLE + WHOLE
  assert 'restart 1 since checkpoint 100' in output


def test_slice_that_refuses_ssh_three_times_is_made_anew(google):
  refused = 'fail Node is PREEMPTED'
  google.let(status=[RUNNING, refused, refused, refused, RUNNING, COMPLETE])
  up(google)
  assert actions(google) == WHOLE + WHOLE


def test_network_of_this_machine_may_fail_for_any_time(google):
  lost = 'fail connection reset'
  google.let(state=['ACTIVE', *[lost] * 9, 'ACTIVE'])
  up(google)
  assert actions(google) == WHOLE


def test_three_restarts_without_a_checkpoint_are_the_last(google):
  google.let(status=CRASHED, steps='7')
  output = up(google, status=1)
  assert actions(google) == ['create', *BEGIN, *['start'] * 3, 'delete']
  assert 'three restarts without a new checkpoint' in output
  assert 'crashed (1 137)' in output


def test_restarts_are_counted_anew_from_a_checkpoint_on(google):
  google.let(
    status=[CRASHED] * 6 + [COMPLETE],
    steps=['', *(str(10 * n) for n in range(1, 14))],
  )
  up(google)
  assert actions(google).count('start') == 7


def test_worker_that_hangs_after_another_ended_does_not_hold_the_run(google):
  google.let(status=['worker a ended 1\\nworker b running', COMPLETE])
  output = up(google, '--end_seconds=0')
  assert actions(google).count('start') == 2
  assert 'crashed (1, rest hangs)' in output


def test_quota_is_one_line_and_nothing_is_left(google):
  google.let(create="fail Quota 'TPUV5sLitepod' exhausted. Limit 16")
  output = up(google, status=1)
  assert actions(google) == ['create', 'delete']
  assert "your quota does not allow it: ERROR: Quota 'TPUV5sLitepod'" in output


def test_quota_that_shows_only_later_ends_the_run_too(google):
  google.let(state="FAILED\\tQuota limit 'TPUS' has been exceeded")
  output = up(google, status=1)
  assert actions(google) == ['create', 'delete']
  assert 'your quota does not allow it' in output


def test_resource_that_is_not_seen_at_once_is_waited_for(google):
  google.let(
    state=['fail NOT_FOUND: not yet', 'ACTIVE'],
    create=['', 'fail ALREADY_EXISTS: Resource already exists'],
  )
  up(google)
  assert actions(google) == ['create', *WHOLE]


def test_failed_request_is_deleted_and_made_again(google):
  google.let(
    state=['FAILED\\tThere is no more capacity in the zone "b"', 'ACTIVE']
  )
  output = up(google)
  assert actions(google) == ['create', 'delete', *WHOLE]
  assert 'FAILED: There is no more capacity in the zone' in output


def test_request_that_stays_in_the_queue_is_given_up(google):
  google.let(state='WAITING_FOR_RESOURCES')
  output = up(google, '--max_wait_hours=0', status=1)
  assert actions(google) == ['create', 'delete']
  assert 'no slice within 0 hours (state: WAITING_FOR_RESOURCES)' in output


def test_worker_that_refuses_ssh_at_first_is_tried_again(google):
  google.let(scp=['fail ssh: connect to host: Connection refused', ''])
  up(google)
  assert actions(google) == ['create', 'scp', *BEGIN, 'delete']


def test_worker_that_refuses_ssh_for_ever_costs_the_slice(google):
  google.let(ssh='fail [255] ssh refused on worker 3')
  output = up(google, status=1)
  assert actions(google).count('create') == 4
  assert actions(google).count('delete') == 4
  assert 'three restarts without a new checkpoint' in output
  assert '[255] ssh refused on worker 3' in output


def test_delete_that_fails_once_is_tried_again(google):
  google.let(delete=['fail cannot be deleted while PROVISIONING', ''])
  output = up(google)
  assert actions(google) == [*WHOLE, 'delete']
  assert 'bert-jax-one is deleted' in output


def test_delete_that_always_fails_is_loud(google):
  google.let(delete='fail permission denied')
  output = up(google, status=1)
  last = output.splitlines()[-1]
  assert 'bert-jax-one IS STILL THERE AND MAY COST MONEY' in last
  assert 'gcloud compute tpus queued-resources delete bert-jax-one' in last


def test_max_hours_stops_the_run_and_deletes_the_slice(google):
  (google.plan / 'there').touch()
  google.let(status=[*[RUNNING] * 3, STOPPED])
  output = up(google, '--max_hours=0', status=75)
  assert actions(google) == ['stop', 'delete']
  # It waits for the end of the run before it deletes.
  assert sum('worker.sh status' in c for c in google.commands()) == 4
  assert '--max_hours=0 are over; the same command goes on' in output


def test_max_hours_holds_for_the_queue_too(google):
  google.let(state='WAITING_FOR_RESOURCES')
  up(google, '--max_hours=0', '--max_wait_hours=1', status=75)
  assert 'start' not in actions(google)
  assert not (google.plan / 'there').exists()


@pytest.mark.parametrize(
  'number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_stops_the_run_and_deletes_the_slice(google, number, status):
  google.let(status=RUNNING)
  process = subprocess.Popen(
    [google.root / 'launch' / 'cloud_tpu.sh', 'up', *FLAGS, *CONFIG],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=google.environment(),
  )
  deadline = time.monotonic() + 20
  while not any('worker.sh status' in c for c in google.commands()):
    assert time.monotonic() < deadline, 'the run did not start'
    time.sleep(0.02)
  google.let(status=STOPPED)
  process.send_signal(number)
  output, _ = process.communicate(timeout=20)
  assert process.returncode == status, output
  # The run may have been seen to end, and been started again, before the stop.
  assert actions(google)[-1] == 'delete'
  assert 'stopped; the same command goes on' in output


def test_second_up_takes_over_the_slice_and_its_run(google):
  (google.plan / 'there').touch()
  google.let(status=[RUNNING, RUNNING, COMPLETE])
  output = up(google)
  assert actions(google) == ['delete']
  assert 'bert-jax-one is there already; going on with it' in output


def test_gcloud_that_is_not_set_up_is_one_line(google):
  (google.plan / 'there').touch()
  google.let(state='fail You do not currently have an active account selected')
  output = up(google, status=1)
  assert actions(google) == []
  assert 'gcloud fails: ERROR: You do not currently have an active' in output


def test_several_slices_are_one_resource_and_start_with_a_port(google):
  up(google, '--num_slices=2', f'--data={google.folder}')
  commands = google.commands()
  (create,) = [c for c in commands if 'resources create' in c]
  assert '--node-count=2 --node-prefix=bert-jax-one' in create
  starts = sorted(c for c in commands if 'worker.sh start' in c)
  assert [c.split()[5] for c in starts] == ['bert-jax-one-0', 'bert-jax-one-1']
  assert all(' start 8476 --config=' in c for c in starts)
  assert all('--config.data.path=../bert_jax_data' in c for c in starts)
  assert any(
    f'scp --recurse {google.folder} bert-jax-one-1:bert_jax_data' in c
    for c in commands
  )


def test_workdir_on_a_network_disk_is_mounted_and_read_on_a_worker(google):
  google.let(
    state=['ACTIVE', 'ACTIVE', 'SUSPENDED', 'ACTIVE'],
    status=[RUNNING, COMPLETE],
    steps='100\\n20',
  )
  mount = '--setup=sudo mount 10.0.0.2:/share /mnt/share'
  output = up(google, '--workdir=/mnt/share/run', mount)
  commands = google.commands()
  setups = [i for i, c in enumerate(commands) if 'sudo mount' in c]
  installs = [i for i, c in enumerate(commands) if 'worker.sh install' in c]
  assert [i + 1 for i in setups] == installs and len(installs) == 2
  assert 'restart 1 since checkpoint 100' in output
  assert any('worker.sh steps /mnt/share/run' in c for c in commands)


def test_down_deletes_every_slice_of_ours_in_the_zone(google):
  google.let(list='bert-jax-one\\nsomebody-elses\\nbert-jax-two')
  where = FLAGS[1:3]
  google.run('cloud_tpu.sh', 'down', *where, '--poll_seconds=0')
  deleted = [c for c in google.commands() if 'resources delete' in c]
  assert [c.split()[5] for c in deleted] == ['bert-jax-one', 'bert-jax-two']
  assert all('--force' in c and '--quiet' in c for c in deleted)


def test_down_of_one_name_deletes_it_alone_and_says_if_it_cannot(google):
  (google.plan / 'there').touch()
  google.let(delete='fail no')
  output = google.run(
    'cloud_tpu.sh', 'down', *FLAGS[:3], '--poll_seconds=0', status=1
  )
  assert set(actions(google)) == {'delete'}
  assert 'IS STILL THERE' in output


def test_tail_follows_the_first_worker(google):
  google.run('cloud_tpu.sh', 'tail', *FLAGS[:3])
  (command,) = google.commands()
  assert 'ssh bert-jax-one --worker=0' in command
  assert 'cloud_tpu_worker.sh follow' in command


def test_dry_run_prints_every_command_and_runs_none(google):
  up(google)
  really = [c.split(' --')[0] for c in google.commands()]
  (google.plan / 'commands').unlink()
  printed = up(google, '--dry_run')
  assert google.commands() == []
  printed = [
    line.removeprefix('+ ').split(' --')[0]
    for line in printed.splitlines()
    if line.startswith('+ gcloud')
  ]
  assert printed == really
  google.run('cloud_tpu.sh', 'down', *FLAGS[:3], '--dry_run')
  assert google.commands() == []


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--workdir=run'], '--workdir=run: a slice that is pre-empted takes its'),
    (['--workdir=gs://b'], '--workdir=gs://b: a slice that is pre-empted'),
    (['--max_hours=many'], '--max_hours=many: give hours'),
    (['--zone='], '--zone=... is missing'),
    (['--name=One'], '--name=One: give small letters'),
    (['--data=nowhere'], '--data=nowhere is no folder here'),
    (['--num_slices=0'], '--num_slices=0: give a number from 1'),
    (['--config=x'], 'unknown argument --config=x; flags of pretrain come'),
  ],
)
def test_bad_flag_is_one_line_before_anything_runs(google, flags, message):
  (line,) = up(google, *flags, status=2).splitlines()
  assert message in line
  assert google.commands() == []
