"""What transformers makes of our exports: marked `interop`, run by .ci/run.

Needs torch and transformers; the ordinary suite does not collect it.
"""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import toys
from golden_models import load_golden, numbers, params_of
from safetensors.numpy import load_file, save_file
from trained_tokenizers import FORMS, sentencepiece_model, train_on

from bert_jax import inference
from bert_jax.config.codec import encode
from bert_jax.data.tokenizers import huggingface as huggingface_tokenizer
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.durable_files import write_json
from bert_jax.experiment import ConvertedModel
from bert_jax.interop import family as families
from bert_jax.interop import huggingface
from bert_jax.interop.bert import BERT
from bert_jax.jobs.convert import convert
from bert_jax.models import config as presets
from bert_jax.models.heads import POOLINGS
from bert_jax.models.task_head import TaskHead
from bert_jax.tasks.text_rows import encode_examples
from bert_jax.train.checkpoint import save_params
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.interop

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'bert'
CLASSES = {
  'AutoModelForPreTraining': 'BertForPreTraining',
  'AutoModelForMaskedLM': 'BertForMaskedLM',
  'AutoModel': 'BertModel',
}
LABELS = ('no', 'perhaps', 'yes')
# Auto class -> the end of a class's name, and the outputs that are compared.
AUTO = {
  'AutoModelForMaskedLM': ('ForMaskedLM', {'mlm_logits'}),
  'AutoModel': ('Model', set()),
  'AutoModelForSequenceClassification': (
    'ForSequenceClassification',
    {'class_logits'},
  ),
}
FAMILY_CLASSES = [
  (prefix.lower(), auto, f'{prefix}{end}', outputs)
  for prefix in ('Roberta', 'ModernBert', 'Electra', 'Albert', 'DistilBert')
  for auto, (end, outputs) in AUTO.items()
] + [
  (
    'electra',
    'AutoModelForPreTraining',
    'ElectraForPreTraining',
    {'replaced_logits'},
  )
]
TEXTS = [
  'These arrays return a random number.',
  ' unknown: Zürich, 深度学习, हिन्दी 한국어 İstanbul  ',
  'tokens that\nhold "``every\'\'" value, two of it!',
  'x' * 150,
]


@pytest.fixture(scope='module')
def transformers():
  import transformers

  transformers.logging.set_verbosity_error()
  return transformers


def assert_whole(loading) -> None:
  for name in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
    assert not loading[name], (name, loading[name])


@pytest.mark.parametrize('auto', CLASSES)
def test_an_export_loads_whole_and_computes_the_same(
  transformers, tmp_path, auto
):
  convert(
    str(GOLDEN),
    tmp_path / 'out',
    output_format='huggingface',
    architecture=CLASSES[auto],
  )
  model, loading = getattr(transformers, auto).from_pretrained(
    tmp_path / 'out', output_loading_info=True
  )
  assert type(model).__name__ == CLASSES[auto]
  assert_whole(loading)
  record = json.loads((tmp_path / 'out' / 'parity.json').read_text())
  assert record['missing_keys'] == record['unexpected_keys'] == []
  assert record['compared_with'].startswith('transformers ')
  heads = {
    'AutoModelForPreTraining': {'mlm_logits', 'next_sentence_logits'},
    'AutoModelForMaskedLM': {'mlm_logits'},
    'AutoModel': {'pooled'},
  }
  differences = record['largest_difference']
  assert set(differences) == {'hidden_states', *heads[auto]}
  assert max(differences.values()) < 1e-5, differences


@pytest.mark.parametrize('name', ['zip.bin', 'old.bin'])
def test_an_import_of_torch_files_computes_the_same(
  transformers, tmp_path, name
):
  folder = tmp_path / 'theirs'
  folder.mkdir()
  for file in ('config.json', 'vocab.txt', 'tokenizer_config.json'):
    (folder / file).write_bytes((GOLDEN / file).read_bytes())
  (folder / 'pytorch_model.bin').write_bytes((GOLDEN / name).read_bytes())
  lines = convert(str(folder), tmp_path / 'ours')
  assert 'largest difference from transformers' in lines[-1]
  record = json.loads((tmp_path / 'ours' / 'parity.json').read_text())
  assert max(record['largest_difference'].values()) < 1e-5


