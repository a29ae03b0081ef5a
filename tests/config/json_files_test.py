"""Files of JSON and what only looks like one."""

import hashlib

import pytest

from bert_jax.config import json_files
from bert_jax.errors import InputError


def test_an_object_is_read(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text('{"word": "本"}', 'utf-8')
  assert json_files.read_object(path, 'mend it') == {'word': '本'}
  assert json_files.read_or_none(path) == {'word': '本'}


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'{', r'a\.json: is not JSON \(Expecting .*\); mend it'),
    (b'"\xff"', r'a\.json: is not JSON \(.utf-8. codec .*\); mend it'),
    (b'[' * 100_000, r'a\.json: is not JSON \(.*\); mend it'),
    (b'[1]', r'a\.json: is no JSON object; mend it$'),
  ],
)
def test_anything_else_is_refused_by_name(tmp_path, content, message):
  path = tmp_path / 'a.json'
  path.write_bytes(content)
  with pytest.raises(InputError, match=message):
    json_files.read_object(path, 'mend it')
  expected = [1] if content == b'[1]' else None
  assert json_files.read_or_none(path) == expected


def test_a_missing_file_is_an_error_or_none(tmp_path):
  with pytest.raises(FileNotFoundError):
    json_files.read_object(tmp_path / 'a.json', 'mend it')
  assert json_files.read_or_none(tmp_path / 'a.json') is None


def test_a_digest_is_that_of_the_json():
  value = {'b': [1, 'a'], 'a': None}
  as_it_is = hashlib.sha256(b'{"b": [1, "a"], "a": null}').hexdigest()
  in_order = hashlib.sha256(b'{"a": null, "b": [1, "a"]}').hexdigest()
  assert json_files.json_digest(value) == as_it_is
  assert json_files.json_digest(value, sort_keys=True) == in_order
