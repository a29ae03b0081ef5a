"""Labels of a classifier of others: the weights say how many there are.

| config.json | outputs | labels |
|---|---|---|
| names for each output | 3 | as they are |
| fewer names, none, or gaps | 2, 3, 5 | LABEL_n for the missing, and a note |
| more names | 2, 3 | the first ones, and a note |
| names that contradict, or no names | 3 | refused |
| names or none | 1 | a regression, which has none |
"""

import json

import numpy as np
import pytest
from other_models import save_folder, with_outputs

from bert_jax import inference
from bert_jax.errors import InputError
from bert_jax.jobs.convert import convert
from bert_jax.pretrained import open_pretrained

pytestmark = pytest.mark.usefixtures('without_transformers')
BERT = 'BertForSequenceClassification'
DEFAULTS = {'0': 'LABEL_0', '1': 'LABEL_1'}


def read(folder, name, outputs, change=None, **config):
  change = change or with_outputs(outputs)
  found = open_pretrained(str(save_folder(folder, name, change, **config)))
  assert found.facts == found.experiment.facts
  return (found.facts or {'labels': []})['labels'], ' '.join(
    found.checkpoint.notes
  )


@pytest.mark.parametrize(
  'outputs, config, labels, note',
  [
    (3, {}, 'x y z', ''),
    (3, {'problem_type': None}, 'x y z', ''),
    (3, {'problem_type': 'single_label_classification'}, 'x y z', ''),
    (3, {'id2label': ['a', 'b', 'c']}, 'a b c', ''),
    (2, {'id2label': {'1': 'b', '0': 'a'}}, 'a b', ''),
    (3, {'num_labels': 2}, 'x y z', 'num_labels is 2'),
    # Too few names, or none.
    (2, {'id2label': None}, 'LABEL_0 LABEL_1', 'id2label is missing'),
    (3, {'id2label': None}, 'LABEL_0 LABEL_1 LABEL_2', 'id2label is missing'),
    (3, {'id2label': {}}, 'LABEL_0 LABEL_1 LABEL_2', 'id2label is missing'),
    (
      *(5, {'id2label': DEFAULTS}),
      *('LABEL_0 LABEL_1 LABEL_2 LABEL_3 LABEL_4', "'LABEL_4' was filled in"),
    ),
    (
      *(4, {}, 'x y z LABEL_3'),
      "id2label names 3 labels, the classifier has 4; 'LABEL_3' was filled in",
    ),
    (3, {'id2label': {'0': 'x'}}, 'x LABEL_1 LABEL_2', "'LABEL_1', 'LABEL_2'"),
    (3, {'id2label': {'0': 'x', '2': 'z'}}, 'x LABEL_1 z', "'LABEL_1' was"),
    (2, {'id2label': {'0': 'x', '1': ''}}, 'x LABEL_1', "'LABEL_1' was"),
    (2, {'id2label': {'0': None, '1': 'y'}}, 'LABEL_0 y', "'LABEL_0' was"),
    (
      *(3, {'id2label': None, 'num_labels': 2}, 'LABEL_0 LABEL_1 LABEL_2'),
      'num_labels is 2, the classifier has 3 outputs',
    ),
    # Too many.
    (2, {}, 'x y', "names 3 labels, the classifier has 2; 'z' was dropped"),
    (2, {'id2label': {'0': 'x', '1': 'y', '7': 'x'}}, 'x y', "'x' was dropped"),
    # Names elsewhere, and of another type.
    (
      *(2, {'id2label': None, 'label2id': {'no': 0, 'yes': 1}}, 'no yes'),
      'the labels are those of label2id',
    ),
    (
      3,
      {'id2label': None, 'label2id': {'c': '2', 'a': 0, 'b': 1}},
      'a b c',
      '',
    ),
    (2, {'id2label': {'0': 0, '1': 1}}, '0 1', 'numbers for names'),
    (
      *(3, {'label2id': {'x': 1, 'y': 0, 'z': 2}}, 'x y z'),
      "label2id has 'y' for output 0, id2label 'x'; id2label is taken",
    ),
    (3, {'label2id': 'none'}, 'x y z', ''),
  ],
)
def test_the_weights_decide(tmp_path, outputs, config, labels, note):
  found, notes = read(tmp_path, BERT, outputs, **config)
  assert found == labels.split()
  assert note in notes
  if not note and config.get('id2label', True) is not None:
    assert not notes


