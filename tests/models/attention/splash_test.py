"""Kernels for TPU: when they are chosen, refused, and what they lower to.

backends_test.py compares their numbers with the reference.
"""

import jax
import jax.numpy as jnp
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models.attention import choose as choosing
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.splash import SplashAttention
from bert_jax.models.attention.view import Shapes, View
from bert_jax.models.execution import LayerExecution
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.parallel.mesh import MeshConfig


def shapes(dropout=False, batch_size=4, num_heads=2) -> Shapes:
  return Shapes(
    batch_size, 64, num_heads, 8, jnp.dtype('bfloat16'), dropout=dropout
  )


def view(window=0) -> View:
  return View(jnp.zeros((4, 64), jnp.int32), window)


@pytest.mark.parametrize('window', [0, 16])
def test_kernels_are_the_first_choice_on_tpu_alone(window, capsys):
  choosing._printed.clear()
  call = (), view(window), shapes()
  assert isinstance(choose(*call, 'tpu'), SplashAttention)
  line = capsys.readouterr().err
  assert line.endswith('on tpu: SplashAttention, chosen automatically\n')
  for platform in ('cpu', 'gpu'):
    assert not isinstance(choose(*call, platform), SplashAttention)
    assert 'SplashAttention' not in capsys.readouterr().err


def test_attention_dropout_is_refused_by_name(capsys):
  choosing._printed.clear()
  chosen = choose((), view(), shapes(dropout=True), 'tpu')
  assert isinstance(chosen, ReferenceAttention)
  assert (
    'not SplashAttention: it cannot drop attention weights, as '
    'attention_dropout asks'
  ) in capsys.readouterr().err


def test_other_platforms_are_refused_by_name():
  with pytest.raises(InputError, match='it needs a TPU, this is a cpu'):
    choose((SplashAttention(),), view(), shapes(), 'cpu')


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (shapes(batch_size=3), '3 rows cannot be split evenly among 2 devices'),
    (shapes(num_heads=3), '3 heads cannot be split evenly among 2 devices'),
  ],
)
def test_what_a_mesh_cannot_split_is_refused(call, message):
  mesh = MeshConfig(data=2, tensor=2).build(jax.devices()[:4])
  with jax.set_mesh(mesh):
    assert not SplashAttention().supports(view(), shapes(), 'tpu')
    assert SplashAttention().supports(view(), call, 'tpu') == message


@pytest.mark.parametrize('size', [0, 64, 200])
def test_a_block_of_odd_size_is_refused(size):
  with pytest.raises(InputError, match=f'block_size is {size}; it must be a'):
    SplashAttention(block_size=size).validate()


def test_f32_is_not_rounded_in_the_kernels():
  """Every product has the precision of the model's others, in both passes."""

  def precisions(dtype: str) -> set[jax.lax.Precision]:
    def total(query, ids):
      attended = SplashAttention(interpret=True).attend(
        query, query, query, View(ids)
      )
      return jnp.sum(attended.astype(jnp.float32))

    heads = jax.ShapeDtypeStruct((1, 128, 2, 8), dtype)
    ids = jax.ShapeDtypeStruct((1, 128), jnp.int32)
    jaxpr = jax.make_jaxpr(jax.grad(total))(heads, ids)
    found = [
      equation.params['precision'] for equation in all_products(jaxpr.jaxpr)
    ]
    assert len(found) == 10  # three kernels, and the sums of the backward pass
    return {side for both in found for side in both}

  assert precisions('float32') == {jax.lax.Precision.HIGHEST}
  assert precisions('bfloat16') == {jax.lax.Precision.DEFAULT}


def all_products(jaxpr):
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield equation
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'jaxpr')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from all_products(inner)


def test_a_model_lowers_to_kernels_on_a_mesh_of_tpus():
  """Layers share kernels: one of each kind, global and local, in each pass."""
  config = toys.family_config('modernbert', num_layers=6, attention_dropout=0.0)
  objective = MaskedLMConfig().build(toys.table())
  model = model_with_heads(
    config, objective.heads(), 'bfloat16', execution=LayerExecution()
  )
  params = model.abstract_params()
  mesh = jax.sharding.AbstractMesh(
    (2, 1, 2),
    ('data', 'fsdp', 'tensor'),
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    abstract_device=jax.sharding.AbstractDevice('TPU v5 lite', 1, 'tpu'),
  )
  batch = toys.batch(4, 128)

  def loss_of(params):
    bound = model.bind(params)
    prepared = objective.prepare(batch, jax.random.key(0))
    losses, _ = objective.losses(
      bound, objective.encode(bound, prepared, None), None
    )
    return sum(total for total, _ in losses.values())

  with jax.sharding.use_abstract_mesh(mesh):
    traced = jax.jit(jax.grad(loss_of)).trace(params)
    text = traced.lower(lowering_platforms=('tpu',)).as_text()
  names = 'fwd_segmented_residuals', 'dq', 'dkv'
  for name in names:
    assert text.count(f'kernel_name = "splash_mha_{name}') == 2, name
