"""The commands that kill_drill.py runs, and the inputs that they read."""

import pathlib
import random
import shutil
from collections.abc import Callable

from kill_group import ROOT, Group

Command = Callable[[pathlib.Path], list[str]]

# Sizes of the models that are trained.
_SIZES = (
  '--config.model.num_layers=1',
  '--config.model.embed_dim=32',
  '--config.model.mlp_dim=64',
)


def commands(folder: pathlib.Path, steps: int) -> dict[str, Command]:
  """A function for each verb: the folder that it makes -> its command."""
  return {
    'prepare': prepare(folder, 'text.txt'),
    'pretrain': pretrain(folder, steps),
    'finetune': finetune(folder, steps),
    # An encoder to the form of Hugging Face, and back.
    'export': lambda target: [
      'convert',
      f'--input={folder / "encoder"}',
      '--output_format=huggingface',
      f'--output={target}',
    ],
    'convert': lambda target: [
      'convert',
      f'--input={folder / "exported"}',
      f'--output={target}',
    ],
  }


def make(folder: pathlib.Path, megabytes: float, verbs: list[str]) -> None:
  """Makes the inputs of the verbs, unless they are there."""
  if not (folder / 'ready').exists():
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_files(folder, megabytes)
    (folder / 'ready').touch()
  made = {
    'corpus': prepare(folder, 'small.txt'),
    'encoder': pretrain(folder, 11),
    'exported': commands(folder, 11)['export'],
  }
  if not {'export', 'convert'} & {*verbs}:
    del made['encoder'], made['exported']
  for name, command in made.items():
    if not (folder / f'{name}-made').exists():
      group = Group(command(folder / name), 1, folder / 'start')
      group.wait()
      if any(group.statuses()):
        raise SystemExit(group.text())
      (folder / f'{name}-made').touch()


def make_files(folder: pathlib.Path, megabytes: float) -> None:
  make_texts(folder, megabytes)
  for verb, path in (
    ('pretrain', 'experiments/pretrain/bert_tiny_local.py'),
    ('finetune', 'experiments/finetune/which_package.py'),
  ):
    here = str(pathlib.Path(__file__).parent)
    (folder / f'{verb}.py').write_text(
      f'import sys\n\nsys.path.insert(0, {here!r})\n'
      'import kill_notes\n\nkill_notes.keep()\n' + (ROOT / path).read_text()
    )


def make_texts(folder: pathlib.Path, megabytes: float) -> None:
  rng = random.Random(1)
  words = [
    ''.join(rng.choices('abcdefgh', k=rng.randint(2, 9))) for _ in range(999)
  ]
  (folder / 'vocab.txt').write_text(
    '\n'.join(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *sorted({*words})])
    + '\n'
  )
  with open(folder / 'text.txt', 'w') as file:
    while file.tell() < megabytes * 1e6:
      file.write(' '.join(rng.choices(words, k=rng.randint(5, 200))) + '\n')
  with open(folder / 'small.txt', 'w') as file:
    for _ in range(3000):
      file.write(' '.join(rng.choices(words, k=rng.randint(5, 60))) + '\n')
  for part in ('train', 'eval'):
    with open(folder / f'{part}.tsv', 'w') as file:
      file.write('text\tlabel\n')
      for _ in range(200):
        text = rng.choices(words, k=20)
        file.write(f'{" ".join(text)}\t{text[0] < "d"}\n')


def prepare(folder: pathlib.Path, text: str) -> Command:
  return lambda target: [
    'prepare',
    f'--input={folder / text}',
    '--document=line',
    f'--tokenizer={folder / "vocab.txt"}',
    '--row_length=32,64',
    f'--output={target}',
  ]


def pretrain(folder: pathlib.Path, steps: int) -> Command:
  return lambda target: [
    'pretrain',
    f'--config={folder / "pretrain.py"}',
    f'--config.data.path={folder / "corpus"}',
    *_SIZES,
    '--config.model.dropout=0.1',
    f'--config.num_steps={steps}',
    # Intervals that do not divide each other let lines, evaluations and
    # checkpoints meet in every order.
    '--config.checkpoint.every_steps=11',
    '--config.logging.every_steps=4',
    '--config.evaluation.every_steps=25',
    f'--workdir={target}',
  ]


def finetune(folder: pathlib.Path, steps: int) -> Command:
  return lambda target: [
    'finetune',
    f'--config={folder / "finetune.py"}',
    f'--config.tokenizer={folder / "vocab.txt"}',
    f'--config.task.train_path={folder / "train.tsv"}',
    f'--config.task.eval_path={folder / "eval.tsv"}',
    *_SIZES,
    '--config.num_seeds=2',
    '--config.max_length=24',
    f'--config.num_epochs={max(1, steps // 20)}',
    '--config.eval_every_epochs=1',
    '--config.checkpoint.every_steps=11',
    '--config.logging.every_steps=4',
    f'--workdir={target}',
  ]
