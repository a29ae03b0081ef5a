"""Speeds that others have published, to be read beside an estimate.

They come from other software and mostly from other models. Nothing in preflight
is computed from them.
"""

import dataclasses
import math
from collections.abc import Iterator

# A run of up to so many times the size and length, or its reciprocal, compares.
_NEAR = 2
_LLM_FOUNDRY = (
  'https://github.com/mosaicml/llm-foundry/blob/061f2c7/scripts/train/'
  'benchmarking/README.md'
)
# 'Pre-training NVIDIA DGX A100 (8x A100 80GB)', container pytorch:21.11-py3.
_NVIDIA = (
  'https://github.com/NVIDIA/DeepLearningExamples/blob/master/PyTorch/'
  'LanguageModeling/BERT/README.md'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedRun:
  """A training run. speed: of one GPU. mfu: a share, where it is stated."""

  model: str
  num_parameters: int
  row_length: int
  hardware: str
  speed: str
  mfu: float | None = None
  source: str


PUBLISHED_RUNS = (
  PublishedRun(
    model='MPT 125M, a decoder, llm-foundry',
    num_parameters=124_131_840,
    row_length=512,
    hardware='8 x A100 80GB',
    speed='165,681 tokens/s a GPU',
    mfu=0.4256,
    source=_LLM_FOUNDRY,
  ),
  PublishedRun(
    model='MPT 350M, a decoder, llm-foundry',
    num_parameters=354_412_544,
    row_length=512,
    hardware='8 x A100 80GB',
    speed='69,330 tokens/s a GPU',
    mfu=0.5061,
    source=_LLM_FOUNDRY,
  ),
  PublishedRun(
    model='BERT-large, PyTorch of NVIDIA, mixed precision',
    num_parameters=336_000_000,
    row_length=128,
    hardware='1 x A100 80GB',
    speed='580 sequences/s',
    source=_NVIDIA,
  ),
  PublishedRun(
    model='BERT-large, PyTorch of NVIDIA, mixed precision',
    num_parameters=336_000_000,
    row_length=512,
    hardware='1 x A100 80GB',
    speed='210 sequences/s',
    source=_NVIDIA,
  ),
  PublishedRun(
    model='BERT-large without padding, MLPerf Training of NVIDIA',
    num_parameters=336_000_000,
    row_length=512,
    hardware='8 x H100',
    speed='979 sequences/s a GPU',
    source='MLCommons; its page was not checked',
  ),
)


def comparable(num_parameters: int, row_length: int) -> Iterator[PublishedRun]:
  """Yields the runs of about this size and length, the nearest first."""

  def distances(run: PublishedRun) -> tuple[float, float]:
    return (
      abs(math.log(run.num_parameters / num_parameters)),
      abs(math.log(run.row_length / row_length)),
    )

  for run in sorted(PUBLISHED_RUNS, key=lambda run: sum(distances(run))):
    if max(distances(run)) <= math.log(_NEAR):
      yield run
