"""Each task through every verb: tuned, scored, predicted, shown, exported."""

import collections
import dataclasses
import json

import jax
import numpy as np
import pytest
from tuning import tuning

from bert_jax import inference
from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.jobs.convert import convert
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.predict import evaluation_table, write_predictions
from bert_jax.models.config import EncoderConfig
from bert_jax.report.page import summary, write_report
from bert_jax.tasks import entities
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.intents import IntentsConfig
from bert_jax.tasks.multiple_choice import MultipleChoiceConfig
from bert_jax.tasks.question_answering import QuestionAnsweringConfig
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.reranking import RerankingConfig
from bert_jax.tasks.sentence_embedding import SentenceEmbeddingConfig
from bert_jax.tasks.tagging import TaggingConfig
from bert_jax.train.cached_gradients import CachedConfig
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.usefixtures('without_transformers')
MODEL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)


@pytest.fixture
def tuned(small_corpus, one_device, tmp_path):
  """tuned(task) -> the workdir of a short run of two seeds."""

  def run(task, **fields):
    options = dict(
      num_epochs=2, model=MODEL, tokenizer=str(small_corpus / 'tokenizer')
    )
    finetune(tuning(task, **options | fields), tmp_path / 'run')
    return tmp_path / 'run'

  return run


def predictions(model, path, output, task):
  columns = [c for c in task.columns() if not c.is_answer]
  write_predictions(model, read_examples(path, columns), output)
  return [json.loads(line) for line in output.read_text().splitlines()]


def best_run(workdir):
  results = json.loads(Workdir(workdir).results.read_text())
  return results, results['runs'][results['best_seed']]


def there_and_back(workdir, tmp_path):
  """(config.json of the export, the model of it, that of a workdir of it)."""
  out, back = tmp_path / 'out', tmp_path / 'back'
  convert(str(workdir), out, output_format='huggingface')
  convert(str(out), back)
  config = json.loads((out / 'config.json').read_text())
  return config, inference.load(out), inference.load(back)


def check_rows_by_length(model, examples, monkeypatch):
  """Rows of like length together give what all give as long as the longest."""
  features = model.task.featurize(
    examples, model.tokenizer, model.experiment.max_length
  )
  ids = features.rows['input_ids']
  at_once = jax.device_get(model._predict(model._params, ids))
  with monkeypatch.context() as patched:
    patched.setattr(inference, 'WINDOW', 5)
    patched.setattr(inference, 'tokens_at_once', lambda: 40)
    cut = collections.Counter()
    found = [*model.results(examples, cut)]
  assert dict(cut) == features.cut
  expected = model.task.decode(at_once, features)
  for ours, theirs in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    if isinstance(theirs, str):
      assert ours == theirs
    else:
      assert ours == pytest.approx(theirs, abs=1e-6)


def test_regression(tuned, tmp_path, monkeypatch):
  """Long texts have high numbers."""
  words = 'the function returns a random number'.split()
  rows = [(' '.join(words[:n]), 'this array', str(n / 2)) for n in range(1, 7)]
  lines = ['one\ttwo\tscore', *('\t'.join(row) for row in rows * 4)]
  path = tmp_path / 'data.tsv'
  path.write_text('\n'.join(lines) + '\n')
  task = RegressionConfig(
    train_path=str(path),
    eval_path=str(path),
    text_columns=('one,two',),
    label_column='score',
  )
  workdir = tuned(task, num_epochs=12, max_length=24)
  results, best = best_run(workdir)
  assert results['task'] == 'regression' and results['metric'] == 'pearson'
  assert results['numbers']['train'] == {
    'smallest': 0.5,
    'largest': 3.0,
    'mean': 1.75,
  }
  assert best['pearson'] > 0.3
  model = inference.load(workdir)
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  table = evaluation_table(model, examples)
  for figure in ('pearson', 'spearman', 'eval_loss'):
    assert f'{figure} {best[figure]:.4f}' in table
  found = predictions(model, path, tmp_path / 'out.jsonl', task)
  assert [(line['record'], line['line']) for line in found] == [
    (n, n + 1) for n in range(1, 25)
  ]
  texts = [(one, two) for one, two, _ in rows] * 4
  values = model.predict(texts)
  assert values.dtype == np.float32
  np.testing.assert_array_equal(values, [line['value'] for line in found])
  page = write_report(workdir).read_text()
  assert 'Pearson correlation not above 0.000, that of a constant' in page
  assert 'Pearson correlation' in page and 'numbers 0.5 to 3' in page
  assert f'Pearson correlation {results["summary"]["pearson"]["mean"]:.4f}' in (
    summary(workdir)
  )
  config, *models = there_and_back(workdir, tmp_path)
  assert config['architectures'] == ['BertForSequenceClassification']
  assert config['problem_type'] == 'regression'
  assert config['id2label'] == {'0': 'LABEL_0'}
  for again in models:
    assert again.experiment.task.name == 'regression'
    np.testing.assert_allclose(again.predict(texts), values, atol=1e-5)
  with pytest.raises(InputError, match='fill_mask .* is a regression'):
    model.fill_mask('a [MASK]')
  with pytest.raises(InputError, match='answer needs .* is a regression'):
    model.answer('a', 'b')
  ranked = model.rerank(words[0], ['this array', 'a value'])
  assert [one.score for one in ranked] == sorted(
    model.predict([(words[0], one) for one in ('this array', 'a value')]),
    reverse=True,
  )


