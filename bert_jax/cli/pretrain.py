"""Pretrain an encoder on a prepared corpus, or continue a run.

bert-jax pretrain --config=experiments/pretrain/bert_mini.py \\
    --config.data.path=CORPUS --workdir=DIR

The same command continues a run that was stopped, from its last checkpoint.
"""

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string(
  'workdir', None, 'Where config, checkpoints and metrics go.', required=True
)
ALLOW_CHANGE = absl_flags.DEFINE_list(
  'allow_change',
  [],
  'Config fields that may differ from those of the workdir, comma-separated.',
)
PREEMPTED_EXIT_CODE = process_flags.define_preempted_exit_code()
JOINED = process_flags.define_processes()


def main(argv: list[str]) -> int:
  flags.no_arguments(argv)
  from bert_jax.cli.outcome import report_outcome
  from bert_jax.jobs import pretrain

  with JOINED('pretrain'):
    outcome = pretrain.pretrain(
      CONFIG.value,
      WORKDIR.value,
      allow_change=tuple(ALLOW_CHANGE.value),
      began=process_flags.BEGAN,
    )
    return report_outcome(
      'pretrain', outcome, WORKDIR.value, PREEMPTED_EXIT_CODE.value
    )
