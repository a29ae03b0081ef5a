"""Google's names: the same model as under transformers' names.

TensorFlow is not needed: its reader's result, names and arrays, is made here.
"""

import json
import pathlib
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_jax.errors import InputError
from bert_jax.interop import google_bert, huggingface
from bert_jax.models import functional

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'bert'
CONFIG = json.loads((GOLDEN / 'config.json').read_text())
# Of the file uncased_L-12_H-768_A-12.zip.
KNOWN = (
  'bert/embeddings/word_embeddings',
  'bert/embeddings/LayerNorm/gamma',
  'bert/encoder/layer_0/attention/self/query/kernel',
  'bert/encoder/layer_1/attention/output/LayerNorm/beta',
  'bert/encoder/layer_1/intermediate/dense/kernel',
  'bert/pooler/dense/kernel',
  'cls/predictions/transform/dense/kernel',
  'cls/predictions/output_bias',
  'cls/seq_relationship/output_weights',
  'cls/seq_relationship/output_bias',
)


def google_name(name: str) -> str:
  """As convert_bert_original_tf_checkpoint_to_pytorch.py walks the names."""
  name = name.replace('layer.', 'layer_').replace('.', '/')
  if 'LayerNorm' in name:
    return name.replace('weight', 'gamma').replace('bias', 'beta')
  for theirs, google in (
    ('predictions/bias', 'predictions/output_bias'),
    ('seq_relationship/weight', 'seq_relationship/output_weights'),
    ('seq_relationship/bias', 'seq_relationship/output_bias'),
    ('_embeddings/weight', '_embeddings'),
  ):
    name = name.replace(theirs, google)
  return name.replace('/weight', '/kernel')


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
  """The golden weights as Google would keep them, with an optimizer's."""
  weights = {
    google_name(name): array.T if 'dense' in name or '.self.' in name else array
    for name, array in load_file(GOLDEN / 'model.safetensors').items()
  }
  weights['global_step'] = np.array(7)
  weights['bert/pooler/dense/bias/adam_m'] = np.zeros(16, np.float32)
  return weights


def read(arrays, config=CONFIG, size=55):
  return google_bert.from_arrays(
    GOLDEN, config, arrays, tokenizer_size=size, problems=()
  )


def test_it_is_the_same_model(arrays):
  assert set(KNOWN) <= set(arrays)
  found = read(arrays)
  expected = huggingface.read(GOLDEN, tokenizer_size=55)
  assert found.model == expected.model and found.heads == expected.heads
  assert found.left_out == ()
  mine, theirs = map(functional.flatten, (found.params, expected.params))
  assert mine.keys() == theirs.keys()
  for path in mine:
    np.testing.assert_array_equal(mine[path], theirs[path], err_msg=path)


def test_what_does_not_fit_is_in_one_line(arrays):
  del arrays['bert/embeddings/LayerNorm/gamma']
  arrays['bert/pooler/dense/kernel'] = np.zeros((16, 8), np.float32)
  with pytest.raises(InputError) as caught:
    read(arrays, size=99)
  for part in ('LayerNorm/gamma', r'pooler/dense/kernel has', '99 entries'):
    assert part in str(caught.value)
  with pytest.raises(InputError, match="hidden_act is 'relu'"):
    read(arrays, config=CONFIG | {'hidden_act': 'relu'})


def test_a_folder_is_told_by_its_files(tmp_path):
  assert not google_bert.is_folder(tmp_path)
  (tmp_path / 'bert_config.json').write_text('{}')
  assert not google_bert.is_folder(tmp_path)
  (tmp_path / 'bert_model.ckpt.index').touch()
  assert google_bert.is_folder(tmp_path)
  (tmp_path / 'model.ckpt-3.index').touch()
  with pytest.raises(InputError, match='bert_model.ckpt, model.ckpt-3'):
    google_bert.read(tmp_path, tokenizer_size=0)


def test_without_tensorflow_the_line_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  (tmp_path / 'bert_config.json').write_text('{}')
  (tmp_path / 'bert_model.ckpt.index').touch()
  with pytest.raises(InputError, match='pip install tensorflow-cpu'):
    google_bert.read(tmp_path, tokenizer_size=0)