def test_tagging(tuned, tmp_path, monkeypatch):
  """'array' and what follows it are an entity; some sentences are long."""
  sentences = [
    'the array values hold a number'.split(),
    'this function returns the array number'.split(),
    ['the', 'function', *['takes', 'every'] * 10, 'array', 'value', '\u200b'],
  ]
  lines = []
  for words in sentences * 6:
    before = ''
    for word in words:
      label = 'B-ARRAY' if word == 'array' else 'O'
      label = 'I-ARRAY' if before == 'array' else label
      lines.append(f'{word} {label}')
      before = word
    lines.append('')
  path = tmp_path / 'data.conll'
  path.write_text('\n'.join(lines))
  task = TaggingConfig(train_path=str(path), eval_path=str(path))
  workdir = tuned(task, num_epochs=12)
  results, best = best_run(workdir)
  assert results['labels'] == ['B-ARRAY', 'I-ARRAY', 'O']
  assert results['num_train'] == results['num_eval'] == 18
  assert results['label_counts']['eval']['I-ARRAY'] == 18
  assert best['f1'] > 0.5 and best['accuracy'] > 0.9
  model = inference.load(workdir)
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  table = evaluation_table(model, examples)
  for figure in ('f1', 'precision', 'recall', 'strict_f1', 'accuracy'):
    assert f'{figure} {best[figure]:.4f}' in table
  assert 'ARRAY' in table
  found = predictions(model, path, tmp_path / 'out.jsonl', task)
  assert [line['record'] for line in found] == list(range(1, 19))
  for line, words in zip(found, sentences * 6, strict=True):
    assert line['words'] == words
    assert len(line['labels']) == len(line['probabilities']) == len(words)
  labels = model.predict([tuple(words) for words in sentences])
  assert labels == [line['labels'] for line in found[:3]]
  text = ' '.join(sentences[0])
  pieces = model.tag(text)
  assert [(one.text, one.label, one.start) for one in pieces] == [
    (' '.join(sentences[0][first : last + 1]), kind, text.index('array'))
    for kind, first, last in entities.found(labels[0])
  ]
  assert pieces and all(0 < one.score <= 1 for one in pieces)
  assert model.tag(sentences[0]) == pieces
  for nothing in (' ', [], ['a', ' ']):
    with pytest.raises(InputError, match='has no words, or an empty one; fill'):
      model.tag(nothing)
  page = write_report(workdir).read_text()
  assert 'entity F1 not above 0.0%, that of no entity at all' in page
  assert 'Entity F1' in page and '3 labels of words' in page
  config, *models = there_and_back(workdir, tmp_path)
  assert config['architectures'] == ['BertForTokenClassification']
  assert config['id2label'] == {'0': 'B-ARRAY', '1': 'I-ARRAY', '2': 'O'}
  short = [tuple(words) for words in sentences[:2]]
  for again in models:
    assert again.experiment.task.name == 'tagging'
    assert again.predict(short) == labels[:2]
  with pytest.raises(InputError, match='fill_mask .* is a tagger of words'):
    model.fill_mask('a [MASK]')


