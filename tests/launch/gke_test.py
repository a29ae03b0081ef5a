"""launch/gke.sh and gke.yaml: manifests, their three ends, and kubectl's calls.

How a run ends on a cluster is decided by Kubernetes and JobSet, which are not
here: `outcome` reads their rules as their documentation states them.
"""

import copy
import json
import re

import jsonschema
import pytest
import yaml
from launcher_machine import ROOT, Machine

pytestmark = pytest.mark.hosts

SCHEMAS = json.loads((ROOT / 'tests/launch/gke_schema.json').read_text())
COMMON = (
  '--name=one',
  '--image=europe-docker.pkg.dev/ours/bert-jax:1',
  '--workdir=/nfs/run',
  '--nfs=10.0.0.2:/share',
  '--max_hours=24',
  '--hosts=4',
)
TPU = (*COMMON, '--tpu', '--accelerator=tpu-v5-lite-podslice', '--chips=4')
TPU = (*TPU, '--topology=4x4', '--num_slices=2')
GPU = (*COMMON, '--gpu', '--accelerator=nvidia-h100-80gb', '--chips=8')
CONFIG = ('--', '--config=FILE', '--config.name="a" \\ b & c')


@pytest.fixture
def cluster(tmp_path):
  machine = Machine(tmp_path)
  # What is piped to kubectl is kept, as far as its selector lets it through.
  machine.add(
    'kubectl',
    """
if [ "$1" = apply ]; then cat > "$PLAN/applied"; next_line apply; fi
""",
  )
  return machine


def rendered(cluster, flags):
  """The documents that kubectl was given, by kind, and of one accelerator."""
  cluster.run('gke.sh', 'up', *flags, *CONFIG)
  text = (cluster.plan / 'applied').read_text()
  assert '${' not in text.partition('\n---\n')[2]
  (apply,) = cluster.commands()
  (chosen,) = re.findall(r'accelerator in \((.+)\)', apply)
  return {
    document['kind']: document
    for document in yaml.safe_load_all(text)
    if document and document['metadata']['labels']['accelerator'] in chosen
  }


@pytest.fixture(params=[TPU, GPU], ids=['tpu', 'gpu'])
def documents(request, cluster):
  return rendered(cluster, request.param)


def job_of(job_set):
  (replicated,) = job_set['spec']['replicatedJobs']
  return replicated['template']['spec']


def test_manifests_are_what_the_published_schemas_allow(documents):
  assert sorted(documents) == [
    'JobSet',
    'Role',
    'RoleBinding',
    'ServiceAccount',
  ]
  for kind, document in documents.items():
    jsonschema.validate(document, SCHEMAS[kind])


def test_a_slip_in_a_manifest_is_noticed(documents):
  def refused(change):
    job_set = copy.deepcopy(documents['JobSet'])
    change(job_set)
    with pytest.raises(jsonschema.ValidationError):
      jsonschema.validate(job_set, SCHEMAS['JobSet'])

  refused(lambda j: j['spec'].update(failurePolicies={}))
  refused(lambda j: j['spec']['failurePolicy'].update(maxRestarts='3'))
  refused(lambda j: j['spec']['failurePolicy']['rules'][0].update(action='Go'))
  refused(lambda j: job_of(j).update(backOffLimit=0))
  refused(lambda j: job_of(j)['podFailurePolicy']['rules'][0].pop('action'))


