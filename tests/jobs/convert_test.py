"""Whole conversions, and runs that start from a Hugging Face folder."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from other_models import assert_same_params, flat_params
from runs import arrays, assert_same_arrays, on_one_device, stop_after
from safetensors.numpy import load_file
from tuning import classification, tuning

from bert_jax import inference
from bert_jax.config.codec import encode
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.durable_files import write_json
from bert_jax.errors import InputError
from bert_jax.experiment import ConvertedModel
from bert_jax.interop import family as families
from bert_jax.interop import huggingface
from bert_jax.interop.bert import BERT
from bert_jax.jobs.convert import convert
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models import config as presets
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import POOLINGS, model_with_heads
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.pretrained import open_pretrained, save_model
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.checkpoint import (
  CheckpointConfig,
  restore_step,
  save_params,
)
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.usefixtures('without_transformers')
GOLDEN = pathlib.Path(__file__).parents[1] / 'interop' / 'golden' / 'bert'
QUERY = 'bert.encoder.layer.1.attention.self.query.weight'
ROWS = [
  ('this array returns a random number', 'one'),
  ('these arrays return a random number', 'many'),
  ('the function takes every value', 'one'),
  ('two matrices take every value', 'many'),
]


def test_there_and_back_is_bit_equal(tmp_path):
  lines = convert(str(GOLDEN), tmp_path / 'ours')
  assert 'BertForPreTraining, 6,041 parameters' in lines[0]
  assert lines[-1] == 'not compared: transformers and torch are not installed'
  convert(
    str(tmp_path / 'ours'), tmp_path / 'theirs', output_format='huggingface'
  )
  found, expected = (
    load_file(folder / 'model.safetensors')
    for folder in (tmp_path / 'theirs', GOLDEN)
  )
  assert_same_params(found, expected)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['ours', 'theirs']
  vocab = (tmp_path / 'theirs' / 'vocab.txt').read_text()
  assert vocab == (GOLDEN / 'vocab.txt').read_text()
  record = json.loads((tmp_path / 'ours' / 'parity.json').read_text())
  assert record['left_out'] == record['notes'] == []
  assert record['compared_with'] is None
  assert record['num_parameters'] == sum(x.size for x in expected.values())


def test_a_converted_workdir_is_one_everywhere(tmp_path):
  convert(str(GOLDEN), tmp_path / 'ours')
  experiment = Workdir(tmp_path / 'ours').read_config()
  assert isinstance(experiment, ConvertedModel)
  assert experiment.heads == ('pooler', 'mlm_head', 'next_sentence_head')
  text = 'the [MASK] holds a value'
  (found,) = inference.load(tmp_path / 'ours').fill_mask(text)
  (expected,) = inference.load(GOLDEN).fill_mask(text)
  assert found == expected
  with pytest.raises(InputError, match='predict needs a classifier of'):
    inference.load(GOLDEN).predict([('a text',)])
  with pytest.raises(InputError, match='has no steps'):
    inference.load(f'{GOLDEN}@3')
  with pytest.raises(InputError, match='is a workdir already'):
    convert(str(tmp_path / 'ours'), tmp_path / 'more')
  assert not (tmp_path / 'more.partial').exists()


def test_every_checkpoint_of_a_run_can_be_exported(finished_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(finished_run, run)
  experiment = Workdir(run).read_config()
  # What a run stopped before its first step leaves.
  fresh = flat_params(f'{run}@5')
  save_params(run / 'checkpoints', functional.unflatten(fresh))
  for step, source in ((0, f'{run}@0'), (5, f'{run}@5'), (10, str(run))):
    output = tmp_path / f'exported {step}'
    lines = convert(source, output, output_format='huggingface')
    assert 'BertForMaskedLM' in lines[0]
    found = open_pretrained(str(output))
    assert found.model == experiment.model
    tokenizer = open_pretrained(str(run)).tokenizer
    assert found.tokenizer.fingerprint == tokenizer.fingerprint
    assert_same_params(flat_params(output), flat_params(source))
  (mine,) = inference.load(output).fill_mask('the [MASK] returns')
  (ours,) = inference.load(run).fill_mask('the [MASK] returns')
  assert mine == ours


def test_what_a_run_began_with_is_kept_and_exported(
  finished_run, small_experiment, tmp_path
):
  run = tmp_path / 'run'
  small_experiment.checkpoint = CheckpointConfig(
    every_steps=2, keep_last=1, keep_every=4
  )
  pretrain(small_experiment, run)
  steps = sorted(int(path.name) for path in (run / 'checkpoints').iterdir())
  assert steps == [0, 4, 8, 10]
  assert_same_arrays(run, finished_run)
  convert(f'{run}@0', tmp_path / 'out', output_format='huggingface')
  for path, leaf in flat_params(tmp_path / 'out').items():
    if path.endswith(('bias', 'scale')):
      assert np.unique(leaf) == float(path.endswith('scale')), path
    else:
      assert 0 < np.std(leaf) < 0.03, path
  message = 'no checkpoint of step 7; there are 0, 4, 8, 10$'
  with pytest.raises(InputError, match=message):
    convert(f'{run}@7', tmp_path / 'none', output_format='huggingface')
  with pytest.raises(InputError, match=message):
    restore_step(run / 'checkpoints', 7, None)


def test_pretraining_goes_on_from_a_folder(
  finished_run, small_experiment, tmp_path, monkeypatch
):
  folder = tmp_path / 'exported'
  convert(str(finished_run), folder, output_format='huggingface')
  convert(str(folder), tmp_path / 'converted')
  small_experiment.resume_from = str(tmp_path / 'converted')
  with pytest.raises(InputError, match='has parameters alone'):
    pretrain(small_experiment, tmp_path / 'run')
  small_experiment.resume_from, small_experiment.init_from = '', str(folder)
  stop_after(monkeypatch, 1)
  pretrain(small_experiment, tmp_path / 'run')
  mine, theirs = flat_params(tmp_path / 'run'), flat_params(finished_run)
  for name in mine:
    # Adam's first step is at most the learning rate.
    np.testing.assert_allclose(mine[name], theirs[name], rtol=0, atol=1.1e-2)


def test_a_folder_of_another_vocabulary_or_norm(small_experiment, tmp_path):
  small_experiment.init_from = str(GOLDEN)
  with pytest.raises(InputError, match='tokenizer is not that of the corpus'):
    pretrain(small_experiment, tmp_path / 'run')


def test_a_folder_of_another_norm(finished_run, small_experiment, tmp_path):
  folder = tmp_path / 'exported'
  convert(str(finished_run), folder, output_format='huggingface')
  config = json.loads((folder / 'config.json').read_text())
  config['layer_norm_eps'] = 0.5
  (folder / 'config.json').write_text(json.dumps(config))
  small_experiment.init_from = str(folder)
  with pytest.raises(InputError, match='--config.model.norm_epsilon=0.5'):
    pretrain(small_experiment, tmp_path / 'run')


def test_a_generator_is_exported_alone(small_tokenizer, tmp_path):
  model = presets.electra_mini(
    **dict(num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32),
    **dict(embedding_size=8, max_positions=32),
    vocab_size=small_tokenizer.table.vocab_size,
  )
  objective = ReplacedTokenConfig().build(small_tokenizer.table)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
    model_with_heads(model, objective.heads(), 'float32').abstract_params(),
  )
  run = Workdir(tmp_path / 'run')
  run.path.mkdir()
  experiment = ConvertedModel(
    model=model, family='electra', heads=tuple(objective.heads())
  )
  write_json(run.config, encode(experiment))
  small_tokenizer.save(run.tokenizer)
  save_params(run.checkpoints, params)
  whole, alone = tmp_path / 'whole', tmp_path / 'alone'
  lines = convert(str(run.path), whole, output_format='huggingface')
  assert 'ElectraForPreTraining' in lines[0]
  assert lines[1] == 'left_out: generator'
  assert '--architecture=ElectraForMaskedLM' in lines[2]
  name = 'ElectraForMaskedLM'
  lines = convert(
    str(run.path), alone, output_format='huggingface', architecture=name
  )
  assert not any('left_out' in line for line in lines)
  found = flat_params(alone)
  assert open_pretrained(str(alone)).checkpoint.heads == ('mlm_head',)
  flat = functional.flatten(params)
  for path, array in found.items():
    ours = path.removeprefix('encoder/')
    if not ours.startswith('embeddings/') or 'projection' in ours:
      ours = f'generator/{ours.removeprefix("embeddings/")}'
    else:
      ours = path
    np.testing.assert_array_equal(array, flat[ours], err_msg=path)
  heads = [path for path in flat if path.startswith('generator/')]
  shared = [path for path in found if 'encoder/embeddings/' in path]
  assert len(found) == len(heads) + len(shared) - 2


@pytest.fixture(scope='module')
def encoder_folder(small_tokenizer, tmp_path_factory) -> pathlib.Path:
  """An encoder with a pooler, as transformers writes a BertModel."""
  folder = tmp_path_factory.mktemp('encoder')
  model = EncoderConfig(
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=small_tokenizer.table.vocab_size,
    max_positions=32,
  )
  params = families.build(model, ['pooler']).init(jax.random.key(0))
  ids = dict(pad_id=0, cls_id=2, sep_id=3)
  huggingface.write(folder, BERT, 'BertModel', model, params, **ids)
  small_tokenizer.save(folder)
  return folder


@pytest.fixture(scope='module')
def tuned(encoder_folder, tmp_path_factory) -> pathlib.Path:
  """Two seeds of a classifier, of sizes that finetuning_test.py compiles."""
  folder = tmp_path_factory.mktemp('tuned')
  task = classification(folder, ROWS * 8, [*ROWS, ROWS[0]])
  with pytest.MonkeyPatch.context() as patch:
    on_one_device(patch)
    finetune(tuning(task, init_from=str(encoder_folder)), folder / 'run')
  return folder / 'run'


def test_tuning_starts_from_the_folder(tuned, encoder_folder):
  found, start = flat_params(tuned), flat_params(encoder_folder)
  assert found.keys() - start.keys() == {
    'classifier/output/kernel',
    'classifier/output/bias',
  }
  for path, leaf in start.items():
    # At most twelve steps of Adam with a learning rate of 1e-2.
    np.testing.assert_allclose(found[path], leaf, rtol=0, atol=0.13)
  pooler = found['pooler/kernel']
  assert np.corrcoef(pooler.ravel(), start['pooler/kernel'].ravel())[0, 1] > 0.3


def test_a_tuned_model_keeps_its_head_and_labels(tuned, tmp_path):
  best = json.loads(Workdir(tuned).results.read_text())['best_seed']
  lines = convert(str(tuned), tmp_path / 'out', output_format='huggingface')
  assert lines[1] == f'seed: {best}, the best of 2'
  config = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert config['architectures'] == ['BertForSequenceClassification']
  assert config['id2label'] == {'0': 'many', '1': 'one'}
  assert config['label2id'] == {'many': 0, 'one': 1}
  texts = [(text,) for text, _ in ROWS]
  expected = inference.load(tuned).predict(texts)
  found = inference.load(tmp_path / 'out')
  assert found.task.facts['labels'] == ['many', 'one']
  np.testing.assert_allclose(found.predict(texts), expected, atol=1e-5)
  convert(str(tmp_path / 'out'), tmp_path / 'back')
  again = inference.load(tmp_path / 'back')
  assert again.task.facts['labels'] == ['many', 'one']
  np.testing.assert_array_equal(again.predict(texts), found.predict(texts))


def test_a_checkpoint_of_tuning_gives_the_best_seed(tuned, tmp_path):
  best = json.loads(Workdir(tuned).results.read_text())['best_seed']
  step = max(int(p.name) for p in Workdir(tuned).checkpoints.iterdir())
  source = f'{tuned}@{step}'
  convert(source, tmp_path / 'out', output_format='huggingface')
  every = arrays(tuned, step)
  for path, leaf in flat_params(tmp_path / 'out').items():
    keys = ''.join(f"['{key}']" for key in path.split('/'))
    np.testing.assert_array_equal(leaf, every[f'params{keys}'][best])
  other = 1 - best
  lines = convert(
    source, tmp_path / 'other', output_format='huggingface', seed=other
  )
  assert lines[1] == f'seed: {other} of 2, not the best'
  for path, leaf in flat_params(tmp_path / 'other').items():
    keys = ''.join(f"['{key}']" for key in path.split('/'))
    np.testing.assert_array_equal(leaf, every[f'params{keys}'][other])


def test_a_name_of_the_hub_is_no_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match='it is not there.*hf download'):
    convert('bert-base-uncased', tmp_path / 'out')


def test_results_that_do_not_name_the_best_seed(tuned, tmp_path):
  run = Workdir(shutil.copytree(tuned, tmp_path / 'run'))
  results = json.loads(run.results.read_text())
  del results['best_seed']
  write_json(run.results, results)
  step = max(int(p.name) for p in run.checkpoints.iterdir())
  with pytest.raises(InputError, match='not say which seed was best'):
    flat_params(f'{run.path}@{step}')


def test_seeds_that_are_not_there(tuned, finished_run, tmp_path):
  for source, seed, message in (
    (tuned, 0, 'give .*@STEP, of one of its checkpoints'),
    (tuned, 2, 'the seeds of .* are 0 to 1'),
    (finished_run, 0, 'is no fine-tuning run'),
    (GOLDEN, 0, 'is a Hugging Face folder, which has no seeds'),
  ):
    with pytest.raises(InputError, match=f'--seed={seed}: .*{message}'):
      convert(str(source), tmp_path / 'out', seed=seed)


def test_the_mean_over_a_text_has_a_class_in_modernbert_alone(tuned, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tuned, run)
  text = (run / 'config.json').read_text()
  (run / 'config.json').write_text(text.replace('"cls"', '"mean"'))
  with pytest.raises(
    InputError, match='is mean, but BertForSequenceClassification of'
  ):
    convert(str(run), tmp_path / 'out', output_format='huggingface')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('pooling', POOLINGS)
def test_a_modernbert_keeps_its_pooling(tmp_path, pooling):
  """And texts are not filled up to the many positions that it has."""
  model = presets.modernbert_base(
    **dict(num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32),
    **dict(vocab_size=55, max_positions=2**16, local_window=8),
  )
  labels = ('many', 'one')
  experiment = ConvertedModel(
    **dict(model=model, family='modernbert', facts={'labels': [*labels]}),
    heads=('pooler', 'classifier'),
    task=ClassificationConfig(pooling=pooling),
  )
  run = Workdir(tmp_path / 'run')
  run.path.mkdir()
  classifier = families.build(model, experiment.heads, len(labels))
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
    classifier.abstract_params(),
  )
  save_model(run.path, experiment, load_tokenizer(GOLDEN), params)
  out = tmp_path / 'out'
  convert(str(run.path), out, output_format='huggingface')
  config = json.loads((out / 'config.json').read_text())
  assert config['architectures'] == ['ModernBertForSequenceClassification']
  assert config['classifier_pooling'] == pooling
  # Of what was written: the table of ours goes on to 64 entries.
  weights = load_file(out / 'model.safetensors')
  record = json.loads((out / 'parity.json').read_text())
  assert record['num_parameters'] == sum(x.size for x in weights.values())
  convert(str(out), tmp_path / 'back')
  assert Workdir(tmp_path / 'back').read_config().task.pooling == pooling
  texts = [(text,) for text, _ in ROWS]
  expected = inference.load(run.path).predict(texts)
  for folder in (out, tmp_path / 'back'):
    found = inference.load(folder).predict(texts)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  'flags, message',
  [
    (dict(output_format='onnx'), "output_format='onnx': choose one of workdir"),
    (dict(architecture='BertModel'), 'only with --output_format=huggingface'),
    (
      dict(output_format='huggingface', architecture='BertForQ'),
      '--architecture=BertForQ: for bert there are',
    ),
  ],
)
def test_flags_that_cannot_be(tmp_path, flags, message):
  with pytest.raises(InputError, match=message):
    convert(str(GOLDEN), tmp_path / 'out', **flags)
  assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
  (tmp_path / 'out').mkdir()
  with pytest.raises(InputError, match='out is there already'):
    convert(str(GOLDEN), tmp_path / 'out')
  folder = tmp_path / 'folder'
  folder.mkdir()
  for name in ('config.json', 'model.safetensors'):
    shutil.copy(GOLDEN / name, folder / name)
  with pytest.raises(InputError, match='there is none of vocab.txt'):
    convert(str(folder), tmp_path / 'new')
  spec = {'model': {'type': 'WordLevel', 'vocab': {}}}
  (folder / 'tokenizer.json').write_text(json.dumps(spec))
  with pytest.raises(InputError, match="model.type 'WordLevel'"):
    convert(str(folder), tmp_path / 'new')
  (folder / 'tokenizer.json').unlink()
  tokens = (GOLDEN / 'vocab.txt').read_text()
  (folder / 'vocab.txt').write_text(tokens + 'more\n')
  with pytest.raises(InputError, match='56 entries, .* only 55'):
    convert(str(folder), tmp_path / 'new')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['folder', 'out']
