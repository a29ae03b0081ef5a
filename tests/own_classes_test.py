"""A user's own classes, in one new file: a run, its verbs, its errors."""

import dataclasses
import importlib
import json
import sys

import pytest
from absl import flags as absl_flags
from other_process import run_python, said
from runs import assert_same_arrays, stop_after

from bert_jax import inference
from bert_jax.cli import flags
from bert_jax.config.codec import check_recordable, decode, encode
from bert_jax.config.experiment_file import load_classes, load_config
from bert_jax.config.renamed import RENAMED
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models.config import bert_tiny
from bert_jax.workdir import Workdir

EXPERIMENT = """

def get_config():
  return PretrainExperiment(
    model=EncoderConfig(
      num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
    ),
    num_steps=4,
    batch_size=8,
    {part},
    data=DataConfig(path={corpus!r}, row_length=32),
    evaluation=EvaluationConfig(every_steps=2, batch_size=16),
    checkpoint=CheckpointConfig(every_steps=2),
    logging=LoggingConfig(every_steps=2, tensorboard=False, peak_tflops=1.0),
  )
"""
IMPORTS = """
from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import EncoderConfig
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.train.logging import LoggingConfig
"""
# An objective whose annotations are texts, with lists and objects of JSON.
OBJECTIVE = '''
"""Masked tokens that the model knows already count less (Lin et al. 2017)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from bert_jax.objectives.cross_entropy import cross_entropy
from bert_jax.objectives.mlm import MaskedLM, MaskedLMConfig


@dataclasses.dataclass(kw_only=True, slots=True)
class FocalConfig(MaskedLMConfig):
  gammas: list[float] = dataclasses.field(default_factory=lambda: [2.0, 1.0])
  notes: dict[str, int] = dataclasses.field(default_factory=lambda: {'a': 1})

  def build(self, table):
    return Focal(self, table)


class Focal(MaskedLM):
  def losses_of(self, batch, logits_BMV):
    ids_BM, weights_BM = batch['masked_ids'], batch['masked_weights']
    nll_BM, _ = cross_entropy(logits_BMV, ids_BM)
    focal_BM = (1 - jnp.exp(-nll_BM)) ** self.config.gammas[0] * nll_BM
    weight = jnp.sum(weights_BM)
    return {'mlm_loss': (jnp.sum(focal_BM * weights_BM), weight)}, {}
'''
OPTIMIZER = '''
"""Steps by the sign of the momentum (Bernstein et al. 2018)."""

import dataclasses

import optax

from bert_jax.optim.base import Optimizer


@dataclasses.dataclass(kw_only=True, slots=True)
class SignumConfig(Optimizer):
  decay: float = 0.9

  def transforms(self, infos):
    return (optax.scale_by_lion(b1=self.decay),)
'''

ATTENTION = '''
"""All that is in view counts alike, in rows of few tokens."""

import dataclasses

import jax.numpy as jnp


@dataclasses.dataclass(kw_only=True, slots=True)
class MeanAttention:
  max_length: int = 64

  def validate(self):
    pass

  def supports(self, view, shapes, platform):
    is_short = shapes.length <= self.max_length
    return '' if is_short else f'it is for rows of {self.max_length} tokens'

  def attend(self, query, key, value, view, *, dropout_rate, dropout_seeds_B):
    seen = view.mask()[:, 0].astype(value.dtype)
    total = jnp.einsum('BTS,BSNH->BTNH', seen, value)
    return total / seen.sum(axis=-1)[..., None, None]
'''

PRESET = '''
"""A thin encoder that no family has: pre-norm, with windows and no biases."""


def thin_encoder(**overrides):
  fields = dict(
    num_layers=3,
    embed_dim=16,
    num_heads=2,
    mlp_dim=16,
    positions='rotary',
    norm_placement='pre',
    activation='gelu_tanh',
    use_bias=False,
    global_every=2,
    local_window=8,
  )
  return EncoderConfig(**(fields | overrides))
'''
MODEL = """EncoderConfig(
      num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
    )"""


@pytest.fixture
def own(tmp_path, small_corpus, one_device):
  """A user's folder with a file for a class of each kind."""
  folder = tmp_path / 'my own'
  folder.mkdir()
  for name, code, part in (
    ('focal_loss', OBJECTIVE, 'objective=FocalConfig(mask_rate=0.3)'),
    ('signum', OPTIMIZER, 'optimizer=SignumConfig(decay=0.8)'),
    ('mean_attention', ATTENTION, 'attention=(MeanAttention(),)'),
  ):
    experiment = EXPERIMENT.format(part=part, corpus=str(small_corpus))
    (folder / f'{name}.py').write_text(code.strip() + IMPORTS + experiment)
  experiment = EXPERIMENT.format(part='seed=1', corpus=str(small_corpus))
  assert MODEL in experiment
  experiment = experiment.replace(MODEL, 'thin_encoder(num_layers=2)')
  # The imports follow, since a function needs them when it is called alone.
  (folder / 'thin.py').write_text(PRESET.strip() + IMPORTS + experiment)
  return folder