def outcome(job_set, code=None, condition=None, deadline=False):
  """The action of a JobSet whose pod ended so."""
  job = job_of(job_set)
  (container,) = job['template']['spec']['containers']
  reason, message = 'BackoffLimitExceeded', 'Job has reached the specified ...'
  # Exit codes of pods restarted in place would not be looked at.
  assert job['template']['spec']['restartPolicy'] == 'Never'
  assert job['backoffLimit'] == 0
  for index, rule in enumerate(job['podFailurePolicy']['rules']):
    exits = rule.get('onExitCodes')
    if exits and code in exits['values']:
      assert (exits['operator'], exits['containerName']) == (
        'In',
        container['name'],
      )
      what = f'Container bert-jax for pod a/b failed with exit code {code}'
    elif condition in [c['type'] for c in rule.get('onPodConditions', [])]:
      what = f'Pod a/b has condition {condition}'
    else:
      continue
    reason = 'PodFailurePolicy'
    message = f'{what} matching {rule["action"]} rule at index {index}'
    break
  if deadline:
    reason, message = 'DeadlineExceeded', 'Job was active longer than ...'
  for rule in job_set['spec']['failurePolicy']['rules']:
    patterns = rule.get('onJobFailureMessagePatterns', [''])
    if reason in rule['onJobFailureReasons'] and any(
      re.search(pattern, message) for pattern in patterns
    ):
      return rule['action']
  return 'RestartJobSet'


def test_stopped_run_restarts_however_often(documents):
  restart = 'RestartJobSetAndIgnoreMaxRestarts'
  assert outcome(documents['JobSet'], code=75) == restart
  # A node that was pre-empted took the pod along before it could save.
  drained = outcome(documents['JobSet'], code=137, condition='DisruptionTarget')
  assert drained == restart


def test_bad_input_fails_without_a_restart(documents):
  assert outcome(documents['JobSet'], code=2) == 'FailJobSet'


@pytest.mark.parametrize('code', [1, 134, 137, 139, 255])
def test_crash_restarts_three_times(documents, code):
  assert outcome(documents['JobSet'], code=code) == 'RestartJobSet'
  assert documents['JobSet']['spec']['failurePolicy']['maxRestarts'] == 3


def test_max_hours_end_the_run_for_good(documents):
  assert job_of(documents['JobSet'])['activeDeadlineSeconds'] == 24 * 3600
  assert outcome(documents['JobSet'], deadline=True) == 'FailJobSet'


def test_complete_run_succeeds_and_its_objects_are_deleted(documents):
  # Without a successPolicy a JobSet succeeds when all of its Jobs have.
  assert 'successPolicy' not in documents['JobSet']['spec']
  assert documents['JobSet']['spec']['ttlSecondsAfterFinished'] == 24 * 3600


def test_pods_are_the_processes_that_jax_counts(documents):
  job = job_of(documents['JobSet'])
  assert job['completionMode'] == 'Indexed'
  assert job['parallelism'] == job['completions'] == 4
  pod = job['template']['spec']
  assert pod['serviceAccountName'] == 'one'
  (container,) = pod['containers']
  assert container['image'] == 'europe-docker.pkg.dev/ours/bert-jax:1'
  assert container['args'] == [
    'pretrain',
    '--config=FILE',
    CONFIG[-1],
    '--workdir=/nfs/run',
    '--preempted_exit_code=75',
  ]


def test_workdir_is_on_nfs(cluster):
  pod = job_of(rendered(cluster, GPU)['JobSet'])['template']['spec']
  mounts = {
    m['name']: m['mountPath'] for m in pod['containers'][0]['volumeMounts']
  }
  assert mounts == {'shm': '/dev/shm', 'nfs': '/nfs'}
  assert pod['volumes'][1] == {
    'name': 'nfs',
    'nfs': {'server': '10.0.0.2', 'path': '/share'},
  }


@pytest.mark.parametrize('flags', [TPU, GPU])
def test_workdir_in_a_bucket_takes_no_share(cluster, flags):
  flags = [flag for flag in flags if not flag.startswith('--nfs=')]
  flags.append('--workdir=gs://bucket/run')
  pod = job_of(rendered(cluster, flags)['JobSet'])['template']['spec']
  (container,) = pod['containers']
  assert '--workdir=gs://bucket/run' in container['args']
  names = [mount['name'] for mount in container['volumeMounts']]
  assert names == [volume['name'] for volume in pod['volumes']]
  assert names == (['shm'] if '--gpu' in flags else [])