@pytest.mark.parametrize(
  'name, weight, bias',
  [
    ('RobertaForSequenceClassification', 'classifier.out_proj.weight', None),
    ('DistilBertForSequenceClassification', 'classifier.weight', None),
    ('ModernBertForSequenceClassification', 'classifier.weight', None),
    ('ElectraForSequenceClassification', 'classifier.out_proj.weight', None),
    ('AlbertForSequenceClassification', 'classifier.weight', None),
  ],
)
@pytest.mark.parametrize('outputs', [2, 5])
def test_of_every_family(tmp_path, name, weight, bias, outputs):
  change = with_outputs(outputs, weight, weight.replace('weight', 'bias'))
  labels, notes = read(tmp_path, name, outputs, change)
  assert labels == ['x', 'y', 'z', 'LABEL_3', 'LABEL_4'][:outputs]
  assert "'z' was dropped" in notes or "'LABEL_4' was filled in" in notes


@pytest.mark.parametrize(
  'config, message',
  [
    ({'id2label': {'0': 'x', '1': 'x', '2': 'z'}}, "'x' would be the name of"),
    ({'id2label': {'0': 'LABEL_1'}}, "'LABEL_1' would be the name of several"),
    ({'id2label': {'1': 'x', '2': 'y', '3': 'z'}}, 'names the outputs 1, 2, 3'),
    ({'id2label': {'0': 'x', '5': 'y'}}, 'which is which cannot be known'),
    ({'id2label': {'a': 'x', 'b': 'y', 'c': 'z'}}, "id2label has 'a': 'x'"),
    ({'id2label': {'0': 'x', '00': 'y'}}, "id2label has '00': 'y'"),
    ({'id2label': {'0': True, '1': False}}, "id2label has '0': True"),
    ({'id2label': {'0': ['x'], '1': 'y'}}, 'the name of a label'),
    ({'id2label': 'x'}, "id2label is 'x', which names no labels"),
    ({'id2label': None, 'label2id': {'x': 0, 'y': 0}}, "label2id has 'y': 0"),
    ({'id2label': None, 'label2id': {'x': 0.5}}, "label2id has 'x': 0.5"),
  ],
)
def test_names_that_contradict_are_refused(tmp_path, config, message):
  with pytest.raises(InputError, match=message) as caught:
    read(tmp_path, BERT, 3, **config)
  assert len(str(caught.value).splitlines()) == 1


def test_a_classifier_that_is_cut_is_refused(tmp_path):
  def without(name):
    return lambda weights: {n: x for n, x in weights.items() if n != name}

  for name in ('classifier.weight', 'classifier.bias'):
    with pytest.raises(InputError, match=f'are missing, such as {name}'):
      read(tmp_path / name, BERT, 3, without(name))
  short = with_outputs(3)
  with pytest.raises(InputError, match=r'bias has shape \(2,\), .* \(3,\)'):
    read(
      *(tmp_path, BERT, 3),
      lambda weights: (
        short(weights) | {'classifier.bias': np.zeros(2, np.float32)}
      ),
    )


@pytest.mark.parametrize(
  'outputs, config, reason',
  [
    (
      *(1, {'problem_type': 'single_label_classification'}),
      'it is a classification with one label (problem_type',
    ),
    (3, {'problem_type': 'regression'}, 'it is a regression (problem_type'),
    (
      *(3, {'problem_type': 'multi_label_classification'}),
      "for several labels a text (problem_type 'multi_label_classification')",
    ),
    (3, {'problem_type': 'ranking'}, 'it is not one label a text'),
    (
      *(3, {'architectures': ['BertForNextSentencePrediction']}),
      "'BertForNextSentencePrediction' it is not one of whole texts",
    ),
    (
      *(1, {'architectures': ['BertForNextSentencePrediction']}),
      "'BertForNextSentencePrediction' it is not one of whole texts",
    ),
    (
      *(3, {'architectures': ['BertForMultipleChoice']}),
      'it has 3 outputs, not one score a choice',
    ),
    (3, {'architectures': None}, 'config.json has no architectures'),
  ],
)
def test_why_there_is_no_classifier(tmp_path, outputs, config, reason):
  labels, notes = read(tmp_path, BERT, outputs, **config)
  assert labels == []
  assert 'its classifier was left out: ' in notes and reason in notes
  found = open_pretrained(str(tmp_path))
  assert reason in found.experiment.no_classifier
  assert found.checkpoint.left_out == ('classifier.bias', 'classifier.weight')