def stopped_and_continued(own, name, monkeypatch) -> None:
  """Compares a whole run with one that another process continues."""
  file = own / f'{name}.py'
  pretrain(load_config(str(file)), own / 'whole')
  with monkeypatch.context() as patch:
    stop_after(patch, 3)
    assert pretrain(load_config(str(file)), own / 'run').saved_step == 3
  said(own, 'pretrain', f'--config={file}', '--workdir=run')
  assert_same_arrays(own / 'run', own / 'whole', step=4)


@pytest.mark.processes
def test_an_objective(own, monkeypatch):
  stopped_and_continued(own, 'focal_loss', monkeypatch)
  recorded = json.loads((own / 'run' / 'config.json').read_text())
  assert recorded['objective']['_type'] == 'focal_loss.FocalConfig'
  words = 'report', '--workdir=run'
  line = said(own, *words, status=2)
  assert "'focal_loss.FocalConfig' is not a config class of bert_jax" in line
  assert 'give --import=focal_loss, or its file as --config=FILE' in line
  assert 'report.html' in said(own, *words, '--config=focal_loss.py')
  # This verb opens the run by another flag, and the module by its name.
  grow = 'grow', '--input=run', '--output=grown', '--num_layers=2'
  assert 'num_layers 1 -> 2' in said(own, *grow, '--import=focal_loss')


@pytest.mark.processes
def test_an_optimizer(own, monkeypatch):
  stopped_and_continued(own, 'signum', monkeypatch)
  words = 'inspect', '--workdir=run', '--step=1'
  assert 'step 1: examples 8 to 15' in said(own, *words, '--import=signum')
  line = said(own, *words, '--config=signum.py', '--config.seed=1', status=2)
  assert '--config.seed: the run of --workdir has its own config' in line


@pytest.mark.processes
def test_an_attention_backend(own, monkeypatch, capfd):
  stopped_and_continued(own, 'mean_attention', monkeypatch)
  # A process says it once, though it traces and compiles several programs.
  lines = capfd.readouterr().err.splitlines()
  chosen = [line for line in lines if 'MeanAttention, as configured' in line]
  assert len(chosen) == 1
  recorded = json.loads((own / 'run' / 'config.json').read_text())
  assert recorded['attention'] == [
    {'_type': 'mean_attention.MeanAttention', 'max_length': 64}
  ]
  pretrain = 'pretrain', '--config=mean_attention.py', '--workdir=refused'
  line = said(own, *pretrain, '--config.attention[0].max_length=16', status=2)
  assert "attention=['MeanAttention']: for whole texts in rows of 32" in line
  assert 'not MeanAttention: it is for rows of 16 tokens' in line
  assert not (own / 'refused' / 'checkpoints').exists()


@pytest.mark.processes
def test_a_preset(own, monkeypatch):
  """Its config is one of the package, so that no verb asks for the file."""
  stopped_and_continued(own, 'thin', monkeypatch)
  recorded = json.loads((own / 'run' / 'config.json').read_text())
  assert recorded['model']['_type'] == 'bert_jax.models.config.EncoderConfig'
  assert recorded['model']['num_layers'] == 2
  assert recorded['model']['global_every'] == 2
  assert 'report.html' in said(own, 'report', '--workdir=run')


@pytest.mark.processes
def test_tuning_with_a_class_of_ones_own(own):
  for name in ('train', 'eval'):
    rows = ['the array holds\tone', 'two matrices take\tmany'] * 8
    (own / f'{name}.tsv').write_text('\n'.join(['text\tlabel', *rows]) + '\n')
  pretrain(load_config(str(own / 'focal_loss.py')), own / 'base')
  load_classes(str(own / 'signum.py'), [])
  experiment = FinetuneExperiment(
    num_epochs=1,
    batch_size=8,
    max_length=16,
    init_from=str(own / 'base'),
    optimizer=sys.modules['signum'].SignumConfig(),
  )
  experiment.task.train_path = str(own / 'train.tsv')
  experiment.task.eval_path = str(own / 'eval.tsv')
  finetune(experiment, own / 'tuned')
  assert inference.load(own / 'tuned').task.facts['labels'] == ['many', 'one']
  words = 'evaluate', '--workdir=tuned', '--input=eval.tsv'
  assert 'accuracy' in said(own, *words, '--import=signum')


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--import=no_such_module'], "there is no module 'no_such_module'"),
    (['--import=os.path.x'], "there is no module 'os.path.x'"),
    (['--import=..'], '--import=..: there is no module'),
    (['--config=nowhere.py'], 'no such file'),
    (['--config.seed=1'], 'unknown flag --config.seed'),
  ],
)
def test_names_that_lead_nowhere(words, message):
  flag_values = absl_flags.FlagValues()
  flags.define_own_classes(flag_values)
  with pytest.raises(InputError, match=message):
    flags.parse('evaluate', words, flag_values)