def test_slices_and_hosts_lie_where_their_flags_say(cluster):
  (tpu,) = [rendered(cluster, TPU)['JobSet']]
  (replicated,) = tpu['spec']['replicatedJobs']
  assert replicated['replicas'] == 2
  pod = job_of(tpu)['template']['spec']
  assert pod['nodeSelector'] == {
    'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
    'cloud.google.com/gke-tpu-topology': '4x4',
  }
  assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': 4}
  (cluster.plan / 'commands').unlink()
  gpu = rendered(cluster, GPU)['JobSet']
  pod = job_of(gpu)['template']['spec']
  assert pod['containers'][0]['resources']['limits'] == {'nvidia.com/gpu': 8}
  assert tpu['spec']['failurePolicy'] == gpu['spec']['failurePolicy']
  assert job_of(tpu)['podFailurePolicy'] == job_of(gpu)['podFailurePolicy']


def test_refused_manifest_is_an_error_that_says_how_to_clean_up(cluster):
  cluster.let(apply='fail exceeded quota')
  output = cluster.run('gke.sh', 'up', *GPU, *CONFIG, status=1)
  assert 'ERROR: exceeded quota' in output
  assert 'launch/gke.sh down --name=one' in output


def test_down_lists_and_deletes_what_was_made(cluster):
  cluster.run('gke.sh', 'down', '--name=one', '--namespace=lab')
  get, delete = cluster.commands()
  what = (
    'jobset,rolebinding,role,serviceaccount --namespace=lab'
    ' --selector=app=bert-jax --field-selector=metadata.name=one'
  )
  assert get == f'kubectl get {what}'
  assert delete == f'kubectl delete {what}'


def test_tail_follows_all_pods(cluster):
  cluster.run('gke.sh', 'tail', '--name=one')
  (logs,) = cluster.commands()
  assert logs.startswith('kubectl logs --namespace=default --selector=run=one')


def test_dry_run_prints_manifests_and_commands_and_runs_none(cluster):
  output = cluster.run('gke.sh', 'up', *TPU, '--dry_run', *CONFIG)
  manifests, _, commands = output.partition('\n+ ')
  assert len([d for d in yaml.safe_load_all(manifests) if d]) == 5
  assert commands.startswith('kubectl apply --filename=- ')
  output = cluster.run('gke.sh', 'down', '--dry_run')
  assert [line.split()[2] for line in output.splitlines()] == ['get', 'delete']
  assert cluster.commands() == []


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--workdir=run'], '--workdir=run: pods keep nothing'),
    (['--max_hours=x'], '--max_hours=x: give hours'),
    (['--nfs='], '--nfs=... is missing'),
    (['--workdir=gs://b'], '--workdir=gs://b: pods keep nothing; give gs://'),
    (['--nfs=/share'], '--nfs=/share: give SERVER:/SHARE'),
    (['--hosts=0'], '--hosts=0: give a number from 1'),
    (['--image='], '--image=... is missing'),
    (['--name=A'], '--name=A: give small letters'),
    (['--spot'], 'unknown argument --spot; flags of pretrain come after'),
  ],
)
def test_bad_flag_is_one_line_before_anything_runs(cluster, flags, message):
  (line,) = cluster.run(
    'gke.sh', 'up', *GPU, *flags, *CONFIG, status=2
  ).splitlines()
  assert message in line
  assert cluster.commands() == []


def test_image_is_built_from_files_that_are_there_and_not_ignored():
  folder = ROOT / 'launch'
  ignored = (folder / 'Dockerfile.dockerignore').read_text().splitlines()
  copied = [
    name
    for line in (folder / 'Dockerfile').read_text().splitlines()
    if line.startswith('COPY ')
    for name in line.split()[1:-1]
  ]
  assert {'setup.py', 'bert_jax'} <= set(copied)
  for name in copied:
    assert (ROOT / name).exists(), name
    assert f'!{name}' in ignored, name
