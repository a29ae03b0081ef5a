"""The choice of a backend: which one, the printed line, and refusals."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models.attention import choose as choosing
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Shapes, View
from bert_jax.models.attention.windowed import WindowedAttention
from bert_jax.models.execution import LayerExecution
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.replaced_token import ReplacedTokenConfig


@dataclasses.dataclass(kw_only=True, slots=True)
class OnTPU(ReferenceAttention):
  """A backend that notes what it is asked, and wants another platform."""

  asked: list = dataclasses.field(default_factory=list)

  def supports(self, view, shapes, platform):
    self.asked.append((view.window, shapes, platform))
    return '' if platform == 'tpu' else f'it needs a TPU, this is a {platform}'


def ask(backends=(), *, window=0, length=64, dtype='float32', platform=None):
  view = View(jnp.zeros((2, length), jnp.int32), window)
  shapes = Shapes(2, length, 4, 8, jnp.dtype(dtype), dropout=True)
  return choose(backends, view, shapes, platform)


def test_the_choice_is_printed_once_with_its_reason(capsys):
  choosing._printed.clear()
  for _ in range(2):
    ask(window=32, dtype='bfloat16')
    ask()
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
    'attention to windows of 32 in rows of 64, bfloat16 on cpu: '
    'WindowedAttention, chosen automatically',
    'attention to whole texts in rows of 64, float32 on cpu: '
    'ReferenceAttention, chosen automatically; not WindowedAttention: it is '
    'for windows, not for whole texts',
  ]


def test_sizes_that_change_nothing_are_not_printed_again(capsys):
  choosing._printed.clear()
  for length, dtype in ((64, 'bfloat16'), (128, 'bfloat16'), (64, 'float32')):
    ask(length=length, dtype=dtype)
    ask(length=length, dtype=dtype, window=8)
  ask(length=1024)
  ask(length=1024, backends=(ReferenceAttention(),))
  lines = capsys.readouterr().err.splitlines()
  assert [line.split(';')[0] for line in lines] == [
    'attention to whole texts in rows of 64, bfloat16 on cpu: '
    'ReferenceAttention, chosen automatically',
    'attention to windows of 8 in rows of 64, bfloat16 on cpu: '
    'WindowedAttention, chosen automatically',
    'attention to whole texts in rows of 1024, float32 on cpu: '
    'BlockedAttention, chosen automatically',
    'attention to whole texts in rows of 1024, float32 on cpu: '
    'ReferenceAttention, as configured',
  ]


def test_long_rows_are_computed_in_blocks():
  assert isinstance(ask(length=512), ReferenceAttention)
  assert isinstance(ask(length=513), BlockedAttention)
  assert isinstance(ask(length=513, window=128), WindowedAttention)


def test_the_first_backend_that_can_is_taken(capsys):
  choosing._printed.clear()
  backends = OnTPU(), ReferenceAttention()
  assert ask(backends) is backends[1]
  assert capsys.readouterr().err == (
    'attention to whole texts in rows of 64, float32 on cpu: '
    'ReferenceAttention, as configured; not OnTPU: it needs a TPU, this is a '
    'cpu\n'
  )
  assert ask(backends, platform='tpu') is backends[0]


def test_what_no_backend_can_is_refused_by_name():
  message = (
    r"attention=\['OnTPU', 'WindowedAttention'\]: for whole texts in rows of "
    '64, float32 on cpu: not OnTPU: it needs a TPU, this is a cpu; not '
    'WindowedAttention: .*; add ReferenceAttention'
  )
  with pytest.raises(InputError, match=message):
    ask((OnTPU(), WindowedAttention()))


@pytest.mark.parametrize(
  ('backends', 'message'),
  [
    (ReferenceAttention(), r'attention is a ReferenceAttention; give a tuple'),
    (('reference',), r'attention\[0\] is a str, which is no backend'),
    (
      (ReferenceAttention(), toys.encoder_config()),
      r'attention\[1\] is a EncoderConfig, which is no backend',
    ),
  ],
)
def test_what_is_no_backend_is_refused_by_name(backends, message):
  with pytest.raises(InputError, match=message):
    choosing.validate(backends)


def test_the_platform_is_that_of_the_mesh(monkeypatch):
  backend = OnTPU()
  mesh = types.SimpleNamespace(
    empty=False, abstract_device=types.SimpleNamespace(platform='tpu')
  )
  monkeypatch.setattr(jax.sharding, 'get_abstract_mesh', lambda: mesh)
  assert ask((backend,)) is backend
  assert backend.asked[-1][-1] == 'tpu'


def test_generator_and_discriminator_attend_alike():
  """All that a model is asked to compute is what a backend hears of it."""
  config = toys.family_config(
    'modernbert', embedding_size=8, attention_dropout=0.1
  )
  objective = ReplacedTokenConfig(generator_width=0.5).build(toys.table())
  backend = OnTPU()
  model = model_with_heads(
    config,
    objective.heads(),
    'bfloat16',
    execution=LayerExecution((backend, ReferenceAttention())),
  )
  batch = toys.batch(4, 40)

  def losses(params, seeds_B):
    module = model.bind(params)
    prepared = objective.prepare(batch, jax.random.key(0))
    encoded = objective.encode(module, prepared, seeds_B)
    return objective.losses(module, encoded, seeds_B)

  params = model.abstract_params()
  seeds_B = jax.ShapeDtypeStruct((4,), jnp.uint32)
  jax.eval_shape(losses, params, seeds_B)
  common = dict(batch_size=4, length=40, dtype=jnp.dtype('bfloat16'))
  shapes = [
    Shapes(num_heads=heads, head_dim=dim, dropout=True, **common)
    for heads, dim in ((1, 8), (2, 8))
  ]
  assert {(window, found) for window, found, _ in backend.asked} == {
    (window, found) for window in (0, 8) for found in shapes
  }
  backend.asked.clear()
  jax.eval_shape(lambda params: losses(params, None), params)
  assert not any(found.dropout for _, found, _ in backend.asked)