def test_a_file_with_the_name_of_another_module(tmp_path):
  file = tmp_path / 'json.py'
  file.write_text('def get_config(): pass\n' + OPTIMIZER)
  with pytest.raises(InputError, match='another module json; rename the file'):
    load_config(str(file))
  assert sys.modules['json'] is json


def test_what_config_json_could_not_hold_is_refused_before_the_run(tmp_path):
  def config_of(annotation, default):
    (tmp_path / 'odd.py').write_text(
      'import dataclasses, typing\n'
      'from bert_jax.models.config import bert_tiny\n'
      'from bert_jax.experiment import PretrainExperiment\n'
      'from bert_jax.optim.base import Optimizer\n'
      '@dataclasses.dataclass\n'
      'class Odd(Optimizer):\n'
      f'  value: {annotation} = {default}\n'
      'def get_config():\n'
      '  return PretrainExperiment(\n'
      '    model=bert_tiny(), num_steps=1, batch_size=1, optimizer=Odd())\n'
    )
    return load_config(str(tmp_path / 'odd.py'))

  check_recordable(config_of('tuple[int, str]', "(1, 'a')"))
  check_recordable(config_of("typing.Literal['a', 'b'] | None", "'b'"))
  for annotation, default, message in (
    ('typing.Callable', 'print', 'a builtin_function_or_method; config.json'),
    ('int', '1.5', r'optimizer\.value is 1\.5, which is not a whole number'),
    ('tuple[int, ...]', 'dataclasses.field(default_factory=lambda: [1])', 'as'),
    ("typing.Literal['a', 'b']", "'c'", 'must be one of a, b'),
    ('float', "float('nan')", 'would be'),
  ):
    with pytest.raises(InputError, match=message):
      check_recordable(config_of(annotation, default))


def test_a_class_without_a_name_in_a_module(tmp_path):
  (tmp_path / 'inner.py').write_text(
    'import dataclasses\n'
    'def get_config():\n'
    '  @dataclasses.dataclass\n'
    '  class Local: pass\n'
    '  return Local()\n'
  )
  with pytest.raises(InputError, match='define it at the top of a module'):
    encode(load_config(str(tmp_path / 'inner.py')))


def test_an_import_is_never_the_answer_of_a_module(tmp_path, monkeypatch):
  """A class is looked up without a module's __getattr__, which may import."""
  (tmp_path / 'lazy.py').write_text('def __getattr__(name): raise SystemExit')
  monkeypatch.chdir(tmp_path)
  load_classes('', ['lazy'])
  with pytest.raises(InputError, match='refused'):
    decode({'_type': 'lazy.Config'}, where='config.json')


def test_classes_of_a_script(tmp_path):
  """`python my_run.py` records what --import=my_run finds again."""
  (tmp_path / 'my_run.py').write_text(
    'import dataclasses\n'
    'from bert_jax.config.codec import decode, encode\n'
    '@dataclasses.dataclass\n'
    'class Mine:\n'
    '  value: int = 3\n'
    "if __name__ == '__main__':\n"
    '  print(encode(Mine()))\n'
    "  assert decode(encode(Mine()), where='x') == Mine()\n"
  )
  done = run_python('my_run.py', folder=tmp_path)
  assert done.stdout == "{'_type': 'my_run.Mine', 'value': 3}\n", done.stderr


def test_a_moved_class_is_found(monkeypatch):
  from bert_jax.config import codec

  monkeypatch.setitem(
    codec.RENAMED,
    'models.settings.EncoderConfig',
    'models.config.EncoderConfig',
  )
  encoded = encode(bert_tiny())
  encoded['_type'] = 'bert_jax.models.settings.EncoderConfig'
  assert decode(encoded, where='config.json') == bert_tiny()


@pytest.mark.parametrize('old', RENAMED)
def test_every_moved_class_is_where_the_table_says(old):
  module, _, name = RENAMED[old].rpartition('.')
  cls = getattr(importlib.import_module(f'bert_jax.{module}'), name)
  fields = {
    field.name: 1
    for field in dataclasses.fields(cls)
    if field.default is field.default_factory is dataclasses.MISSING
  }
  found = decode({'_type': f'bert_jax.{old}', **fields}, where='config.json')
  assert type(found) is cls


def test_a_workdir_without_its_classes_is_told_of(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.config.write_text('{"_type": "gone.Config"}')
  with pytest.raises(InputError, match='--import=gone, or its file'):
    workdir.read_config()
