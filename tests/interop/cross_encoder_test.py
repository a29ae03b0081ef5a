"""Marks of a CrossEncoder, as the versions of sentence-transformers write."""

import json

import pytest

from bert_jax.interop.cross_encoder import is_class_alone, marks, read_head
from bert_jax.models.task_head import IDENTITY, SIGMOID, TEXTS, WORDS, TaskHead

HEAD = TaskHead(
  kind=TEXTS, problem_type='regression', output_names=('LABEL_0',)
)
_SIGMOID = 'torch.nn.modules.activation.Sigmoid'
_OLD = 'sbert_ce_default_activation_function'
_FILE = 'config_sentence_transformers.json'


@pytest.mark.parametrize(
  ('config', 'file', 'expected'),
  [
    ({}, {}, ''),
    (marks(IDENTITY), {}, IDENTITY),
    ({'sentence_transformers': {'activation_fn': _SIGMOID}}, {}, SIGMOID),
    ({_OLD: 'torch.nn.modules.linear.Identity'}, {}, IDENTITY),
    ({_OLD: 'torch.nn.Sigmoid', 'sentence_transformers': 3}, {}, SIGMOID),
    # Version 6 looks at its own file first.
    (
      marks(IDENTITY),
      {'model_type': 'CrossEncoder', 'activation_fn': _SIGMOID},
      SIGMOID,
    ),
    ({}, {'model_type': 'SentenceTransformer', 'activation_fn': 'x'}, ''),
  ],
)
def test_the_activation(tmp_path, config, file, expected):
  (tmp_path / _FILE).write_text(json.dumps(file))
  notes = []
  head = read_head(tmp_path, config, HEAD, notes)
  assert head.activation == expected and not notes
  assert head.problem_type == ('' if expected else 'regression')
  assert is_class_alone(tmp_path, config) == bool(expected)
  modules = [{'type': f'a.{kind}'} for kind in ('Transformer', 'Pooling')]
  for count, is_alone in ((1, bool(expected)), (2, False)):
    (tmp_path / 'modules.json').write_text(json.dumps(modules[:count]))
    assert is_class_alone(tmp_path, config) == is_alone


def test_what_is_not_computed_is_said(tmp_path):
  file = {
    'model_type': 'CrossEncoder',
    'activation_fn': 'torch.nn.modules.activation.Tanh',
    'default_prompt_name': 'query',
  }
  (tmp_path / _FILE).write_text(json.dumps(file))
  notes = []
  assert read_head(tmp_path, {}, HEAD, notes).activation == IDENTITY
  assert len(notes) == 2
  assert 'default prompt' in notes[0] and 'Tanh' in notes[1]


def test_heads_that_give_no_score(tmp_path):
  for head in (
    None,
    TaskHead(kind=TEXTS, output_names=('a', 'b')),
    TaskHead(kind=WORDS, output_names=('a',)),
  ):
    assert read_head(tmp_path, marks(SIGMOID), head, []) is head
