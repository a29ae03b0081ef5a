"""The workdir: config.json in and out, permitted changes, and the lock."""

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap

import hypothesis
import pytest
from hypothesis import strategies as st

from bert_jax.config import codec
from bert_jax.config.codec import check_unchanged, decode, differences, encode
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment, PretrainExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.workdir import Workdir


def experiment(**overrides) -> PretrainExperiment:
  fields = dict(
    model=bert_tiny(),
    num_steps=10,
    batch_size=4,
    compute_dtype='float32',
    profile_steps=(1, 2),
  )
  return PretrainExperiment(**(fields | overrides))


def through_json(value):
  return decode(json.loads(json.dumps(encode(value))), where='config.json')


@pytest.mark.parametrize(
  'config',
  [experiment(), FinetuneExperiment(num_epochs=2, batch_size=4)],
  ids=['pretrain', 'finetune'],
)
def test_a_config_survives_json(config):
  assert through_json(config) == config


@pytest.mark.parametrize(
  'name',
  [
    'os.system',
    'subprocess.Popen',
    # Some names in the package are no config, others are imported from outside.
    'bert_jax.workdir.Workdir',
    'bert_jax.workdir.shutil.Error',
    'bert_jax.durable_files.BinaryIO',
    'bert_jax.__main__.main',
    'bert_jax..workdir.Workdir',
    'bert_jax.',
    'bert_jax_evil.Config',
    'bert_jax.workdir.Workdir.lock',
    'bert_jax.workdir.__class__',
    'bert_jax./tmp/evil.Config',
    'bert_jax.\0.Config',
    'bert_jax.' + 'a.' * 5000 + 'Config',
    # Importing a verb would define its flags.
    'bert_jax.cli.predict.Config',
    'bert_jax.cli.config_file.Field',
    '..os.system',
    'x',
    '',
    None,
    7,
    ['os', 'system'],
    {'_type': {'_type': 'os.system'}},
  ],
  ids=lambda name: str(name)[:40],
)
def test_only_config_classes_of_the_package_are_made(name):
  before = set(sys.modules)
  with pytest.raises(InputError, match='refused') as error:
    decode({'_type': name, 'a': 1}, where='config.json')
  assert len(str(error.value)) < 200
  new = set(sys.modules) - before
  assert not any(module.startswith('bert_jax.cli') for module in new)


def test_a_config_does_not_run_what_lies_beside_it(tmp_path, monkeypatch):
  (tmp_path / 'evil.py').write_text('raise SystemExit')
  (tmp_path / 'bert_jax').mkdir()
  (tmp_path / 'bert_jax' / 'evil.py').write_text('raise SystemExit')
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  for name in ('evil.Config', 'bert_jax.evil.Config', 'bert_jax..evil.Config'):
    with pytest.raises(InputError, match='refused'):
      decode({'_type': name}, where='config.json')


def test_a_dataclass_from_elsewhere_is_none_of_ours(monkeypatch):
  """A dataclass that a module of the package only imported is refused."""

  @dataclasses.dataclass
  class Imported:
    a: int

  monkeypatch.setattr(codec, 'Imported', Imported, raising=False)
  with pytest.raises(InputError, match='refused'):
    decode(
      {'_type': 'bert_jax.config.codec.Imported', 'a': 1}, where='config.json'
    )


@pytest.mark.parametrize(
  'value', ['two', 2.5, True, None, [2], {'_type': 'os.system'}], ids=str
)
def test_a_value_of_another_type_is_named(value):
  encoded = encode(experiment())
  encoded['model']['num_layers'] = value
  with pytest.raises(InputError, match='num_layers|refused'):
    decode(encoded, where='config.json')


@pytest.mark.parametrize(
  'field, value',
  [
    ('model', 3),
    ('model', None),
    ('model', encode(experiment().data)),
    ('optimizer', 'fast'),
    ('data', [encode(experiment().data)]),
    ('profile_steps', 3),
    ('profile_steps', '12'),
    ('profile_steps', [1, 'two']),
    ('profile_steps', [1, True]),
    ('objective', {'_type': 'bert_jax.train.loop.Run', 'label': 1}),
  ],
)
def test_a_part_of_another_type_is_named(field, value):
  encoded = encode(experiment()) | {field: value}
  with pytest.raises(InputError, match=f'\\.{field} is|has to have a field'):
    decode(encoded, where='config.json')


JUNK = st.sampled_from(
  [
    *(None, True, -1, 10**400, 1.5, '', 'x' * 5000, '\ud800', [], {}, [[]]),
    {'_type': 'os.system'},
    {'_type': 'bert_jax.data.examples.Examples', 'texts': []},
    encode(EvaluationConfig()),
    encode(experiment()),
  ]
)


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_a_config_with_junk_in_it_is_a_config_or_one_line(data):
  encoded = encode(experiment())
  for _ in range(data.draw(st.integers(1, 3))):
    part = encoded
    while True:
      name = data.draw(st.sampled_from(sorted(part) or ['_type']))
      inner = part.get(name)
      if not isinstance(inner, dict) or data.draw(st.booleans()):
        break
      part = inner
    change = data.draw(st.sampled_from(['set', 'delete', 'add']))
    if change == 'delete':
      part.pop(name, None)
    else:
      key = name if change == 'set' else data.draw(st.text(max_size=3))
      part[key] = copy.deepcopy(data.draw(JUNK))
  try:
    decoded = decode(json.loads(json.dumps(encoded)), where='config.json')
  except InputError as error:
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 400
  else:
    assert through_json(decoded) == decoded


