"""Collectives and memory traffic, on programs that were compiled here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.parallel.compiled import Collective, Program, num_bytes

# A loop as libtpu prints it: its condition alone says how often it runs, and a
# layout with S(1) is memory on the chip.
OF_LIBTPU = """HloModule jit_f, is_scheduled=true, num_partitions=4

%add.clone (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%fused (q: f32[10,64,128], i: s32[]) -> f32[64,128] {
  %q = f32[10,64,128]{2,1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %part = f32[1,64,128]{2,1,0:T(8,128)} dynamic-slice(%q, %i)
  ROOT %bitcast.1 = f32[64,128]{1,0:T(8,128)} bitcast(%part)
}

%body (p: (s32[], f32[10,64,128])) -> (s32[], f32[10,64,128]) {
  %p = (s32[]{:T(128)}, /*index=1*/f32[10,64,128]{2,1,0}) parameter(0)
  %n = s32[]{:T(128)} get-tuple-element(%p), index=0
  %stack = f32[10,64,128]{2,1,0:T(8,128)} get-tuple-element(%p), index=1
  %layer = f32[64,128]{1,0:T(8,128)} fusion(%stack, %n), calls=%fused
  %ar = f32[64,128]{1,0:T(8,128)S(1)} all-reduce(%layer), to_apply=%add.clone
  ROOT %t = (s32[]{:T(128)}, f32[10,64,128]{2,1,0}) tuple(%n, %stack)
}

%limit (p: (s32[], f32[10,64,128])) -> pred[] {
  %c = s32[]{:T(128)} constant(10)
  %p = (s32[]{:T(128)}, f32[10,64,128]{2,1,0:T(8,128)}) parameter(0)
  %n = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%n, %c), direction=LT
}

ENTRY %main (p: (s32[], f32[10,64,128])) -> (s32[], f32[10,64,128]) {
  %p = (s32[], f32[10,64,128]{2,1,0}) parameter(0)
  ROOT %w = (s32[], f32[10,64,128]) while(%p), condition=%limit, body=%body
}
"""


@pytest.fixture(scope='module')
def mesh():
  return jax.make_mesh((8,), ('data',))


def compiled(mesh, function, arguments, specs, result):
  def on(spec):
    return NamedSharding(mesh, spec)

  lowered = jax.jit(
    function,
    in_shardings=tuple(map(on, specs)),
    out_shardings=on(result),
  ).lower(*arguments)
  return lowered.compile()


def test_collectives_are_counted_by_kind(mesh):
  """The sum of a product over rows, and a result that all devices want."""
  rows, sharded = PartitionSpec('data', None), PartitionSpec(None, 'data')
  x = jnp.ones((64, 32))
  summed = compiled(mesh, lambda x: x.T @ x, [x], [rows], PartitionSpec())
  assert Program(summed.as_text()).collectives() == {
    'all-reduce': Collective(1, 32 * 32 * 4)
  }
  gathered = compiled(mesh, lambda x: x + 1, [x], [sharded], PartitionSpec())
  assert Program(gathered.as_text()).collectives() == {
    'all-gather': Collective(1, 64 * 32 * 4)
  }
  alone = compiled(mesh, lambda x: x + 1, [x], [rows], rows)
  assert Program(alone.as_text()).collectives() == {}


def test_a_collective_in_a_loop_counts_as_often_as_it_runs(mesh):
  def layers(stack, x):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]

  specs = [PartitionSpec(None, 'data', None), PartitionSpec(None, 'data')]
  program = compiled(
    mesh, layers, [jnp.ones((7, 32, 32)), jnp.ones((16, 32))], specs, specs[1]
  )
  found = Program(program.as_text()).collectives()
  (found,) = found.values()
  assert found.count % 7 == 0 and found.count > 0


def test_traffic_without_loops_is_that_of_xla():
  def loss(stack, x):
    for number in range(5):
      x = jnp.tanh(x @ stack[number])
    return x.sum()

  program = (
    jax.jit(jax.grad(loss))
    .lower(jnp.ones((5, 64, 64)), jnp.ones((32, 64)))
    .compile()
  )
  theirs = program.cost_analysis()['bytes accessed']
  ours = Program(program.as_text()).memory_traffic()
  np.testing.assert_allclose(ours, theirs, rtol=0.01)


def test_traffic_of_a_loop_grows_with_its_steps():
  """XLA's own analysis does not."""

  def traffic(num_steps):
    def run(x):
      step = lambda _, x: x @ x  # noqa: E731
      return jax.lax.fori_loop(0, num_steps, step, x)

    program = jax.jit(run).lower(jnp.ones((128, 128))).compile()
    return (
      Program(program.as_text()).memory_traffic(),
      program.cost_analysis()['bytes accessed'],
    )

  (ours_10, theirs_10), (ours_20, theirs_20) = traffic(10), traffic(20)
  product = 3 * 128 * 128 * 4  # reads x twice, writes it once
  assert ours_20 - ours_10 >= 10 * product
  assert ours_20 - ours_10 < 10 * 2 * product
  assert theirs_20 == theirs_10


def test_the_text_of_libtpu():
  program = Program(OF_LIBTPU)
  layer = 64 * 128 * 4
  assert program.collectives() == {'all-reduce': Collective(10, 10 * layer)}
  # The fusion reads and writes one layer, and the number of the step; the
  # collective reads a layer and leaves it on the chip.
  assert program.memory_traffic() == 10 * (3 * layer + 4)


def test_kernels_are_counted_as_often_as_they_run():
  call = 'custom-call(%layer), custom_call_target='
  kernel = f'  %splash_fwd.3 = f32[64,128]{{1,0}} {call}"tpu_custom_call"'
  target = f'  %fmha.7 = f32[64,128]{{1,0}} {call}"__cudnn$fmhaSoftmax"'
  room = f'  %room = f32[64,128]{{1,0}} {call}"AllocateBuffer"'
  before = '  %ar = f32'
  text = OF_LIBTPU.replace(before, '\n'.join((kernel, room, before)))
  text = text.replace('  ROOT %w', f'{target}\n  ROOT %w')
  assert Program(text).kernels() == {
    'splash_fwd': 10,
    '__cudnn$fmhaSoftmax': 1,
  }
  assert Program(OF_LIBTPU).kernels() == {}


def test_bytes_of_types():
  assert num_bytes('f32[8,2]{1,0:T(8,128)}') == 64
  assert num_bytes('(bf16[3]{0}, pred[5], s32[], u4[4])') == 6 + 5 + 4 + 2
  assert num_bytes('(f32[2]{0:T(128)S(1)}, f32[3])') == 20
  assert num_bytes('(f32[2]{0:T(128)S(1)}, f32[3])', in_memory=True) == 12


def test_a_text_without_an_entry_is_no_program():
  with pytest.raises(ValueError, match='no ENTRY'):
    Program('')


@pytest.mark.parametrize(
  ('groups', 'crosses'),
  [
    ('replica_groups={{0,1},{2,3}}', False),
    ('replica_groups={{0,2},{1,3}}', True),
    ('replica_groups={}', True),
    ('replica_groups=[2,2]<=[4]', False),
    ('replica_groups=[1,4]<=[4]', True),
    ('replica_groups=[2,2]<=[2,2]T(1,0)', True),
    ("replica_groups=mesh['data'=2,'fsdp'=2,'tensor'=1] {'fsdp'}", False),
    ("replica_groups=mesh['data'=2,'fsdp'=2,'tensor'=1] {'data'}", True),
    ("replica_groups=mesh['data'=2,'fsdp'=2] {'data','fsdp'}", True),
    ("replica_groups=mesh['data'=2,'fsdp'=2] {}", False),
    ('source_target_pairs={{0,1},{1,0}}', False),
    ('source_target_pairs={{0,2},{1,3}}', True),
  ],
)
def test_collectives_between_slices(groups, crosses):
  """Four devices in two slices, and an array of 8 bytes."""
  program = Program(
    'ENTRY %main (p: f32[2]) -> f32[2] {\n'
    '  %p = f32[2]{0} parameter(0)\n'
    f'  ROOT %r = f32[2]{{0}} all-reduce(%p), channel_id=1, {groups}\n'
    '}\n'
  )
  crossing = 8 if crosses else 0
  assert program.collectives(2) == {'all-reduce': Collective(1, 8, crossing)}
  assert program.collectives() == {'all-reduce': Collective(1, 8)}


def test_groups_of_another_form_are_not_guessed():
  found = Program(OF_LIBTPU).collectives(2)['all-reduce']
  assert found.count == 10 and found.crossing_bytes is None


# Lines of XLA for CUDA, shortened: products lie in fusions of Triton, and what
# runs beside them, such as the update of a stack of layers, starts and is done.
OF_CUDA = """HloModule jit_f, is_scheduled=true

%product (a: bf16[384,512,64], b: bf16[384,64,512]) -> f32[384,512,512] {
  %a = bf16[384,512,64]{2,1,0} parameter(0)
  %b = bf16[384,64,512]{2,1,0} parameter(1)
  ROOT %dot.27 = f32[384,512,512]{2,1,0} dot(%a, %b), lhs_batch_dims={0}, \
lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1}
}

%update (s: bf16[12,8,128], i: s32[], l: bf16[8,128]) -> bf16[12,8,128] {
  %s = bf16[12,8,128]{2,1,0} parameter(0)
  %l = bf16[8,128]{1,0} parameter(2)
  %bitcast.92 = bf16[1,8,128]{2,1,0} bitcast(%l)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %dus.55 = bf16[12,8,128]{2,1,0} dynamic-update-slice(%s, %bitcast.92, \
%i, %zero, %zero)
}

ENTRY %main (s: bf16[12,8,128], i: s32[], l: bf16[8,128]) -> bf16[12,8,128] {
  %s = bf16[12,8,128]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %l = bf16[8,128]{1,0} parameter(2)
  %start.26 = ((bf16[12,8,128]{2,1,0}, s32[], bf16[8,128]{1,0}), \
bf16[12,8,128]{2,1,0}, u32[]) fusion-start(%s, %i, %l), kind=kLoop, \
calls=%update
  %q = bf16[384,512,64]{2,1,0} constant({...})
  %k = bf16[384,64,512]{2,1,0} constant({...})
  %scores = f32[384,512,512]{2,1,0} fusion(%q, %k), kind=kCustom, \
calls=%product, backend_config={"kind":"__triton_nested_gemm_fusion"}
  ROOT %done.26 = bf16[12,8,128]{2,1,0} fusion-done(%start.26)
}
"""


def test_the_text_of_cuda():
  program = Program(OF_CUDA)
  scores = 384 * 512 * 512
  assert program.products() == {'bf16 x bf16': 2 * scores * 64}
  # One layer of twelve is read and written, and the number of the layer read.
  layer = 8 * 128 * 2
  product = 2 * 2 * 384 * 512 * 64 + 4 * scores
  assert program.memory_traffic() == product + 2 * layer + 4
  assert program.kernels() == {'__triton_nested_gemm_fusion': 1}


# Lines of libtpu for two slices, shortened: the host joins the slices, and two
# fusions make progress with one and the same gather.
OF_TWO_SLICES = """HloModule jit_f, is_scheduled=true, num_partitions=8

%first (x: bf16[128,128]) -> bf16[256,128] {
  %x = bf16[128,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %ag.1 = bf16[256,128]{1,0:T(8,128)(2,1)} all-gather(%x), \
channel_id=5, replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={0}
}

%second (x: bf16[128,128]) -> bf16[256,128] {
  %x = bf16[128,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %ag.2 = bf16[256,128]{1,0:T(8,128)(2,1)} all-gather(%x), \
channel_id=5, replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={0}
}

ENTRY %main (x: bf16[128,128], g: f32[32,8,128]) -> bf16[256,128] {
  %x = bf16[128,128]{1,0:T(8,128)(2,1)} parameter(0)
  %g = f32[32,8,128]{2,1,0:T(8,128)} parameter(1)
  %token = token[] after-all()
  %send.3 = (f32[32,8,128]{2,1,0:T(8,128)}, u32[]{:S(2)}, token[]) \
send(%g, %token), channel_id=5, is_host_transfer=true, frontend_attributes=\
{_xla_host_transfer_handler_name="xla_megascale_runtime",\
_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv.3 = (f32[32,8,128]{2,1,0:T(8,128)}, u32[]{:S(2)}, token[]) \
recv(%token), channel_id=6, is_host_transfer=true, frontend_attributes=\
{_xla_host_transfer_handler_name="xla_megascale_runtime",\
_xla_megascale_transfer_type="ALL_REDUCE"}
  %a = bf16[256,128]{1,0:T(8,128)(2,1)} fusion(%x), calls=%first
  ROOT %b = bf16[256,128]{1,0:T(8,128)(2,1)} fusion(%x), calls=%second
}
"""


def test_the_text_of_two_slices():
  gradients, gathered = 32 * 8 * 128 * 4, 256 * 128 * 2
  assert Program(OF_TWO_SLICES).collectives(4) == {
    'all-reduce': Collective(1, gradients, gradients),
    'all-gather': Collective(1, gathered),
  }