def test_intents(tuned, tmp_path, monkeypatch):
  """Some sentences are long, some of the held-out ones have no intent."""
  sentences = [
    ('this array values returns', 'O B-what O O', 'give'),
    (
      'the matrix returns ' + 9 * 'every number ',
      'O B-what O ' + 18 * 'O ',
      'take',
    ),
    ('the function takes', 'O O O', 'run'),
  ]
  head, train, held_out = (
    'text\tslots\tintent',
    *(
      ['\t'.join(row) for row in [*sentences * 6, *more]]
      for more in ((), [('random random random', 'O O O', 'none')] * 6)
    ),
  )
  paths = [tmp_path / name for name in ('train.tsv', 'eval.tsv')]
  for path, lines in zip(paths, (train, held_out), strict=True):
    path.write_text('\n'.join([head, *lines]) + '\n')
  task = IntentsConfig(
    train_path=str(paths[0]), eval_path=str(paths[1]), out_of_scope='none'
  )
  workdir = tuned(task, num_epochs=12)
  results, best = best_run(workdir)
  assert results['task'] == 'intents' and results['metric'] == 'exact'
  assert results['intents'] == ['give', 'run', 'take']
  assert results['slots'] == ['B-what', 'O']
  assert results['intent_counts']['eval']['none'] == 6
  assert best['intent_accuracy'] == 0.75 and best['slot_f1'] == 1
  assert best['best_intent_accuracy'] >= 0.75 and 0 <= best['auroc'] <= 1
  model = inference.load(workdir)
  assert model.task.facts['threshold'] == results['threshold']
  examples = read_examples(paths[1], task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  # The threshold is that of the best seed's own results.
  table = evaluation_table(model, examples)
  assert f'intent_accuracy {best["best_intent_accuracy"]:.4f}' in table
  found = predictions(model, paths[1], tmp_path / 'out.jsonl', task)
  assert len(found) == 24 and {*found[0]} == {
    *('record', 'line', 'intent', 'probability', 'words', 'slots')
  }
  for line, (text, *_) in zip(found, sentences, strict=False):
    assert line['words'] == text.split()
    is_out = line['probability'] < results['threshold']
    assert (line['intent'] == 'none') == is_out
  texts = [tuple(text.split()) for text, *_ in sentences]
  for value, line in zip(model.predict(texts), found, strict=False):
    assert value.intent == line['intent'] and value.slots == line['slots']
    assert value.probability == pytest.approx(line['probability'], abs=1e-6)
  page = write_report(workdir).read_text()
  assert 'Slots' in page and '3 intents' in page and 'AUROC' in page
  with pytest.raises(InputError, match='no other library|has no class'):
    convert(str(workdir), tmp_path / 'out', output_format='huggingface')


def test_multiple_choice(tuned, tmp_path, monkeypatch):
  """Right is the choice with 'matrix'; examples have two to four choices."""
  wrong = ['a number', 'every function takes a value', 'this array']
  lines = []
  for number in range(24):
    choices = wrong[: 1 + number % 3]
    choices.insert(number % 2, 'the matrix returns')
    record = {'context': 'the function', 'choices': choices}
    lines.append(json.dumps(record | {'label': number % 2, 'id': number}))
  path = tmp_path / 'data.jsonl'
  path.write_text('\n'.join(lines) + '\n')
  task = MultipleChoiceConfig(train_path=str(path), eval_path=str(path))
  workdir = tuned(task, num_epochs=8)
  results, best = best_run(workdir)
  assert results['task'] == 'multiple_choice'
  assert results['choices']['eval'] == {'2': 8, '3': 8, '4': 8}
  assert best['details']['hits'].count('1') / 24 == best['accuracy']
  assert best['accuracy'] > 0.6
  model = inference.load(workdir)
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  table = evaluation_table(model, examples)
  for figure in ('accuracy', 'eval_loss'):
    assert f'{figure} {best[figure]:.4f}' in table
  found = predictions(model, path, tmp_path / 'out.jsonl', task)
  values = model.predict(examples.texts)
  for line, texts, mine in zip(found, examples.texts, values, strict=True):
    assert line['text'] == texts[1 + line['choice']]
    assert line['choice'] == np.argmax(mine)
    np.testing.assert_allclose(line['probabilities'], mine, rtol=1e-6)
    assert len(mine) == len(texts) - 1
    np.testing.assert_allclose(mine.sum(), 1, rtol=1e-6)
  page = write_report(workdir).read_text()
  assert '2 to 4 choices, by chance 0.361' in page and 'By chance' in page
  config, *models = there_and_back(workdir, tmp_path)
  assert config['architectures'] == ['BertForMultipleChoice']
  for again in models:
    assert again.experiment.task.name == 'multiple_choice'
    for ours, theirs in zip(values, again.predict(examples.texts), strict=True):
      np.testing.assert_allclose(ours, theirs, atol=1e-6)
  with pytest.raises(InputError, match='fill_mask .* chooses among texts'):
    model.fill_mask('a [MASK]')


def ranked_pairs(path):
  """Six queries with four documents; right is the one with 'matrix'."""
  words = 'array number value matrix'.split()
  lines = [
    f'the {query}\tthis {word} {"every " * (place % 3)}\t{word == "matrix":d}'
    for query in [*words, 'function', 'random']
    for place, word in enumerate(words)
  ]
  path.write_text('\n'.join(['query\tdocument\tlabel', *lines]) + '\n')
  return str(path)


def test_reranking(tuned, tmp_path, monkeypatch, capsys):
  """Pairs with labels; then a query, its positive and negatives in columns."""
  path = ranked_pairs(tmp_path / 'pairs.tsv')
  measured = dict(eval_path=path, metric='average_precision')
  task = RerankingConfig(train_path=path, **measured)
  # The published 0.02 would let so small a model learn too slowly.
  encoder = dataclasses.replace(MODEL, initializer_stddev=0.2)
  options = dict(num_seeds=1, max_length=24, dropout=0.0, model=encoder)
  workdir = tuned(task, num_epochs=6, **options)
  results, best = best_run(workdir)
  assert results['task'] == 'reranking'
  of_part = {'queries': 6, 'documents': 24, 'right': 6}
  assert results['ranked'] == {'train': of_part, 'eval': of_part}
  assert best['ndcg_at_10'] > 0.9 and best['average_precision'] > 0.5
  model = inference.load(workdir)
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  table = evaluation_table(model, examples)
  for figure in ('ndcg_at_10', 'recall_at_1', 'average_precision', 'accuracy'):
    assert f'{figure} {best[figure]:.4f}' in table
  found = predictions(model, path, tmp_path / 'out.jsonl', task)
  assert found[0].keys() == {'record', 'line', 'score'}
  scores = model.predict(examples.texts)
  np.testing.assert_allclose(scores, [line['score'] for line in found])
  query, documents = 'the array', [text for _, text in examples.texts[:4]]
  ranked = model.rerank(query, documents)
  assert [one.index for one in ranked] == np.argsort(-scores[:4]).tolist()
  for one in ranked:
    assert one.text == documents[one.index]
    np.testing.assert_allclose(one.score, scores[one.index], atol=1e-6)
  assert [x.index for x in model.rerank(query, documents, top_k=1)] == [3]
  assert model.rerank(query, []) == []
  for arguments, message in (
    ((query, ['a', ' ']), 'document 1 is empty; fill'),
    (('', ['a']), 'the query is empty'),
    ((query, 'a b'), r'list of documents; put it in \[ \]'),
  ):
    with pytest.raises(InputError, match=message):
      model.rerank(*arguments)
  with pytest.raises(InputError, match='top_k is 0; give 1 or more'):
    model.rerank(query, documents, top_k=0)
  with pytest.raises(InputError, match='needs a query and a document; give bo'):
    model.predict([('a',)])
  said = 'answer needs .* is a reranker, and predict, rerank and embed work'
  with pytest.raises(InputError, match=said):
    model.answer('a', 'b')
  page = write_report(workdir).read_text()
  assert 'NDCG@10' in page and '6 queries, 24 documents' in page
  chance = np.mean(1 / np.log2([2, 3, 4, 5]))
  assert results['ndcg_of_chance'] == {'eval': pytest.approx(chance)}
  config, *models = there_and_back(workdir, tmp_path)
  assert config['architectures'] == ['BertForSequenceClassification']
  assert 'problem_type' not in config
  for again in models:
    assert again.experiment.task.name == 'reranking'
    np.testing.assert_allclose(again.predict(examples.texts), scores, atol=1e-5)
  groups = tmp_path / 'groups.tsv'
  groups.write_text(
    'q\tp\tn\n' + 'the array\tthis matrix every\tthis value holds\n' * 8
  )
  task = RerankingConfig(
    train_path=str(groups),
    eval_path=path,
    train_columns=('q', 'p', 'n'),
    loss='listwise',
  )
  # Without its mark, the folder holds a regression, whose head is kept.
  del config['sentence_transformers']
  (tmp_path / 'out' / 'config.json').write_text(json.dumps(config))
  assert inference.load(tmp_path / 'out').experiment.task.name == 'regression'
  options = dict(init_from=str(tmp_path / 'out'), num_seeds=1, num_epochs=1)
  finetune(tuning(task, **options), tmp_path / 'other')
  assert 'new: none; left out: none' in capsys.readouterr().out
  results, best = best_run(tmp_path / 'other')
  assert results['ranked']['train']['documents'] == 16
  assert best['ndcg_at_10'] > 0.5 and 'accuracy' not in best


def test_classification_of_rows_by_length(tuned, tmp_path, monkeypatch):
  words = 'the function returns a random number of every array'.split()
  texts = [' '.join(words[:n]) for n in range(10)]
  lines = [f'{text}\t{other}\tab' for text in texts for other in texts[:3]]
  path = tmp_path / 'data.tsv'
  path.write_text(
    'one\ttwo\tlabel\n' + '\n'.join(x[:-1] + 'ab'[len(x) % 2] for x in lines)
  )
  task = ClassificationConfig(
    train_path=str(path),
    eval_path=str(path),
    text_columns=('one,two',),
    label_column='label',
  )
  model = inference.load(tuned(task, max_length=10))
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)