def test_an_untidy_folder_that_transformers_refuses(transformers, tmp_path):
  """num_labels against id2label and the weights, which agree."""
  for file in ('vocab.txt', 'tokenizer_config.json'):
    (tmp_path / file).write_bytes((GOLDEN / file).read_bytes())
  config = json.loads((GOLDEN / 'config.json').read_text()) | {
    'architectures': ['BertForSequenceClassification'],
    'id2label': {'0': 'x', '1': 'y', '2': 'z'},
    'num_labels': 2,
  }
  (tmp_path / 'config.json').write_text(json.dumps(config))
  weights = load_file(GOLDEN / 'model.safetensors') | {
    'classifier.weight': np.ones((3, 16), np.float32),
    'classifier.bias': np.ones(3, np.float32),
  }
  weights = {n: x for n, x in weights.items() if not n.startswith('cls.')}
  save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
  lines = convert(str(tmp_path), tmp_path / 'ours')
  assert any('num_labels is 2' in line for line in lines)
  assert 'not compared: transformers cannot load it' in lines[-1]
  assert labels_of(tmp_path / 'ours') == ['x', 'y', 'z']


def test_a_pretrained_encoder_without_a_pooler(
  transformers, finished_run, tmp_path
):
  convert(str(finished_run), tmp_path / 'out', output_format='huggingface')
  _, loading = transformers.AutoModelForMaskedLM.from_pretrained(
    tmp_path / 'out', output_loading_info=True
  )
  assert_whole(loading)
  lines = convert(
    str(finished_run),
    tmp_path / 'bare',
    output_format='huggingface',
    architecture='BertModel',
  )
  assert any('add_pooling_layer=False' in line for line in lines)
  _, loading = transformers.AutoModel.from_pretrained(
    tmp_path / 'bare', output_loading_info=True, add_pooling_layer=False
  )
  assert_whole(loading)


def labels_of(folder) -> list[str]:
  return inference.load(folder).task.facts['labels']


def test_a_classifier_keeps_its_labels_and_probabilities(
  transformers, small_tokenizer, tmp_path
):
  import torch

  model = toys.encoder_config(vocab_size=small_tokenizer.table.vocab_size)
  labels = ['no', 'perhaps', 'yes']
  params = families.build(model, ['pooler', 'classifier'], len(labels)).init(
    jax.random.key(0)
  )
  huggingface.write(
    tmp_path,
    BERT,
    'BertForSequenceClassification',
    model,
    params,
    head=TaskHead(output_names=tuple(labels)),
    pad_id=small_tokenizer.table.pad_id,
    cls_id=small_tokenizer.table.cls_id,
    sep_id=small_tokenizer.table.sep_id,
  )
  huggingface_tokenizer.save(small_tokenizer, tmp_path, max_length=32)
  auto = transformers.AutoModelForSequenceClassification
  theirs, loading = auto.from_pretrained(tmp_path, output_loading_info=True)
  assert_whole(loading)
  assert theirs.config.id2label == dict(enumerate(labels))
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
  pairs = [('this array', 'returns a value'), ('two matrices', 'take it')]
  batch = tokenizer(
    *map(list, zip(*pairs, strict=True)), padding=True, return_tensors='pt'
  )
  with torch.no_grad():
    expected = theirs.eval()(**batch).logits.softmax(-1).numpy()
  ours = inference.load(tmp_path)
  assert ours.task.facts['labels'] == labels
  np.testing.assert_allclose(ours.predict(pairs), expected, atol=1e-5)


@pytest.mark.parametrize('kind, lowercase', FORMS)
def test_auto_tokenizer_gives_the_same_ids(
  transformers, small_text, tmp_path, kind, lowercase
):
  ours = train_on(small_text, kind, lowercase, tmp_path / 'ours')
  out = tmp_path / 'theirs'
  out.mkdir()
  huggingface_tokenizer.save(ours, out, max_length=64)
  (out / 'config.json').write_text('{"model_type": "bert"}')
  theirs = transformers.AutoTokenizer.from_pretrained(out)
  ids = [part.tolist() for part in ours.encode_batch(TEXTS)]
  assert theirs(TEXTS, add_special_tokens=False)['input_ids'] == ids
  table = ours.table
  pair = theirs(TEXTS[0], TEXTS[2])
  first = [table.cls_id, *ids[0], table.sep_id]
  assert pair['input_ids'] == [*first, *ids[2], table.sep_id]
  second = len(ids[2]) + 1
  assert pair['token_type_ids'] == [0] * len(first) + [1] * second
  assert theirs.mask_token_id == table.mask_id
  assert theirs.pad_token_id == table.pad_id