def test_the_reason_is_said_by_every_verb(tmp_path):
  """By convert, in parity.json, and where the folder or the workdir is used."""
  reason = 'it is a regression (problem_type'
  folder = save_folder(
    tmp_path / 'theirs', BERT, with_outputs(3), problem_type='regression'
  )
  lines = convert(str(folder), tmp_path / 'ours')
  assert any(f'its classifier was left out: {reason}' in x for x in lines)
  record = json.loads((tmp_path / 'ours' / 'parity.json').read_text())
  assert record['left_out'] == ['classifier.bias', 'classifier.weight']
  assert any(reason in note for note in record['notes'])
  for place in (folder, tmp_path / 'ours'):
    model = inference.load(place)
    for method in ('predict', 'evaluate'):
      with pytest.raises(InputError) as caught:
        model.require_task(method)
      message = str(caught.value)
      assert f'{method} needs a classifier of texts' in message
      assert f'{place} has none: {reason}' in message


def test_notes_are_said_where_a_folder_is_used(tmp_path, capsys):
  folder = save_folder(tmp_path, BERT, with_outputs(4))
  model = inference.load(folder)
  assert "'LABEL_3' was filled in" in capsys.readouterr().err
  assert model.predict([('a b',)]).shape == (1, 4)


@pytest.mark.parametrize(
  'config', [{}, {'id2label': None}, {'problem_type': 'regression'}]
)
def test_one_output_is_a_regression(tmp_path, config):
  folder = save_folder(tmp_path / 'theirs', BERT, with_outputs(1), **config)
  model = inference.load(folder)
  assert model.experiment.task.name == 'regression'
  assert model.predict([('a b',), ('c',)]).shape == (2,)


def test_a_classifier_of_words(tmp_path):
  """Its names are those of a classifier of texts: its class tells."""
  classes = ['BertForTokenClassification']
  theirs = tmp_path / 'theirs'
  save_folder(theirs, BERT, with_outputs(3), architectures=classes)
  convert(str(theirs), tmp_path / 'ours')
  for folder in (theirs, tmp_path / 'ours'):
    model = inference.load(folder)
    assert model.task.facts == {'labels': ['x', 'y', 'z']}
    assert 'token_classifier' in model.experiment.heads
    ((labels,),) = [model.predict([('a', 'b')])]
    assert len(labels) == 2 and {*labels} <= {'x', 'y', 'z'}


def test_a_scorer_of_choices(tmp_path):
  """Its names are those of a classifier of one output: its class tells."""
  classes = ['BertForMultipleChoice']
  theirs = tmp_path / 'theirs'
  save_folder(theirs, BERT, with_outputs(1), architectures=classes)
  convert(str(theirs), tmp_path / 'ours')
  for folder in (theirs, tmp_path / 'ours'):
    model = inference.load(folder)
    assert 'choice_head' in model.experiment.heads
    two, three = model.predict([('a', 'b', 'c'), ('a', 'b', 'c', 'd')])
    assert two.shape == (2,) and three.shape == (3,)


@pytest.mark.parametrize('name', ['BertForPreTraining', 'BertModel'])
def test_a_pretrained_model_says_what_it_is(tmp_path, name):
  folder = save_folder(tmp_path, name)
  model = inference.load(folder)
  with pytest.raises(InputError) as caught:
    model.require_task('predict')
  assert 'is a pretrained model with the heads pooler' in str(caught.value)
  assert f'finetune --config.init_from={folder}' in str(caught.value)
  works = 'fill_mask and embed work' if 'Pre' in name else 'embed works'
  assert f'as it is {works} with it' in str(caught.value)


@pytest.mark.parametrize(
  'name, architecture',
  [
    ('RobertaModel', 'RobertaForTokenClassification'),
    ('BertModel', 'BertForMultipleChoice'),
    ('BertModel', 'BertForNextSentencePrediction'),
    ('ElectraModel', 'ElectraForTokenClassification'),
  ],
)
def test_a_head_of_another_kind(tmp_path, name, architecture):
  """Its names are not those of any classifier of texts."""

  def add(weights):
    return weights | {'qa_outputs.weight': np.ones((2, 16), np.float32)}

  folder = save_folder(tmp_path, name, add, architectures=[architecture])
  with pytest.raises(InputError) as caught:
    inference.load(folder).require_task('evaluate')
  assert f'has none: by architectures {architecture!r} it is not' in str(
    caught.value
  )


def test_a_class_without_its_weights(tmp_path):
  folder = save_folder(
    tmp_path, 'BertModel', architectures=['BertForSequenceClassification']
  )
  model = inference.load(folder)
  with pytest.raises(InputError, match='has none: the weights have none'):
    model.require_task('predict')
