"""Heads of tasks in transformers: a number for a text, labels, spans."""

import json
import pathlib

import jax
import numpy as np
import pytest
import toys

from bert_jax import inference
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.experiment import ConvertedModel
from bert_jax.interop import family as families
from bert_jax.jobs.convert import convert
from bert_jax.models import functional
from bert_jax.pretrained import save_model
from bert_jax.tasks.multiple_choice import MultipleChoiceConfig
from bert_jax.tasks.question_answering import QuestionAnsweringConfig
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.reranking import RerankingConfig
from bert_jax.tasks.tagging import TaggingConfig

pytestmark = pytest.mark.interop

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'bert'
FAMILIES = ('bert', *toys.FAMILIES)
LABELS = ['B-x', 'I-x', 'O']


@pytest.fixture(scope='module')
def transformers():
  return pytest.importorskip('transformers')


def workdir_of(folder, family, task, facts, heads, num_outputs):
  tokenizer = load_tokenizer(GOLDEN)
  size = tokenizer.table.vocab_size
  if family == 'bert':
    model = toys.encoder_config(vocab_size=size)
  else:
    model = toys.family_config(family, vocab_size=size)
  params = toys.params(families.build(model, heads, num_outputs))
  folder.mkdir()
  experiment = ConvertedModel(
    model=model, family=family, heads=tuple(heads), task=task, facts=facts
  )
  save_model(folder, experiment, tokenizer, jax.device_get(params))
  return functional.flatten(params)


def exported(tmp_path, outputs):
  """Held against transformers in both directions; returns config.json."""
  convert(str(tmp_path / 'run'), tmp_path / 'out', output_format='huggingface')
  convert(str(tmp_path / 'out'), tmp_path / 'back')
  for name in ('out', 'back'):
    record = json.loads((tmp_path / name / 'parity.json').read_text())
    assert record['missing_keys'] == record['unexpected_keys'] == []
    assert outputs in record['largest_difference']
    assert max(record['largest_difference'].values()) < 1e-4, record
  return json.loads((tmp_path / 'out' / 'config.json').read_text())


@pytest.mark.parametrize('family', FAMILIES)
def test_a_label_for_each_word(transformers, tmp_path, family):
  before = workdir_of(
    *(tmp_path / 'run', family, TaggingConfig(), {'labels': LABELS}),
    *(['token_classifier'], len(LABELS)),
  )
  config = exported(tmp_path, 'token_class_logits')
  assert config['architectures'][0].endswith('ForTokenClassification')
  auto = transformers.AutoModelForTokenClassification
  theirs = auto.from_pretrained(tmp_path / 'out').eval()
  assert theirs.config.id2label == dict(enumerate(LABELS))
  after = functional.flatten(inference.load(tmp_path / 'back')._params)
  assert before.keys() == after.keys()
  # Rows of positions before the first are not used, and not always there.
  words = ('this', 'array', 'returns', 'a', 'value')
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  batch = tokenizer([' '.join(words)], return_tensors='pt')
  logits = theirs(**batch).logits[0].detach().numpy()
  starts = [
    batch.char_to_token(0, len(' '.join(words[:n])) + (n > 0))
    for n in range(len(words))
  ]
  expected = [LABELS[n] for n in np.argmax(logits[starts], axis=-1)]
  for folder in ('run', 'out', 'back'):
    assert inference.load(tmp_path / folder).predict([words]) == [expected]


