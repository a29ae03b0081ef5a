"""A tokenizer that does something in the process that works with it."""

import os
import pathlib
import signal
import threading
from collections.abc import Sequence
from typing import Any


class ActingTokenizer:
  """A tokenizer that leaves a file for each process, and acts.

  Args:
    tokenizer: does the work.
    folder: receives a file with the process's id as its name.
    act: 'kill' ends the process by SIGKILL, 'wait' waits for ever.
    when: acts once so many blocks are finished in `blocks`.
    blocks: a folder that finished blocks lie below.
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
