"""A verb that is given a folder of another kind says what the folder is.

| verb | folder | said |
|---|---|---|
| report, inspect | of Hugging Face | it is not the workdir of a run |
| report, inspect | a converted model | no run here made it |
| fill_mask | an encoder, a classifier | it is, and has which heads |
| convert | a workdir | --output_format=huggingface |
"""

import pytest
from other_models import save_folder
from refusals import refusal

from bert_jax import inference
from bert_jax.jobs.convert import convert
from bert_jax.jobs.inspect import read_experiment
from bert_jax.report.page import write_report


@pytest.fixture
def theirs(tmp_path):
  return save_folder(tmp_path / 'theirs', 'BertForSequenceClassification')


@pytest.fixture
def ours(theirs, tmp_path, without_transformers):
  convert(str(theirs), tmp_path / 'ours')
  return tmp_path / 'ours'


def test_a_hugging_face_folder(theirs):
  for function in (write_report, read_experiment):
    message = refusal(function, theirs)
    assert f'{theirs} is not the workdir of a bert-jax run' in message
    assert 'such as Hugging Face transformers' in message


def test_a_converted_model(ours):
  message = refusal(read_experiment, ours)
  assert 'a converted or grown model, which no run here made' in message
  message = refusal(inference.load(ours).samples)
  assert f'{ours} is a classifier of 3 classes' in message
  message = refusal(convert, str(ours), f'{ours}-again')
  assert 'is a workdir already; give --output_format=huggingface' in message


@pytest.mark.parametrize(
  'name, words',
  [
    ('BertForSequenceClassification', 'is a classifier of 3 classes'),
    ('BertModel', 'is a pretrained model with the heads pooler'),
    ('RobertaModel', 'is a pretrained model with no head'),
  ],
)
def test_a_model_that_predicts_no_tokens(tmp_path, name, words):
  folder = save_folder(tmp_path, name)
  message = refusal(inference.load(folder).fill_mask, 'a [MASK]')
  assert f'{folder} {words}' in message