@pytest.fixture(scope='module')
def family_workdirs(tmp_path_factory):
  """family -> a workdir with the parameters of its golden file, all heads."""
  tokenizer = load_tokenizer(GOLDEN)
  found = {}
  for family in sorted({family for family, *_ in FAMILY_CLASSES}):
    golden = load_golden(family)
    model = getattr(presets, f'{family}_base')(**numbers(golden, 'sizes'))
    if family == 'modernbert':
      # Two entries of the table that fill it up, as vocab_multiple has them.
      model = dataclasses.replace(model, vocab_size=59, vocab_multiple=61)
    params = params_of(golden)
    workdir = Workdir(tmp_path_factory.mktemp(family))
    heads = tuple(name for name in params if name != 'encoder')
    experiment = ConvertedModel(
      model=model, family=family, heads=heads, facts={'labels': [*LABELS]}
    )
    write_json(workdir.config, encode(experiment))
    tokenizer.save(workdir.tokenizer)
    save_params(workdir.checkpoints, params)
    found[family] = workdir.path
  return found


def test_a_sentence_order_head_computes_the_same(transformers, tmp_path):
  import torch

  config = transformers.AlbertConfig(
    **dict(vocab_size=55, embedding_size=8, hidden_size=16),
    **dict(num_attention_heads=2, intermediate_size=32, num_hidden_layers=2),
    initializer_range=0.3,
  )
  torch.manual_seed(0)
  theirs = tmp_path / 'theirs'
  transformers.AlbertForPreTraining(config).save_pretrained(theirs)
  for file in ('vocab.txt', 'tokenizer_config.json'):
    (theirs / file).write_bytes((GOLDEN / file).read_bytes())
  convert(str(theirs), tmp_path / 'ours')
  convert(str(tmp_path / 'ours'), tmp_path / 'out', output_format='huggingface')
  for name in ('ours', 'out'):
    record = json.loads((tmp_path / name / 'parity.json').read_text())
    assert record['architecture'] == 'AlbertForPreTraining'
    assert record['missing_keys'] == record['unexpected_keys'] == []
    differences = record['largest_difference']
    assert 'sentence_order_logits' in differences
    assert max(differences.values()) < 1e-4, differences


def test_roberta_sees_pairs_as_it_was_trained(transformers, tmp_path):
  """Two separators: in its own files, in a workdir, and in what is exported."""
  import torch

  letters = [*'abcdefghijklmnopqrstuvwxyz', '\u0120', 'th', 'the']
  tokens = ['<s>', '<pad>', '</s>', '<unk>', *letters, '<mask>']
  config = transformers.RobertaConfig(
    **dict(vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1),
    **dict(num_attention_heads=2, intermediate_size=32, type_vocab_size=1),
    **dict(max_position_embeddings=66, num_labels=3, initializer_range=0.5),
  )
  torch.manual_seed(0)
  theirs = transformers.RobertaForSequenceClassification(config).eval()
  folder, ours, out = (tmp_path / name for name in ('theirs', 'ours', 'out'))
  theirs.save_pretrained(folder)
  vocab = {token: i for i, token in enumerate(tokens)}
  (folder / 'vocab.json').write_text(json.dumps(vocab))
  (folder / 'merges.txt').write_text('#version: 0.2\nt h\nth e\n')
  convert(str(folder), ours)
  convert(str(ours), out, output_format='huggingface')
  pairs = [('the arrays', 'they sum'), ('one', 'a matrix of them')]
  tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
  batch = tokenizer(
    *map(list, zip(*pairs, strict=True)), padding=True, return_tensors='pt'
  )
  with torch.no_grad():
    expected = theirs(**batch).logits.softmax(-1).numpy()
  again = transformers.AutoTokenizer.from_pretrained(out)
  for place in (folder, ours, out):
    model = inference.load(place)
    np.testing.assert_allclose(model.predict(pairs), expected, atol=1e-5)
    rows, _ = encode_examples(model.tokenizer, pairs, 32)
    for row, pair in zip(rows.tolist(), pairs, strict=True):
      ids = tokenizer(*pair)['input_ids']
      assert ids.count(2) == 3
      assert again(*pair)['input_ids'] == ids
      assert row == ids + [1] * (32 - len(ids))


