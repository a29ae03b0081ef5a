"""Whatever is given as --config.FIELD=VALUE: a config, or one clear line."""

import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import typing

import hypothesis
import pytest
from absl import flags as absl_flags
from hypothesis import strategies as st

from bert_jax.cli import config_file, flags
from bert_jax.errors import InputError
from bert_jax.workdir import decode, encode

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
FILES = {
  'pretrain': EXPERIMENTS / 'pretrain' / 'bert_mini.py',
  'finetune': EXPERIMENTS / 'finetune' / 'classification.py',
}
FIELDS = {
  verb: sorted(config_file.config_fields(config_file.load_config(str(path))))
  for verb, path in FILES.items()
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


def assert_one_line(error) -> None:
  """As __main__._fail prints it."""
  line = ' '.join(str(error).splitlines())
  assert line.strip()
  assert '--' in line or ' ' in line


@pytest.mark.parametrize('verb', FILES)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=200, deadline=None)
def test_a_field_with_any_value(verb, data):
  name = data.draw(st.sampled_from(FIELDS[verb]))
  form = data.draw(
    st.sampled_from(['--config.{}={}', '--noconfig.{}', '-config.{}={}'])
  )
  try:
    config = parse(verb, [form.format(name, data.draw(VALUES))])
  except InputError as error:
    assert_one_line(error)
    return
  field = config_file.config_fields(config)[name]
  expected = PLAIN.get(field.type)
  if expected:
    assert isinstance(field.value, expected)
  elif typing.get_origin(field.type) is tuple:
    assert isinstance(field.value, tuple)
  # What was taken survives config.json; nan is no number to compare.
  text = json.dumps(encode(config))
  if 'NaN' not in text:
    assert decode(json.loads(text), where='config.json') == config
  try:
    config.validate()
  except InputError as error:
    assert_one_line(error)


@pytest.mark.parametrize('verb', FILES)
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
    assert_one_line(error)


def test_the_files_are_dataclasses_with_validate():
  for verb in FILES:
    config = parse(verb, [])
    assert dataclasses.is_dataclass(config)
    with contextlib.suppress(InputError):
      config.validate()
