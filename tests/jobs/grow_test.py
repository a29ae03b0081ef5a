"""What `grow` makes of a checkpoint: a workdir that every verb takes."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import toys
from other_models import flat_params
from runs import prepared_lines

from bert_jax import inference
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.durable_files import write_json
from bert_jax.errors import InputError
from bert_jax.experiment import ConvertedModel, FinetuneExperiment
from bert_jax.interop import family as families
from bert_jax.jobs.convert import convert
from bert_jax.jobs.grow import OTHER, ROUNDED, SAME, Growth, grow
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.pretrained import open_pretrained, save_model
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.usefixtures('without_transformers')
GOLDEN = pathlib.Path(__file__).parents[1] / 'interop' / 'golden' / 'bert'
TEXT = 'the function returns [MASK] random number'


def probabilities(path, text=TEXT) -> dict[str, float]:
  """Of all tokens in the place of the mask."""
  (found,) = inference.load(path).fill_mask(text, top_k=10_000)
  return {entry['token']: entry['probability'] for entry in found}


def assert_close(found, expected) -> None:
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, rel=1e-4), name


def write_workdir(path, experiment, tokenizer, params) -> Workdir:
  path.mkdir()
  save_model(path, experiment, tokenizer, params)
  return Workdir(path)


def write_masked_lm(path, model, tokenizer) -> Workdir:
  return write_workdir(
    path,
    ConvertedModel(model=model, heads=('mlm_head',)),
    tokenizer,
    toys.params(families.build(model, ['mlm_head'])),
  )


def with_words(tokenizer, folder, *words: str) -> str:
  """As a user does it: a copy of the folder, and lines at the end."""
  tokenizer.save(folder)
  with open(folder / 'vocab.txt', 'a') as file:
    file.write(''.join(f'{word}\n' for word in words))
  return str(folder)


def test_layers_behind_their_norm_change_no_bit(small_tokenizer, tmp_path):
  model = toys.family_config(
    'modernbert',
    num_layers=2,
    max_positions=32,
    vocab_size=small_tokenizer.table.vocab_size,
  )
  small = write_masked_lm(tmp_path / 'small', model, small_tokenizer)
  longer = Growth(
    num_layers=5, max_positions=64, rotary_theta=model.rotary_theta
  )
  lines = grow(str(small.path), tmp_path / 'grown', longer)
  assert lines[1:3] == [
    f'max_positions 32 -> 64: {SAME}',
    f'num_layers 2 -> 5: {SAME}',
  ]
  assert lines[3].endswith(
    '--config.model.num_layers=5 --config.model.max_positions=64'
  )
  assert probabilities(tmp_path / 'grown') == probabilities(small.path)


def test_a_run_goes_on_wider_deeper_and_with_more_tokens(
  finished_run, small_text, small_experiment, tmp_path
):
  run, grown = str(finished_run), tmp_path / 'grown'
  small = open_pretrained(run)
  size = small.tokenizer.table.vocab_size
  more = with_words(small.tokenizer, tmp_path / 'more', 'zeros', '##turns', 'B')
  lines = grow(run, grown, Growth(width_factor=2, tokenizer=more), seed=3)
  assert [part.partition(':')[0] for part in lines[1:3]] == [
    f'vocab_size {size} -> {size + 3}',
    'embed_dim 16 -> 32, num_heads 2 -> 4, mlp_dim 32 -> 64',
  ]
  assert '1 of the new entries will never be used' in lines[1]
  assert ROUNDED in lines[2]
  assert lines[-1] == f'its corpus needs: prepare --tokenizer={grown}/tokenizer'
  before, after = probabilities(run), probabilities(grown)
  new = {name: after.pop(name) for name in ('zeros', '##turns', 'B')}
  share = 1 - sum(new.values())
  assert_close({n: p / share for n, p in after.items()}, before)
  record = json.loads((grown / 'growth.json').read_text())
  assert record['input'] == run and record['seed'] == 3
  assert lines[0] == '{}: {:,} -> {:,} parameters'.format(
    grown, *record['num_parameters']
  )
  flat = flat_params(grown)
  table = flat['encoder/embeddings/token/embedding']
  ids = small.tokenizer.encode_batch(['zeros'])[0]
  assert len(ids) > 1
  np.testing.assert_allclose(table[size], table[ids].mean(0), atol=1e-6)

  convert(str(grown), tmp_path / 'theirs', output_format='huggingface')
  theirs = flat_params(tmp_path / 'theirs')
  for path, leaf in flat.items():
    np.testing.assert_array_equal(theirs[path], leaf, err_msg=path)

  small_experiment.init_from = str(grown)
  with pytest.raises(InputError, match='prepare the corpus with it'):
    pretrain(small_experiment, tmp_path / 'run')
  small_experiment.data.path = str(
    prepared_lines(
      small_text, load_tokenizer(grown / 'tokenizer'), tmp_path / 'corpus'
    )
  )
  flags = (
    '--config.model.embed_dim=32 --config.model.num_heads=4 '
    '--config.model.mlp_dim=64'
  )
  assert lines[-2].endswith(f'--config.init_from={grown} {flags}')
  with pytest.raises(InputError, match=f'give {flags} '):
    pretrain(small_experiment, tmp_path / 'run')
  small_experiment.model = dataclasses.replace(
    small_experiment.model, embed_dim=32, num_heads=4, mlp_dim=64
  )
  small_experiment.num_steps = 2
  small_experiment.optimizer.learning_rate = 1e-9
  pretrain(small_experiment, tmp_path / 'run')
  # So small a learning rate changes next to nothing.
  assert_close(probabilities(tmp_path / 'run'), after | new)


def test_a_folder_of_others_grows_with_all_its_heads(tmp_path):
  lines = grow(
    str(GOLDEN), tmp_path / 'grown', Growth(num_layers=4, max_positions=63)
  )
  assert lines[1:3] == [
    f'max_positions 32 -> 63: {OTHER}',
    f'num_layers 2 -> 4: {OTHER}',
  ]
  found = open_pretrained(str(tmp_path / 'grown'))
  assert found.experiment.family == 'bert'
  heads = ('mlm_head', 'next_sentence_head', 'pooler')
  assert found.experiment.heads == heads
  params = found.load_params()
  shapes = families.build(found.model, heads).abstract_params()
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
  old = open_pretrained(str(GOLDEN)).load_params()
  flat, old = functional.flatten(params), functional.flatten(old)
  name = 'encoder/embeddings/position/embedding'
  np.testing.assert_allclose(flat[name][::2], old[name], rtol=1e-6)
  for path in old.keys() - {name}:
    np.testing.assert_array_equal(flat[path], old[path], err_msg=path)


def test_rows_that_no_token_had_are_the_new_ones(small_tokenizer, tmp_path):
  size = small_tokenizer.table.vocab_size
  model = toys.encoder_config(vocab_size=size + 2, max_positions=32)
  small = write_masked_lm(tmp_path / 'small', model, small_tokenizer)
  more = with_words(small_tokenizer, tmp_path / 'more', 'zeros')
  grow(str(small.path), tmp_path / 'grown', Growth(tokenizer=more))
  grown = open_pretrained(str(tmp_path / 'grown'))
  assert grown.model == model
  assert grown.tokenizer.table.vocab_size == size + 1
  table = grown.load_params()['encoder']['embeddings']['token']['embedding']
  old = flat_params(small.path)['encoder/embeddings/token/embedding']
  ids = small_tokenizer.encode_batch(['zeros'])[0]
  np.testing.assert_array_equal(table[:size], old[:size])
  np.testing.assert_allclose(table[size], old[ids].mean(0), atol=1e-6)


def test_a_generator_grows_along_and_goes_on_guessing(
  small_tokenizer, tmp_path
):
  size = small_tokenizer.table.vocab_size
  model = toys.encoder_config(num_layers=1, embed_dim=64, vocab_size=size)
  config = ReplacedTokenConfig(generator_width=1.0)
  heads = config.build(small_tokenizer.table).heads()
  params = toys.params(model_with_heads(model, heads, 'float32'))
  small = write_workdir(
    tmp_path / 'small',
    ConvertedModel(model=model, heads=tuple(heads)),
    small_tokenizer,
    params,
  )
  grow(str(small.path), tmp_path / 'grown', Growth(width_factor=2))
  assert_close(probabilities(tmp_path / 'grown'), probabilities(small.path))


@pytest.mark.parametrize('pooling', ['cls', 'mean'])
def test_a_tuned_model_keeps_its_labels_and_pooling(
  small_tokenizer, tmp_path, pooling
):
  model = toys.encoder_config(vocab_size=small_tokenizer.table.vocab_size)
  task = ClassificationConfig(
    train_path='a.tsv', eval_path='b.tsv', text_columns=('x',), pooling=pooling
  )
  experiment = FinetuneExperiment(
    num_epochs=1, batch_size=8, num_seeds=2, task=task, model=model
  )
  params = toys.params(
    families.build(model, ['pooler', 'classifier'], num_classes=3)
  )
  tuned = write_workdir(tmp_path / 'tuned', experiment, small_tokenizer, params)
  tuned.checkpoints.rename(tuned.best)
  results = {'labels': ['p', 'q', 'r'], 'best_seed': 1}
  write_json(tuned.results, results)
  grown = tmp_path / 'grown'
  lines = grow(str(tuned.path), grown, Growth(width_factor=2))
  assert lines[1] == 'seed: 1, the best of 2'
  experiment = open_pretrained(str(grown)).experiment
  assert experiment.facts == {'labels': ['p', 'q', 'r']}
  assert experiment.task.text_columns == ('x',)
  out = tmp_path / 'out'
  if pooling == 'cls':
    convert(str(grown), out, output_format='huggingface')
    assert open_pretrained(str(out)).facts['labels'] == ['p', 'q', 'r']
    return
  with pytest.raises(InputError, match='task.pooling is mean'):
    convert(str(grown), out, output_format='huggingface')
  texts = [('the function returns',), ('these arrays hold a number',)]
  found, before = (
    inference.load(path).predict(texts) for path in (grown, tuned.path)
  )
  assert np.std(before) > 0.01
  np.testing.assert_allclose(found, before, atol=1e-5)


@pytest.mark.parametrize(
  'growth, message',
  [
    (Growth(), 'no size to grow to is given; give --num_layers, --width'),
    (Growth(num_layers=2), 'num_layers is 2; to grow it must be above 2'),
    (Growth(num_layers=0), 'num_layers is 0; to grow'),
    (Growth(width_factor=1), 'width_factor is 1; to grow'),
    (Growth(max_positions=32), 'max_positions is 32; to grow'),
    (Growth(num_layers=4, rotary_theta=9.0), 'only with --max_positions'),
    (Growth(max_positions=64, rotary_theta=-1.0), 'give a number above 0'),
    (
      Growth(max_positions=64, rotary_theta=9.0),
      '--rotary_theta=9.0: the positions of .* are learned',
    ),
    (Growth(tokenizer='/nowhere'), '/nowhere'),
    (Growth(tokenizer=str(GOLDEN)), 'it has 55 entries, the model 55; append'),
  ],
)
def test_what_cannot_grow_leaves_nothing_behind(tmp_path, growth, message):
  with pytest.raises(InputError, match=message):
    grow(str(GOLDEN), tmp_path / 'grown', growth)
  assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_refused_by_its_first_entry(tmp_path):
  for name in ('vocab.txt', 'tokenizer_config.json'):
    shutil.copy(GOLDEN / name, tmp_path / name)
  lines = (tmp_path / 'vocab.txt').read_text().splitlines()
  lines[7] = 'other'
  (tmp_path / 'vocab.txt').write_text('\n'.join([*lines, 'more']) + '\n')
  message = f"--tokenizer={tmp_path}: its entry 7 is 'other', that of the model"
  with pytest.raises(InputError, match=message):
    grow(str(GOLDEN), tmp_path / 'new', Growth(tokenizer=str(tmp_path)))


def test_what_is_there_is_not_overwritten(tmp_path):
  (tmp_path / 'grown').mkdir()
  with pytest.raises(InputError, match='grown is there already'):
    grow(str(GOLDEN), tmp_path / 'grown', Growth(num_layers=3))