@pytest.mark.parametrize('family', FAMILIES)
def test_a_number_for_a_text(transformers, tmp_path, family):
  workdir_of(
    *(tmp_path / 'run', family, RegressionConfig(), {}),
    *(['pooler', 'classifier'], 1),
  )
  config = exported(tmp_path, 'class_logits')
  assert config['problem_type'] == 'regression'
  auto = transformers.AutoModelForSequenceClassification
  theirs = auto.from_pretrained(tmp_path / 'out').eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  pairs = [('this array', 'returns a value'), ('two matrices', 'take it')]
  batch = tokenizer(
    *map(list, zip(*pairs, strict=True)), padding=True, return_tensors='pt'
  )
  expected = theirs(**batch).logits[:, 0].detach().numpy()
  for folder in ('run', 'out', 'back'):
    found = inference.load(tmp_path / folder).predict(pairs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_score_for_a_document(transformers, tmp_path):
  """A CrossEncoder's score; its folder of version 6 is read too.

  Its head is that of a number for a text.
  """
  import torch

  workdir_of(
    *(tmp_path / 'run', 'modernbert', RerankingConfig(), {}),
    *(['pooler', 'classifier'], 1),
  )
  config = exported(tmp_path, 'class_logits')
  auto = transformers.AutoModelForSequenceClassification
  theirs = auto.from_pretrained(tmp_path / 'out').eval()
  assert theirs.config.num_labels == 1
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  query, documents = 'this array', ['returns a value', 'two matrices', 'take']
  pairs = [(query, document) for document in documents]
  batch = tokenizer(
    *map(list, zip(*pairs, strict=True)), padding=True, return_tensors='pt'
  )
  logits = theirs(**batch).logits[:, 0].detach()
  mark = config['sentence_transformers']['activation_fn']
  module, _, name = mark.rpartition('.')
  assert (module, name) == ('torch.nn.modules.activation', 'Sigmoid')
  expected = torch.sigmoid(logits).numpy()
  del theirs.config.sentence_transformers
  for part in (theirs, tokenizer):
    part.save_pretrained(tmp_path / 'theirs')
  (tmp_path / 'theirs' / 'config_sentence_transformers.json').write_text(
    json.dumps({'model_type': 'CrossEncoder', 'activation_fn': mark})
  )
  for folder in ('run', 'out', 'back', 'theirs'):
    model = inference.load(tmp_path / folder)
    np.testing.assert_allclose(model.predict(pairs), expected, atol=1e-4)
    ranked = [one.index for one in model.rerank(query, documents)]
    assert ranked == np.argsort(-expected).tolist()


@pytest.mark.parametrize('family', FAMILIES)
def test_a_choice_among_texts(transformers, tmp_path, family):
  """Scores and loss are theirs, although ours are packed in one row."""
  import torch

  workdir_of(
    *(tmp_path / 'run', family, MultipleChoiceConfig(), {}),
    *(['pooler', 'choice_head'], 1),
  )
  config = exported(tmp_path, 'choice_logits')
  assert config['architectures'][0].endswith('ForMultipleChoice')
  auto = transformers.AutoModelForMultipleChoice
  theirs = auto.from_pretrained(tmp_path / 'out').eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  context, choices = 'this array', ['returns a value', 'two matrices', 'take']
  batch = tokenizer(
    [context] * len(choices), choices, padding=True, return_tensors='pt'
  )
  found = theirs(
    **{name: x[None] for name, x in batch.items()}, labels=torch.tensor([1])
  )
  expected = torch.softmax(found.logits[0], 0).detach().numpy()
  assert np.ptp(expected) > 1e-3
  for folder in ('run', 'out', 'back'):
    model = inference.load(tmp_path / folder)
    (ours,) = model.predict([(context, *choices)])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
      -np.log(ours[1]), found.loss.item(), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize('family', FAMILIES)
def test_the_span_that_answers(transformers, tmp_path, family):
  """Logits, loss and answer are theirs, on a row without padding."""
  import torch

  task = QuestionAnsweringConfig()
  workdir_of(
    *(tmp_path / 'run', family, task, {'null_threshold': 0.0}),
    *(['span_head'], 2),
  )
  config = exported(tmp_path, 'span_logits')
  assert config['architectures'][0].endswith('ForQuestionAnswering')
  auto = transformers.AutoModelForQuestionAnswering
  theirs = auto.from_pretrained(tmp_path / 'out').eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  question, context = 'which array', 'this array returns a value'
  batch = tokenizer(question, context, return_tensors='pt')
  places = [batch.char_to_token(0, context.index(w), 1) for w in ('a', 'value')]
  start, end = (torch.tensor([place]) for place in places)
  found = theirs(**batch, start_positions=start, end_positions=end)
  for folder in ('run', 'out', 'back'):
    model = inference.load(tmp_path / folder)
    ids = batch['input_ids'].numpy().astype(np.int32)
    logits_B2T = np.asarray(model._predict(model._params, ids))
    np.testing.assert_allclose(
      logits_B2T[0],
      [found.start_logits[0].detach(), found.end_logits[0].detach()],
      atol=1e-4,
    )
    objective, key = model.objective, jax.random.key(0)
    rows = {
      'input_ids': ids,
      'labels': np.array([places], np.int32),
      'label_weights': np.ones(1, np.float32),
    }
    module = model._model.bind(model._params)
    encoded = objective.encode(module, objective.prepare(rows, key), None)
    ((loss, weight),) = objective.losses(module, encoded, None)[0].values()
    np.testing.assert_allclose(loss / weight, found.loss.item(), atol=1e-4)
    best = model.answer(question, context).candidates[0]
    assert best.text == context[best.start : best.end]
    highest = np.add.outer(*logits_B2T[0])
    places_T = np.arange(ids.shape[1])
    sequence = np.array([s == 1 for s in batch.sequence_ids(0)])
    is_span = sequence[:, None] & sequence & (places_T[:, None] <= places_T)
    np.testing.assert_allclose(best.score, highest[is_span].max(), atol=1e-4)
