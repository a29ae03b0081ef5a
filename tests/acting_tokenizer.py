"""A tokenizer that acts on the process that uses it, such as by killing it."""

import os
import pathlib
import signal
import threading
from collections.abc import Sequence
from typing import Any


class ActingTokenizer:
  """A tokenizer that leaves a file for each process, and acts.

  Args:
    tokenizer: the tokenizer that does the work.
    folder: receives a file named after the process's id.
    act: 'kill' ends the process by SIGKILL, 'wait' waits for ever.
    when: number of finished blocks in `blocks` from which on it acts.
    blocks: a folder with the finished blocks somewhere below it.
  """

  def __init__(
    self,
    tokenizer: Any,
    folder: pathlib.Path,
    act: str = '',
    when: int = 0,
    blocks: pathlib.Path | None = None,
  ):
    self.table = tokenizer.table
    self.fingerprint = tokenizer.fingerprint
    self._tokenizer = tokenizer
    self._folder = folder
    self._act = act
    self._when = when
    self._blocks = blocks

  def encode_batch(self, texts: Sequence[str]) -> list[Any]:
    (self._folder / str(os.getpid())).touch()
    if self._act and len(list(self._blocks.rglob('block-*.npz'))) >= self._when:
      if self._act == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
      threading.Event().wait()
    return self._tokenizer.encode_batch(texts)

  def encode_with_offsets(self, texts: Sequence[str]) -> list[Any]:
    return self._tokenizer.encode_with_offsets(texts)

  def token(self, token_id: int) -> str:
    return self._tokenizer.token(token_id)

  def save(self, folder: pathlib.Path) -> None:
    self._tokenizer.save(folder)
