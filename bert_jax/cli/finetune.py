"""Tune a pretrained encoder, or a fresh one, on labelled examples.

bert-jax finetune --config=experiments/finetune/classification.py \\
    --workdir=DIR --config.init_from=PRETRAIN_WORKDIR \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence --config.task.label_column=label

Each task is a file of experiments/finetune/: classification.py, regression.py,
tagging.py (a label for each word), question_answering.py, multiple_choice.py,
sentence_embedding.py, reranking.py, intents.py (with slots); glue.py:TASK has
the nine of GLUE. lora.py and frozen.py tune a part of the parameters. A task's
fields are those of --config.task, and its file says what it reads.

Examples are read from .tsv, .csv, .tab, .jsonl, .ndjson, .json (lines or one
array; each .gz, .xz or .zst too) or .parquet; every row of a .tsv or .csv has
one width, and the classes are printed with their counts. Where columns are
numbers from 0, a .tsv or .csv has no header (--config.task.header=yes passes
over one).

Without an eval_path a tenth of the training examples, of each class, is held
out. Without init_from it starts from scratch, with --config.tokenizer=DIR. The
same command continues a run that was stopped, and prints the figures of one
that is finished, where the files still hold what they did.

--grid=optimizer.learning_rate=1e-4,3e-4,1e-3 --grid=batch_size=16,32 tunes all
six, each in a folder of DIR/grid, and the one with the highest mean figure on
the evaluation part becomes the model of DIR.
"""

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags
from bert_jax.errors import InputError

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string(
  'workdir', None, 'Where config, checkpoints and results go.', required=True
)
ALLOW_CHANGE = absl_flags.DEFINE_list(
  'allow_change',
  [],
  'Config fields that may differ from those of the workdir, comma-separated.',
)
GRID = absl_flags.DEFINE_multi_string(
  'grid',
  [],
  'FIELD=VALUE,VALUE: a run for each value; given for several fields, for each '
  'combination.',
)
PREEMPTED_EXIT_CODE = process_flags.define_preempted_exit_code()
JOINED = process_flags.define_processes()


def main(argv: list[str]) -> int:
  flags.no_arguments(argv)
  with JOINED('finetune'):
    return _finetune()


def _finetune() -> int:
  from bert_jax.cli.outcome import report_outcome
  from bert_jax.jobs import tuning_grid
  from bert_jax.jobs.finetune import finetune
  from bert_jax.parallel import distributed
  from bert_jax.report import results, spread
  from bert_jax.workdir import Workdir, read_json

  axes = tuning_grid.read_axes(GRID.value)
  for field in flags.overridden():
    if field in axes:
      raise InputError(
        f'--grid and --config both set {field}; give one of them'
      )
  options = dict(
    allow_change=tuple(ALLOW_CHANGE.value), began=process_flags.BEGAN
  )
  if axes:
    outcome = tuning_grid.finetune_grid(
      CONFIG.value, WORKDIR.value, axes, **options
    )
  else:
    tuning_grid.require_no_grid(WORKDIR.value)
    outcome = finetune(CONFIG.value, WORKDIR.value, **options)
  if distributed.is_first() and not outcome.stopped_by:
    workdir = Workdir(WORKDIR.value)
    config = read_json(workdir.config)
    found = results.read_results_json(workdir, config)
    print(spread.results_lines(found, results.task_of(config)))
  return report_outcome(
    'finetune', outcome, WORKDIR.value, PREEMPTED_EXIT_CODE.value
  )
