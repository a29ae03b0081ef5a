"""A pretrained model in one form, wherever it came from."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

from bert_jax.data.tokenizers import Tokenizer
from bert_jax.experiment import PretrainExperiment
from bert_jax.interop import huggingface
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads
from bert_jax.models.heads_by_name import heads_of
from bert_jax.models.task_head import TaskHead
from bert_jax.param_info import Infos
from bert_jax.peft.base import Method
from bert_jax.tasks.base import Facts, Task
from bert_jax.train.initial import Initial


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A model, wherever it came from.

  origin: the path as given. experiment: its config, a ConvertedModel if it was
  not trained here. facts: facts of its task, None without a head for one.
  load_params: () -> host arrays. describe: () -> the content of the parameters'
  files, for run_inputs.py. checkpoint: the checkpoint of another library, None
  for a workdir. seed, best_seed, num_seeds: in fine-tuning, this model's seed,
  the best one, and their number. load_tuned: () -> the parameters tuned beside
  a base, None without a base.
  """

  origin: str
  experiment: Any
  tokenizer: Tokenizer
  facts: Facts | None
  load_params: Callable[[], functional.Params]
  describe: Callable[[], dict[str, Any]]
  checkpoint: huggingface.Checkpoint | None = None
  seed: int = 0
  best_seed: int = 0
  num_seeds: int = 1
  load_tuned: Callable[[], functional.Params] | None = None

  @property
  def model(self) -> EncoderConfig:
    return self.experiment.model

  @property
  def task(self) -> Task | None:
    """The task that the head is for; None without a head."""
    if self.facts is None:
      return None
    return self.experiment.task.build(self.tokenizer.table, self.facts)

  @property
  def task_head(self) -> TaskHead | None:
    """The head in the terms of other libraries; None if they have none."""
    return self.task.elsewhere() if self.task else None

  @property
  def which_seed(self) -> str:
    """The seed in words, such as '1, the best of 3'; '' if it was the only."""
    if self.num_seeds == 1:
      return ''
    if self.seed == self.best_seed:
      return f'{self.seed}, the best of {self.num_seeds}'
    return f'{self.seed} of {self.num_seeds}, not the best'

  def print_notes(self) -> None:
    """Prints what was filled up or left out of a checkpoint, to stderr.

    Verbs that do not show the notes otherwise call this once.
    """
    for note in self.checkpoint.notes if self.checkpoint else ():
      print(f'{self.origin}: {note}', file=sys.stderr, flush=True)

  def kept(self) -> 'Pretrained':
    """The same model; its parameters are read once, and kept in memory."""
    load_params = functools.cache(self.load_params)
    return dataclasses.replace(self, load_params=load_params)

  def infos(
    self, params: functional.Params, config: EncoderConfig | None = None
  ) -> Infos:
    """The declarations of `params`, including those of a user's own heads.

    `params` are this model's, or grown from them, with the sizes of `config`.
    """
    config, experiment = config or self.model, self.experiment
    heads = heads_of(config, params)
    if task := self.task:
      heads |= task.heads()
    elif isinstance(experiment, PretrainExperiment):
      heads |= experiment.objective.build(self.tokenizer.table).heads()
    return model_with_heads(config, heads, 'float32').infos

  def base_of(self, method: Method) -> functional.Params:
    """This model's parameters that `method` freezes."""
    params = self.load_params()
    _, base = method.split(params, self.infos(params))
    return base

  def initial(self) -> Initial:
    """The parameters to start a run from."""
    return Initial(self.origin, self.load_params)
