"""Apache Beam's flags: refused in one line, and so is Beam's absence."""

import sys

import pytest

from bert_jax.data.preparing import beam_flags
from bert_jax.errors import InputError


def test_without_beam(monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  with pytest.raises(InputError, match=r"pip install 'bert_jax\[beam\]'"):
    beam_flags.check(())


@pytest.mark.beam
@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--direct_num_wokers=2', 'the nearest is --direct_num_workers'),
    ('--direct_num_workers=two', "invalid int value: 'two'"),
    ('--direct_running_mode=all', "invalid choice: 'all'"),
    ('--runner=Flinker', 'Unexpected pipeline runner: Flinker'),
    ('--runner=nowhere.Runner', "No module named 'nowhere'"),
    ('--runner=DataflowRunner', 'Missing required option: project'),
    ('--temp_location=nowhere://x', 'nowhere://x'),
    ('word', 'word is no flag'),
  ],
)
def test_what_beam_does_not_know(flag, message):
  with pytest.raises(InputError, match='flags for Beam, after --') as error:
    beam_flags.check((flag,))
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.beam
def test_the_temporary_location():
  assert beam_flags.check(()) == ''
  assert beam_flags.check(('--temp_location', '/disk')) == '/disk'
