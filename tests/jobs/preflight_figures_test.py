"""Published runs beside an estimate, and a measured speed in place of one."""

import dataclasses

import pytest
from flights import figures_of

from bert_jax.errors import InputError
from bert_jax.jobs import preflight_table, published_runs
from bert_jax.jobs.measured_speed import measured_speed
from bert_jax.parallel import topologies
from bert_jax.parallel.compiled import Collective


def text_of(figures, price=None) -> str:
  lines = preflight_table.lines(figures, price)
  return '\n'.join(' '.join(line.split()) for line in lines)


def test_runs_of_like_size_and_length_are_published():
  def models(num_parameters, row_length):
    runs = published_runs.comparable(num_parameters, row_length)
    return [run.model.split(',')[0] for run in runs]

  assert models(110e6, 512) == ['MPT 125M']
  assert models(335e6, 512) == [
    'BERT-large',
    'BERT-large without padding',
    'MPT 350M',
  ]
  assert models(335e6, 128) == ['BERT-large']
  assert models(110e6, 128) == models(4e6, 512) == []


def test_published_runs_stand_below_the_estimate():
  figures = dataclasses.replace(figures_of(0), num_parameters=110_000_000)
  assert 'published' not in text_of(figures)  # its rows have 100 tokens
  stage = dataclasses.replace(figures.stages[0], row_length=512)
  figures = dataclasses.replace(figures, stages=(stage,))
  assert (
    '\npublished, with other software: MPT 125M, a decoder, llm-foundry, 512 '
    'tokens, 8 x A100 80GB: 165,681 tokens/s a GPU, MFU 42.6% (https://'
  ) in text_of(figures)
  runs = preflight_table.as_json(figures)['published_runs']
  assert len(runs) == len(published_runs.PUBLISHED_RUNS)
  assert all(run['source'] for run in runs)


def report(kind, *steps):
  """The JSON of check_device: (parameters, length of rows, share) a step."""
  timed = [
    {
      'recipe': 'bert_base',
      'num_parameters': num_parameters,
      'row_length': row_length,
      'share_of_roofline': share,
    }
    for num_parameters, row_length, share in steps
  ]
  return {'device_kind': kind, 'parts': {'recipes': {'timed': timed}}}


def test_a_measured_speed_replaces_the_range():
  measured = report(
    'TPU v5 lite',
    (110_000_000, 128, 0.3),
    (335_000_000, 512, 0.0),
    (330_000_000, 128, 0.5),
  )
  speed = measured_speed(measured, topologies.named('v5e:2x2'))
  figures = figures_of(0)  # of 268 million parameters and rows of 100
  figures = dataclasses.replace(
    figures, **speed.figures(figures.num_parameters, 100)
  )
  assert figures.step_seconds(figures.stages[0]) == (0.5, 0.5)
  text = text_of(figures, price=1.5)
  for line in (
    'a step, estimated 500 ms the roofline is of arithmetic: 250 ms of FLOPs '
    'at 197 TFLOP/s, 0 ms of traffic at 819 GB/s',
    'tokens/s 8,000',
    'MFU 50.0%',
    'hours, estimated 2.0 for 14,400 steps without evaluation and saves',
    'cost, estimated $12 at $1.5 for an hour of a chip',
  ):
    assert f'\n{line}\n' in text, line
  assert 'Estimates are the roofline / 0.5, as measured on TPU v5 lite' in text
  value = preflight_table.as_json(figures)
  assert value['hours'] == pytest.approx((2.0, 2.0))
  assert value['measured_on'] == 'TPU v5 lite'


@pytest.mark.parametrize(
  ('measured', 'message'),
  [
    ({}, 'has no timed recipes with a share of their roofline; give one that'),
    ({'device_kind': 'TPU v5 lite', 'parts': []}, 'has no timed recipes'),
    (report('TPU v5 lite', (1, 1, 'x')), 'has no timed recipes'),
    (report('TPU v5 lite', (110_000_000, 128, 0.0)), 'has no timed recipes'),
    (
      report('NVIDIA H100 80GB HBM3', (110_000_000, 128, 0.5)),
      "is of 'NVIDIA H100 80GB HBM3', and --topology=v5e:2x2 has TPU v5 lite; "
      'give that of the same kind',
    ),
  ],
)
def test_a_speed_that_does_not_belong_is_refused(measured, message):
  with pytest.raises(InputError) as error:
    measured_speed(measured, topologies.named('v5e:2x2'))
  assert str(error.value).startswith('--measured: ')
  assert message in str(error.value)


def test_words_for_gpus_and_slices():
  figures = figures_of(0)
  topology = topologies.named('h100:2', num_slices=2)
  collectives = {'all-reduce': Collective(3, 2**30, 2**29)}
  stage = dataclasses.replace(figures.stages[0], collectives=collectives)
  figures = dataclasses.replace(
    figures,
    topology=topology,
    stages=(stage,),
    memory_share=0.75,
    warnings=('one',),
  )
  text = text_of(figures, price=2.0)
  assert text.startswith('2 x h100:2: 4 GPUs, products in bfloat16')
  assert '16 GiB a GPU (0.75 of its memory is taken): fits' in text
  assert '\nof it across slices 0.500 GiB a step and device\n' in text
  assert 'at $2 for an hour of a GPU' in text
  assert text.endswith('\nwarning: one')
  collectives = {'all-reduce': Collective(3, 2**30, None)}
  stage = dataclasses.replace(stage, collectives=collectives)
  unknown = dataclasses.replace(figures, stages=(stage,))
  assert '\nwhich of them cross slices, the program' in text_of(unknown)
  changes = dataclasses.replace(figures, changes=('--config.remat=dots',))
  assert 'fit a GPU of h100:2' in preflight_table.change_line(changes)


def test_kernels_that_are_not_those_of_xla():
  figures = figures_of(0)
  text = text_of(figures)
  assert '\nkernels 36 a step and device: 24 splash_fwd, 12 splash_dq\n' in text
  value = preflight_table.as_json(figures)
  assert value['stages'][0]['kernels'] == {'splash_fwd': 24, 'splash_dq': 12}
  stage = dataclasses.replace(figures.stages[0], kernels={})
  text = text_of(dataclasses.replace(figures, stages=(stage,)))
  assert '\nkernels none of Pallas, Triton, cuDNN or cuBLAS\n' in text
