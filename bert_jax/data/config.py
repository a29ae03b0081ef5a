"""The data of a run: corpora, mixtures, stages, copies of remote corpora."""

import dataclasses

from bert_jax.config.codec import execution
from bert_jax.data.reading.mixture import MixturePhase
from bert_jax.data.reading.plan import Stage
from bert_jax.data.remote.corpus import COPIES_PATH
from bert_jax.errors import InputError


@dataclasses.dataclass(kw_only=True, slots=True)
class Corpus:
  """A corpus that `bert-jax prepare` wrote.

  path: its --output folder, or the gs:// or s3:// URL it was copied to.
  max_epochs: how often its rows may be read at most; 0: without a limit.
  """

  path: str = execution('')
  max_epochs: int = 0


@dataclasses.dataclass(kw_only=True, slots=True)
class DataConfig:
  """The data of a run: one corpus or several, in one stage or several.

  path, max_epochs: fields of the one Corpus; use `corpora` for several.
  row_length: tokens per row in stages that name no length, and in evaluation.
  stages: read one after the other, with `num_steps` in all; empty: one stage.
  mixture: weights of the corpora, each from an example number on; empty: in
    proportion to their rows.
  shards_per_group: shards over which rows are shuffled together; 0: all.
  staging_path: a folder of this host for copies of corpora at gs:// or s3://.
    A whole copy stays there, and later runs read it as well.
  staging_gigabytes: limit, in 10^9 bytes, of the copies of a run, all its
    corpora and row lengths together; 0: no limit. If they are larger, the
    folder holds, for each row length of each corpus, the held-out rows and two
    groups of `shards_per_group` shards: the one being read and the next.
    Training waits for the first group of each stage, and for later ones only
    if they are late (input_wait_share).
  """

  path: str = execution('')
  max_epochs: int = 0
  corpora: tuple[Corpus, ...] = ()
  row_length: int = 128
  stages: tuple[Stage, ...] = ()
  mixture: tuple[MixturePhase, ...] = ()
  shuffle: bool = True
  shards_per_group: int = 0
  staging_path: str = execution(COPIES_PATH)
  staging_gigabytes: float = execution(0.0)

  def all_corpora(self) -> tuple[Corpus, ...]:
    return self.corpora or (Corpus(path=self.path, max_epochs=self.max_epochs),)

  def validate(self) -> None:
    if self.corpora and (self.path or self.max_epochs):
      raise InputError(
        'data.path and data.corpora are both set; name every corpus, with its '
        'max_epochs, in data.corpora'
      )
    for corpus in self.all_corpora():
      if not corpus.path:
        raise InputError(
          'data.path is empty; give --config.data.path=DIR, the --output of '
          'bert-jax prepare'
        )
    # The comparison is false for nan, so nan is refused too.
    if not 0 <= self.staging_gigabytes < float('inf'):
      raise InputError(
        f'data.staging_gigabytes={self.staging_gigabytes}: give 0 (no limit) '
        'or a positive number'
      )
    if not self.staging_path:
      raise InputError(
        'data.staging_path is empty; give a folder for copies of corpora, such '
        f'as {COPIES_PATH}'
      )