def sentences(path, with_scores):
  """Pairs with a word in common, or without one and a lower score."""
  words = 'array matrix number value function random'.split()
  lines = []
  for number in range(24):
    word, other = words[number % 6], words[(number + 1 + number // 6) % 6]
    pair = f'the {word} holds {number}\t{word} every {word}'
    lines.append(pair + ('\t5' if with_scores else ''))
    if with_scores:
      lines.append(f'the {word} of {number}\t{other} returns {other}\t1')
  head = 'one\ttwo' + ('\tscore' if with_scores else '')
  path.write_text('\n'.join([head, *lines]) + '\n')
  return str(path)


def test_sentence_embedding(tuned, tmp_path, monkeypatch):
  """Tuned on pairs in cached parts, measured on scored ones."""
  pairs = sentences(tmp_path / 'pairs.tsv', False)
  scored = sentences(tmp_path / 'scored.tsv', True)
  task = SentenceEmbeddingConfig(
    train_path=pairs,
    eval_path=scored,
    text_columns=('one,two',),
    label_column='score',
    train_columns=('one,two',),
    pooling='max',
    matryoshka_dims=(16, 8),
    vector_dim=8,
  )
  cached = CachedConfig(num_parts=2)
  workdir = tuned(task, num_epochs=6, max_length=24, gradients=cached)
  results, best = best_run(workdir)
  assert results['task'] == 'sentence_embedding'
  assert results['metric'] == 'spearman' and best['spearman'] > 0.5
  assert results['texts']['train'] == {'an_example': 2, 'different': 30}
  assert results['numbers'].keys() == {'eval'}
  model = inference.load(workdir)
  examples = read_examples(scored, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  assert f'spearman {best["spearman"]:.4f}' in evaluation_table(model, examples)
  found = predictions(model, scored, tmp_path / 'out.jsonl', task)
  assert found[0].keys() == {'record', 'line', 'similarity'}
  ones, others = zip(*examples.texts, strict=True)
  embedded = model.similarity(ones, others).diagonal()
  values = [line['similarity'] for line in found]
  np.testing.assert_allclose(embedded, values, atol=1e-5)
  np.testing.assert_allclose(model.predict(examples.texts), values, atol=1e-6)
  with pytest.raises(InputError, match='two texts; give both'):
    model.predict([('a',)])
  page = write_report(workdir).read_text()
  assert 'Spearman correlation' in page and 'different texts' in page
  convert(str(workdir), tmp_path / 'out', output_format='sentence_transformers')
  exported = inference.load(tmp_path / 'out')
  assert exported.embedder().form[::4] == ('max', 8)
  assert exported.embed(['a']).shape == (1, 8)
  again = exported.similarity(ones, others).diagonal()
  np.testing.assert_allclose(again, embedded, atol=1e-5)
  with pytest.raises(InputError, match='fill_mask .* is a sentence encoder'):
    model.fill_mask('a [MASK]')
  task = SentenceEmbeddingConfig(
    train_path=pairs, eval_path=pairs, text_columns=('one', 'two')
  )
  options = dict(init_from=str(workdir), num_seeds=1, num_epochs=1)
  with pytest.raises(InputError, match='24 examples, .*batch_size=24 or less'):
    finetune(tuning(task, **options, batch_size=32), tmp_path / 'other')
  finetune(tuning(task, **options), tmp_path / 'other')
  _, best = best_run(tmp_path / 'other')
  assert best['ndcg_at_10'] > 0.5 and 0 < best['recall_at_1'] <= 1
  assert 'NDCG@10' in write_report(tmp_path / 'other').read_text()


def test_labels_that_are_no_entities(tuned, tmp_path):
  path = tmp_path / 'data.conll'
  path.write_text('the D\narray N\n\na D\nmatrix N\n\n' * 4)
  task = TaggingConfig(train_path=str(path), eval_path=str(path))
  with pytest.raises(InputError, match="label 'D' is none of an .*=accuracy"):
    tuned(task)
  task.metric = 'accuracy'
  workdir = tuned(task)
  _, best = best_run(workdir)
  assert best['accuracy'] > 0 and 'f1' not in best
  assert 'Accuracy of words' in write_report(workdir).read_text()
  model = inference.load(workdir)
  found = model.tag('the array, a')
  assert [one.text for one in found] == ['the', 'array', ',', 'a']
  assert {one.label for one in found} <= {'D', 'N'}
  with pytest.raises(
    InputError, match='rerank needs .* predict, tag and embed'
  ):
    model.rerank('a', ['b'])


def test_question_answering(tuned, tmp_path, monkeypatch):
  """The answer is what follows 'returns'; some contexts say it nowhere."""
  long = ' '.join(['this array holds a matrix'] * 8)
  rows = []
  for number in range(24):
    word = ('values', 'a number', 'every function')[number % 3]
    context = f'the function returns {word} . {long if number % 6 == 0 else ""}'
    answers = [{'text': word, 'answer_start': context.index(word)}]
    if number % 4 == 3:
      context, answers = f'the function takes {word} .', []
    qas = [
      {
        'id': f'q{number}',
        'question': 'what returns the function',
        'answers': answers,
      }
    ]
    rows.append({'context': context, 'qas': qas})
  path = tmp_path / 'data.json'
  path.write_text(json.dumps({'data': [{'title': 'a', 'paragraphs': rows}]}))
  task = QuestionAnsweringConfig(
    train_path=str(path), eval_path=str(path), unanswerable=True, num_best=2
  )
  workdir = tuned(task, num_epochs=12, max_length=24)
  results, best = best_run(workdir)
  assert results['task'] == 'question_answering'
  assert results['questions']['eval'] == {'answerable': 18, 'unanswerable': 6}
  assert results['null_threshold'] == best['best_f1_threshold'] != 0
  hits = best['details']['hits']
  assert hits.count('1') / len(hits) == pytest.approx(best['exact'])
  assert best['best_f1'] >= best['f1'] and best['best_f1'] > 0.4
  model = inference.load(workdir)
  assert model.task.facts == {'null_threshold': results['null_threshold']}
  # With the threshold that was found, the best figures are the figures.
  examples = read_examples(path, task.columns())
  check_rows_by_length(model, examples, monkeypatch)
  table = evaluation_table(model, examples)
  assert f' f1 {best["best_f1"]:.4f}' in table
  assert f'best_f1 {best["best_f1"]:.4f}' in table
  found = predictions(model, path, tmp_path / 'out.jsonl', task)
  assert len(found) == 24 and len(found[0]['candidates']) == 2
  for line, (question, context) in zip(found, examples.texts, strict=True):
    answer = model.answer(question, context)
    assert answer.text == line['text']
    is_null = line['null_difference'] > results['null_threshold']
    assert is_null == (answer.start is None) == (not answer.text)
    if answer.text:
      assert context[line['start'] : line['end']] == line['text']
  page = write_report(workdir).read_text()
  assert 'F1 of answers' in page and '6 of them without an answer' in page
  config, *models = there_and_back(workdir, tmp_path)
  assert config['architectures'] == ['BertForQuestionAnswering']
  for again in models:
    # The threshold has no place in the config of others.
    assert again.experiment.task.name == 'question_answering'
    for line, texts in zip(found[:6], examples.texts, strict=False):
      answer = again.answer(*texts)
      assert answer.text == line['candidates'][0]['text']
  with pytest.raises(InputError, match='fill_mask .* that answers questions'):
    model.fill_mask('a [MASK]')
  task.unanswerable = False
  with pytest.raises(InputError, match='question 1: the question has no ans'):
    finetune(tuning(task, init_from=str(workdir)), tmp_path / 'other')