def test_a_missing_field_is_named():
  encoded = encode(experiment())
  del encoded['num_steps']
  with pytest.raises(InputError, match="to have a field 'num_steps'"):
    decode(encoded, where='config.json')


@pytest.mark.parametrize(
  'text',
  [
    *('[' * 100_000, '{"_type":' * 100_000, '{', '', 'null', '[]', '\xff'),
    '[' * 5000 + ']' * 5000,
    '{"_type":' * 5000 + '1' + '}' * 5000,
    '{"_type": "bert_jax.experiment.DataConfig", "path":' * 900 + '}' * 900,
    '{"_type": "bert_jax.experiment.DataConfig"}',
  ],
  ids=lambda text: text[:40],
)
def test_a_config_that_is_none(tmp_path, text):
  path = Workdir(tmp_path).config
  path.write_text(text)
  with pytest.raises(InputError, match='config.json'):
    Workdir(tmp_path).read_config()


def test_an_unknown_field_is_named():
  encoded = encode(experiment())
  encoded['model']['num_layer'] = 3
  with pytest.raises(InputError, match="no field 'num_layer'"):
    decode(encoded, where='config.json')


def test_fields_of_execution_may_change_and_others_may_not():
  old = experiment()
  new = dataclasses.replace(
    old,
    logging=dataclasses.replace(old.logging, every_steps=7),
    mesh=dataclasses.replace(old.mesh, data=4),
  )
  assert differences(old, new) == []
  new.optimizer = dataclasses.replace(old.optimizer, learning_rate=3.0)
  with pytest.raises(InputError, match='optimizer.learning_rate: 0.0001 -> 3'):
    check_unchanged(old, new, [])
  for allowed in ('optimizer.learning_rate', 'optimizer'):
    (line,) = check_unchanged(old, new, [allowed])
    assert line.startswith('optimizer.learning_rate')
  with pytest.raises(InputError):
    check_unchanged(old, new, ['optimizer.learning'])


def test_a_run_of_another_verb_is_named_alone():
  tuned = FinetuneExperiment(num_epochs=1, batch_size=2)
  message = 'belongs to a FinetuneExperiment, and .* a PretrainExperiment; use'
  with pytest.raises(InputError, match=message):
    check_unchanged(tuned, experiment(), ['optimizer'])


@pytest.mark.parametrize('field', ['peft', 'gradients', 'task', 'optimizer'])
def test_a_component_of_another_kind_is_named(field):
  wrong = FinetuneExperiment(num_epochs=1, batch_size=2, tokenizer='x')
  setattr(wrong, field, EvaluationConfig())
  with pytest.raises(InputError, match=f'^{field} is .*, which is no [A-Z]'):
    wrong.validate()


def test_methods_that_a_component_lacks_are_named():
  class Plain:
    num_passes = 1
    validate = None

  wrong = FinetuneExperiment(num_epochs=1, batch_size=2, gradients=Plain())
  with pytest.raises(InputError, match="gradients.py.: it lacks 'build'; mend"):
    wrong.validate()


def test_the_lock_keeps_a_second_process_out(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  with (
    workdir.lock(),
    pytest.raises(InputError, match=f'process {os.getpid()}'),
  ):
    with Workdir(tmp_path).lock():
      pass
  with workdir.lock():
    pass


def test_a_lock_whose_owner_died_does_not_block(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  script = textwrap.dedent("""
    import sys
    from bert_jax.workdir import Workdir
    with Workdir(sys.argv[1]).lock():
      print('locked', flush=True)
      sys.stdin.read()
  """)
  owner = subprocess.Popen(
    [sys.executable, '-c', script, str(tmp_path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert owner.stdout.readline() == b'locked\n'
  with pytest.raises(InputError, match=f'process {owner.pid}'):
    with workdir.lock():
      pass
  owner.send_signal(signal.SIGKILL)
  owner.wait()
  with workdir.lock():
    pass


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
  with pytest.raises(InputError, match='is not a workdir'):
    Workdir(tmp_path).read_config()
  (tmp_path / 'config.json').write_text('{"_type": ')
  with pytest.raises(InputError, match='not readable JSON'):
    Workdir(tmp_path).read_config()


def test_lines_that_are_none_do_not_hide_a_noted_checkpoint(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  lines = ['{"kind": "checkpoint", "step": 7}', '[' * 100_000, '"', '[]', '{}']
  lines += ['{"kind": "checkpoint", "step": "x"}', '{"kind": "checkpoint"}']
  (workdir.metrics / 'part-0.jsonl').write_text('\n'.join(lines))
  assert workdir.noted_checkpoint() == 7


def test_the_home_of_nobody_is_a_folder_that_is_not_there():
  with pytest.raises(InputError, match='is not a workdir'):
    Workdir('~nobody_of_that_name/run').require()


def test_a_config_binds_from_the_first_checkpoint_on(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  workdir.write_config(experiment(), [], 0)
  assert workdir.config_changes(experiment(num_steps=11), ()) == []
  workdir.write_config(experiment(num_steps=11), [], 0)
  assert workdir.read_config().num_steps == 11
  (workdir.checkpoints / '5').mkdir(parents=True)
  with pytest.raises(InputError, match='num_steps: 11 -> 10'):
    workdir.config_changes(experiment(), ())
  changes = workdir.config_changes(experiment(), ('num_steps',))
  assert changes == ['num_steps: 11 -> 10']
  # Checking alone has not changed the config.
  assert workdir.read_config().num_steps == 11
  workdir.write_config(experiment(), changes, 40)
  (line,) = map(json.loads, workdir.starts.read_text().splitlines())
  assert (line['example'], line['changes']) == (40, changes)