@pytest.mark.parametrize('pooling', POOLINGS)
def test_a_modernbert_classifier_sees_what_theirs_sees(
  transformers, family_workdirs, tmp_path, pooling
):
  run = Workdir(
    shutil.copytree(family_workdirs['modernbert'], tmp_path / 'run')
  )
  experiment = run.read_config()
  experiment.task.pooling = pooling
  write_json(run.config, encode(experiment))
  name = 'ModernBertForSequenceClassification'
  out = tmp_path / 'out'
  convert(str(run.path), out, output_format='huggingface', architecture=name)
  convert(str(out), tmp_path / 'back')
  for folder in (out, tmp_path / 'back'):
    record = json.loads((folder / 'parity.json').read_text())
    assert record['missing_keys'] == record['unexpected_keys'] == []
    differences = record['largest_difference']
    assert set(differences) == {'hidden_states', 'class_logits'}
    assert max(differences.values()) < 1e-4, differences
  theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out)
  assert theirs.config.classifier_pooling == pooling
  tokenizer = transformers.AutoTokenizer.from_pretrained(out)
  texts = ['these arrays return a random number', 'a value']
  batch = tokenizer(texts, padding=True, return_tensors='pt')
  logits = theirs.eval()(**batch).logits
  expected = logits.softmax(-1).detach().numpy()
  found = inference.load(tmp_path / 'back').predict([(text,) for text in texts])
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
  'family, auto, name, outputs',
  [pytest.param(*case, id=case[2]) for case in FAMILY_CLASSES],
)
def test_a_family_is_exported_whole_and_computes_the_same(
  transformers, family_workdirs, tmp_path, family, auto, name, outputs
):
  out = tmp_path / 'out'
  convert(
    str(family_workdirs[family]),
    out,
    output_format='huggingface',
    architecture=name,
  )
  given = {}
  if name == 'RobertaModel':
    given['add_pooling_layer'] = False
  model, loading = getattr(transformers, auto).from_pretrained(
    out, output_loading_info=True, **given
  )
  assert type(model).__name__ == name
  assert_whole(loading)
  record = json.loads((out / 'parity.json').read_text())
  assert record['unexpected_keys'] == []
  if name == 'RobertaModel':
    assert all(key.startswith('pooler.') for key in record['missing_keys'])
    assert 'add_pooling_layer=False' in record['notes'][0]
  else:
    assert record['missing_keys'] == record['notes'] == []
  if name == 'AlbertModel':
    outputs = {'pooled'}
  differences = record['largest_difference']
  assert set(differences) == {'hidden_states', *outputs}
  assert max(differences.values()) < 1e-4, differences
  assert list(transformers.AutoTokenizer.from_pretrained(out)('a value')) == (
    ['input_ids', 'token_type_ids', 'attention_mask']
    if family in ('electra', 'albert')
    else ['input_ids', 'attention_mask']
  )
  if auto != 'AutoModelForMaskedLM':
    return
  lines = convert(str(out), tmp_path / 'ours')
  assert 'largest difference from transformers' in lines[-1]
  again = json.loads((tmp_path / 'ours' / 'parity.json').read_text())
  assert again['left_out'] == []
  assert max(again['largest_difference'].values()) < 1e-4


def test_symbols_of_albert_are_pieces_as_it_was_trained(transformers, tmp_path):
  """Its ( and -: transformers takes them out of a text where nothing says so.

  Without spaces around them, what is beside them becomes other ids there.
  """
  model = sentencepiece_model(
    ['the keeper (of a lantern) - repaired it'] * 20,
    vocab_size=40,
    user_defined_symbols='(,),-',
  )
  config = transformers.AlbertConfig(
    **dict(vocab_size=32, embedding_size=8, hidden_size=16),
    **dict(num_attention_heads=2, intermediate_size=32, num_hidden_layers=1),
  )
  folder = tmp_path / 'theirs'
  transformers.AlbertForMaskedLM(config).save_pretrained(folder)
  (folder / 'spiece.model').write_bytes(model)
  rules = {'do_lower_case': True, 'keep_accents': False}
  (folder / 'tokenizer_config.json').write_text(json.dumps(rules))
  lines = convert(str(folder), tmp_path / 'ours')
  assert any("'(', ')', '-' are pieces" in line for line in lines)
  convert(str(tmp_path / 'ours'), tmp_path / 'out', output_format='huggingface')
  for name in ('ours', 'out'):
    record = json.loads((tmp_path / name / 'parity.json').read_text())
    assert record['ids']['texts'] and not record['ids']['differing']
  exported = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
  assert '\u2581 (' in ' '.join(exported.tokenize('(the'))
