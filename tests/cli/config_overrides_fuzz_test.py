"""Whatever is given as --config.FIELD=VALUE: a config, or one clear line."""

import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import typing

import hypothesis
import jax
import pytest
from absl import flags as absl_flags
from hypothesis import strategies as st
from refusals import one_line

from bert_jax.cli import flags
from bert_jax.config import overrides
from bert_jax.config.codec import decode, encode
from bert_jax.config.experiment_file import load_config
from bert_jax.errors import InputError

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
FILES = {
  'pretrain': EXPERIMENTS / 'pretrain' / 'bert_mini.py',
  'finetune': EXPERIMENTS / 'finetune' / 'classification.py',
}
FIELDS = {
  verb: sorted(overrides.config_fields(load_config(str(path))))
  for verb, path in FILES.items()
}
# With these validate() comes to its last check.
COMPLETE = {
  'pretrain': ['--config.data.path=/corpus'],
  'finetune': ['--config.tokenizer=/tokenizer'],
}
PLAIN = {int: int, float: (int, float), bool: bool, str: str}

VALUES = st.one_of(
  st.text(max_size=20),
  st.integers().map(str),
  st.floats().map(str),
  st.sampled_from(
    [
      *('', ' ', 'none', 'None', 'null', 'true', 'False', 'nan', '-inf'),
      *('1e400', '9' * 5000, '0x10', '1_000', '１', '--x', '=', '-'),
      *('(', '(1,', '[1, 2]', '{}', '{1: 2}', '(((1,),),)', '1,2', ',', 'a,b'),
      *('(' * 500, '"', "'", '\\', '\n', '\0', '$(x)', '%s', '@file', '...'),
      *('({[]: 1},)', '(' + '-' * 9000 + '1)', '(0x' + 'f' * 5000 + ',)'),
      *('(1j,)', '(b"a",)', '("a"\n,)', '(\0)', '[' * 300 + ']' * 300, '（'),
      *('x' * 5000, '\ud800', '~nobody/x', str(2**63), str(-(2**63)), '1e-400'),
    ]
  ),
)


def parse(verb, arguments):
  """The config of a command line, as __main__.main gets it."""
  flag_values = absl_flags.FlagValues()
  holder = flags.define_config(flag_values=flag_values)
  before = sys.argv
  # ml_collections reads it by itself.
  sys.argv = ['bert-jax', f'--config={FILES[verb]}', *arguments]
  try:
    with contextlib.redirect_stderr(io.StringIO()):
      flags.parse(verb, sys.argv[1:], flag_values)
    return holder.value
  finally:
    sys.argv = before


@pytest.mark.parametrize('verb', FILES)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=200, deadline=None)
def test_a_field_with_any_value(verb, data):
  name = data.draw(st.sampled_from(FIELDS[verb]))
  form = data.draw(
    st.sampled_from(['--config.{}={}', '--noconfig.{}', '-config.{}={}'])
  )
  try:
    given = form.format(name, data.draw(VALUES))
    config = parse(verb, [*COMPLETE[verb], given])
  except InputError as error:
    one_line(error, 400)
    return
  field = overrides.config_fields(config)[name]
  expected = PLAIN.get(field.type)
  if expected:
    assert isinstance(field.value, expected)
  elif typing.get_origin(field.type) is tuple:
    assert isinstance(field.value, tuple)
  # What was taken survives config.json.
  text = json.dumps(encode(config), allow_nan=False)
  assert decode(json.loads(text), where='config.json') == config
  assert_valid_or_one_line(config)


def assert_valid_or_one_line(config) -> None:
  """As a run does before it reads any data."""
  try:
    config.validate()
    config.mesh.build()
    config.optimizer.build_schedule(1000)(jax.numpy.zeros([], int))
    config.optimizer.build({})
  except InputError as error:
    one_line(error, 400)
  jax.random.key(config.seed)


@pytest.mark.parametrize('verb', FILES)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_several_fields_at_once(verb, data):
  # Where they hang together is where they can contradict.
  related = [
    name
    for name in FIELDS[verb]
    if name.startswith(('model.', 'optimizer.', 'mesh.', 'task.', 'data.'))
    or 'batch' in name
  ]
  names = data.draw(st.lists(st.sampled_from(related), max_size=6))
  values = st.integers(-1, 9).map(str) | st.sampled_from(['0.5', '1e9', 'a,b'])
  given = [f'--config.{name}={data.draw(values)}' for name in names]
  try:
    config = parse(verb, [*COMPLETE[verb], *given])
  except InputError as error:
    one_line(error, 400)
  else:
    assert_valid_or_one_line(config)


@pytest.mark.parametrize('verb', FILES)
@hypothesis.example(name='000\x1f\x1f\x1f\x1f\x08\U0001239a', value='')
@hypothesis.given(
  name=st.text(max_size=12)
  | st.lists(st.sampled_from(FIELDS['pretrain']), max_size=2).map('.'.join)
  | st.sampled_from(['model[0]', 'model.', '.model', '__class__', 'a.b.c']),
  value=VALUES,
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_any_name(verb, name, value):
  hypothesis.assume(not name.startswith('-'))
  try:
    parse(verb, [f'--config.{name}={value}'])
  except InputError as error:
    one_line(error, 400)


@pytest.mark.parametrize('given', ['', '=/nowhere', '=/', f'={sys.executable}'])
def test_a_flagfile_that_is_none(given):
  with pytest.raises(InputError) as error:
    parse('pretrain', [f'--flagfile{given}'])
  one_line(error.value, 400)


def test_the_files_are_dataclasses_with_validate():
  for verb in FILES:
    config = parse(verb, [])
    assert dataclasses.is_dataclass(config)
    with contextlib.suppress(InputError):
      config.validate()
