"""Experiments: the configs of all components put together and checked.

An experiment file returns one of these from `get_config()`. Fields marked as
`execution` say how a run is carried out; they may change when it is continued.
"""

import dataclasses

import jax

from bert_jax.config.codec import check_classes, execution
from bert_jax.data.config import DataConfig
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.tokenizers import unknown
from bert_jax.errors import InputError, quoted, shown
from bert_jax.local_paths import local_path, workdir_path
from bert_jax.models.attention.view import Backend
from bert_jax.models.config import EncoderConfig, bert_mini
from bert_jax.models.execution import LayerExecution
from bert_jax.models.functional import Model
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.base import Objective, ObjectiveConfig
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.base import Optimizer
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.peft.base import FullTuningConfig, MethodConfig
from bert_jax.tasks.base import TaskConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train import xla_options
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.train.gradients import GradientsConfig, PlainConfig
from bert_jax.train.logging import LoggingConfig
from bert_jax.train.program import Program, make_program

MIN_ROW_LENGTH = 8


@dataclasses.dataclass(kw_only=True, slots=True)
class PretrainExperiment:
  """A pretraining run. Classes of fields describe their own fields.

  compute_dtype: 'float32', 'bfloat16', or '' for bf16 on accelerators and f32
    on CPU; the first start of a run settles it.
  attention: backends in order of preference, such as (ReferenceAttention(),);
    empty: chosen automatically.
  remat: what layers save for the backward pass: 'none' saves all, 'dots' the
    outputs of products and of attention, 'attention' those of attention,
    'full' nothing; the rest is computed again.
  scan_layers: layers are compiled once, as the body of a loop.
  xla_options: options of XLA for the step, each NAME=VALUE.
  deterministic: a GPU computes the same bits each time, more slowly; a TPU or
    CPU does in any case.
  gradients: PlainConfig, or FGMConfig for adversarial training.
  profile_steps: (first, last) steps of a trace.
  init_from: workdir or Hugging Face folder whose params the run starts from.
  resume_from: WORKDIR or WORKDIR@STEP whose whole state the run branches from.
  """

  seed: int = 0
  num_steps: int
  batch_size: int
  num_microbatches: int = 1
  model: EncoderConfig
  objective: ObjectiveConfig = dataclasses.field(default_factory=MaskedLMConfig)
  optimizer: Optimizer = dataclasses.field(default_factory=AdamWConfig)
  gradients: GradientsConfig = dataclasses.field(default_factory=PlainConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  evaluation: EvaluationConfig = execution(default_factory=EvaluationConfig)
  checkpoint: CheckpointConfig = execution(default_factory=CheckpointConfig)
  logging: LoggingConfig = execution(default_factory=LoggingConfig)
  mesh: MeshConfig = execution(default_factory=MeshConfig)
  attention: tuple[Backend, ...] = execution(())
  remat: str = execution('none')
  scan_layers: bool = execution(False)
  xla_options: tuple[str, ...] = execution(())
  deterministic: bool = execution(False)
  compute_dtype: str = ''
  max_nonfinite_steps: int = execution(20)
  profile_steps: tuple[int, ...] = execution(())
  init_from: str = ''
  resume_from: str = ''

  def validate(self) -> None:
    """Raises InputError on a config that cannot be."""
    _validate_common(self)
    for part in (self.model, self.objective, self.evaluation, self.data):
      part.validate()
    if not 1 <= self.num_steps < 2**31:
      raise InputError(
        f'num_steps is {self.num_steps}; it must be 1 or more and below 2^31, '
        'where the step is counted'
      )
    self._validate_stages()
    if self.init_from and self.resume_from:
      raise InputError(
        'init_from and resume_from are both set; init_from takes parameters '
        'alone, resume_from all of the state: keep one'
      )
    self.optimizer.build_schedule(self.num_steps)

  def plan(self) -> Plan:
    """The stages, with row length and batch size filled in."""
    stages = self.data.stages or (Stage(num_steps=self.num_steps),)
    return Plan(
      Stage(
        num_steps=stage.num_steps,
        row_length=stage.row_length or self.data.row_length,
        batch_size=stage.batch_size or self.batch_size,
      )
      for stage in stages
    )

  def _validate_stages(self) -> None:
    stages = self.data.stages
    total = sum(stage.num_steps for stage in stages)
    if stages and (
      total != self.num_steps or min(s.num_steps for s in stages) < 1
    ):
      raise InputError(
        f'data.stages: their num_steps are {[s.num_steps for s in stages]}, '
        f'which must be 1 or more each and num_steps={self.num_steps} in all; '
        'stages are written in the experiment file'
      )
    lengths = {'data.row_length': self.data.row_length}
    for number, stage in enumerate(self.plan().stages):
      lengths[f'data.stages[{number}].row_length'] = stage.row_length
      _validate_batch(stage.batch_size, self.num_microbatches)
    for name, length in lengths.items():
      if not MIN_ROW_LENGTH <= length <= self.model.max_positions:
        raise InputError(
          f'{name} is {length}; it must be between {MIN_ROW_LENGTH} '
          f'and model.max_positions={self.model.max_positions}'
        )


@dataclasses.dataclass(kw_only=True, slots=True)
class FinetuneExperiment:
  """A fine-tuning run over `num_seeds` seeds at once.

  init_from: a workdir or a Hugging Face folder; empty: from scratch, with
    `model` and `tokenizer` (a folder or vocab.txt).
  gradients: PlainConfig, or FGMConfig for adversarial training.
  peft: FullTuningConfig, or a method that trains a part, such as LoRAConfig.
    Then `init_from` is the base, which must stay as long as the workdir is
    used.
  reinit_layers: the number of top layers that start anew, with all that lies
    above them, instead of from init_from (Zhang et al. 2021,
    https://arxiv.org/abs/2006.05987).
  dropout: rate in both attention and hidden layers.
  average_decay: decay of a moving average of the parameters (EMA), which is
    evaluated, kept and exported in their place; 0: no average.
  eval_every_epochs: the best epoch is one of the evaluated ones.
  patience_epochs: epochs without progress before the run stops; 0: no limit.
  length_buckets: rows are put together by length and padded to one of at most
    so many lengths, each a program to compile; 1 pads all to max_length.
  attention, remat, scan_layers, xla_options, deterministic: those of
    PretrainExperiment.
  max_unknown: a larger share of unknown tokens is an error; 1: never.
  """

  seed: int = 0
  num_seeds: int = 1
  num_epochs: int
  batch_size: int
  num_microbatches: int = 1
  max_length: int = 128
  task: TaskConfig = dataclasses.field(default_factory=ClassificationConfig)
  init_from: str = ''
  reinit_layers: int = 0
  model: EncoderConfig = dataclasses.field(default_factory=bert_mini)
  tokenizer: str = ''
  dropout: float = 0.1
  average_decay: float = 0.0
  optimizer: Optimizer = dataclasses.field(default_factory=AdamWConfig)
  gradients: GradientsConfig = dataclasses.field(default_factory=PlainConfig)
  peft: MethodConfig = dataclasses.field(default_factory=FullTuningConfig)
  eval_every_epochs: int = 1
  patience_epochs: int = 0
  length_buckets: int = 4
  eval_batch_size: int = execution(64)
  checkpoint: CheckpointConfig = execution(
    default_factory=lambda: CheckpointConfig(every_steps=500, keep_last=1)
  )
  logging: LoggingConfig = execution(
    default_factory=lambda: LoggingConfig(every_steps=50)
  )
  mesh: MeshConfig = execution(default_factory=MeshConfig)
  attention: tuple[Backend, ...] = execution(())
  remat: str = execution('none')
  scan_layers: bool = execution(False)
  xla_options: tuple[str, ...] = execution(())
  deterministic: bool = execution(False)
  compute_dtype: str = ''
  max_nonfinite_steps: int = execution(20)
  max_unknown: float = execution(unknown.MAX_SHARE)
  profile_steps: tuple[int, ...] = execution(())

  @staticmethod
  def from_earlier(fields: dict[str, object]) -> dict[str, object]:
    """Converts the fields of an earlier version, which padded all rows."""
    return {'length_buckets': 1} | fields

  def validate(self) -> None:
    """Raises InputError on a config that cannot be."""
    _validate_common(self)
    self.task.validate()
    self.peft.validate()
    if self.peft.has_base and not self.init_from:
      raise InputError(
        f'init_from is empty, and {type(self.peft).__name__} trains beside a '
        'base; give --config.init_from=WORKDIR (or a Hugging Face folder)'
      )
    if self.reinit_layers < 0 or (self.reinit_layers and not self.init_from):
      raise InputError(
        f'reinit_layers is {self.reinit_layers}; it must be 0 or more, and 0 '
        'without init_from, where all layers start anew'
      )
    if not 0 < self.max_unknown <= 1:
      raise InputError(
        f'max_unknown is {self.max_unknown}; it must be above 0 and at most 1'
      )
    if not self.init_from:
      self.model.validate()
    counts = (
      'num_seeds',
      'num_epochs',
      'eval_every_epochs',
      'eval_batch_size',
      'length_buckets',
    )
    for name in counts:
      if getattr(self, name) < 1:
        raise InputError(
          f'{name} is {getattr(self, name)}; it must be 1 or more'
        )
    if not 0 <= self.dropout < 1:
      raise InputError(f'dropout is {self.dropout}; it must be in [0, 1)')
    if not 0 <= self.average_decay < 1:
      raise InputError(
        f'average_decay is {self.average_decay}; it must be in [0, 1), and 0 '
        'keeps no average'
      )
    if (why := getattr(self.task, 'needs_dropout', '')) and not self.dropout:
      raise InputError(f'dropout is 0, and {why}; give --config.dropout=0.1')
    if not self.init_from and not self.tokenizer:
      raise InputError(
        'init_from and tokenizer are both empty; give --config.init_from='
        'WORKDIR (or a Hugging Face folder), or --config.tokenizer=DIR to '
        'start from scratch'
      )
    if self.max_length < MIN_ROW_LENGTH:
      raise InputError(
        f'max_length is {self.max_length}; it must be {MIN_ROW_LENGTH} or more'
      )


@dataclasses.dataclass(kw_only=True, slots=True)
class ConvertedModel:
  """The config of a workdir that was converted or grown, not trained here.

  family: the family's name in interop/, '' for a grown run.
  heads: names of the parts beside the encoder.
  no_classifier: why a classifier of the checkpoint was left out; '' if it had
    none.
  task: the task of its head, with the columns that `evaluate` and `predict`
    read.
  facts: the facts of the task; None if there is no such head.
  """

  model: EncoderConfig
  family: str = ''
  heads: tuple[str, ...] = ()
  no_classifier: str = ''
  task: TaskConfig = dataclasses.field(
    default_factory=lambda: ClassificationConfig(train_path='', eval_path='')
  )
  facts: dict[str, object] | None = None

  @staticmethod
  def from_earlier(fields: dict[str, object]) -> dict[str, object]:
    """Converts the fields of an earlier version, which knew only one task."""
    fields = dict(fields)
    if names := fields.pop('label_names', None):
      fields['facts'] = {'labels': names}
    return fields

  @property
  def max_length(self) -> int:
    return self.model.max_positions


def model_of(
  experiment: PretrainExperiment | FinetuneExperiment, objective: Objective
) -> Model:
  """The model that an experiment trains for an objective or a task.

  Matrix products use the experiment's compute_dtype, which must not be ''.
  """
  return model_with_heads(
    experiment.model,
    objective.heads(),
    experiment.compute_dtype,
    execution=_layer_execution(experiment),
  )


def program_of(
  experiment: PretrainExperiment,
  objective: Objective,
  model: Model,
  key: jax.Array,
) -> Program:
  """The step of a pretraining run on the mesh that is set.

  `key` may be abstract.
  """
  return make_program(
    objective,
    model,
    experiment.optimizer.build(model.infos),
    experiment.optimizer.build_schedule(experiment.num_steps),
    key,
    gradients=experiment.gradients.build(experiment.model.table_dim),
    num_microbatches=experiment.num_microbatches,
    xla_options=xla_options.step_options(
      experiment, jax.sharding.get_mesh().devices.flat[0].platform
    ),
  )


def _layer_execution(
  experiment: PretrainExperiment | FinetuneExperiment,
) -> LayerExecution:
  return LayerExecution(
    experiment.attention, experiment.remat, experiment.scan_layers
  )


def _validate_common(config: PretrainExperiment | FinetuneExperiment) -> None:
  check_classes(config)
  parts = (
    config.optimizer,
    config.gradients,
    config.checkpoint,
    config.logging,
  )
  for part in parts:
    part.validate()
  _layer_execution(config).validate()
  xla_options.validate(config)
  _validate_batch(config.batch_size, config.num_microbatches)
  for name in ('init_from', 'resume_from'):
    if path := getattr(config, name, ''):
      workdir_path(path, name)
  if tokenizer := getattr(config, 'tokenizer', ''):
    local_path(tokenizer, 'tokenizer')
  if config.compute_dtype not in ('', 'float32', 'bfloat16'):
    raise InputError(
      f'compute_dtype is {quoted(config.compute_dtype)}; choose float32 or '
      "bfloat16, or '' for the device's own"
    )
  steps = config.profile_steps
  if steps and (len(steps) != 2 or not 0 <= steps[0] < steps[1]):
    raise InputError(
      f'profile_steps is {shown(str(steps))}; give two step numbers, such as '
      '10,13'
    )


def _validate_batch(batch_size: int, num_microbatches: int) -> None:
  if batch_size < 1 or num_microbatches < 1:
    raise InputError(
      f'batch_size={batch_size} and num_microbatches={num_microbatches} must '
      'be 1 or more'
    )
  if batch_size % num_microbatches:
    raise InputError(
      f'num_microbatches={num_microbatches} does not divide '
      f'batch_size={batch_size}; choose a divisor'
    )
