"""Write report.html: curves, evaluation, packing, fine-tuning tables.

  bert-jax report --workdir=runs/base --finetuned=runs/tuned,runs/from_scratch

The report is one file without outside resources. A pretrained and a
from-scratch fine-tuning, or else the first two, are compared if their held-out
examples are the same: in pairs if they have the same seeds, or in pooled
standard deviations over their seeds.
"""

from absl import flags

from bert_jax.cli.flags import define_own_classes, no_arguments
from bert_jax.errors import require_package

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'The run to report on.', required=True
)
_FINETUNED = flags.DEFINE_list(
  'finetuned', [], 'Workdirs of fine-tuning runs to show, comma-separated.'
)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'The file to write; default: report.html in the workdir.'
)
define_own_classes()


def main(arguments: list[str]) -> None:
  no_arguments(arguments)
  require_package('matplotlib', 'a report', 'report')
  from bert_jax import durable_files, inference
  from bert_jax.report import page
  from bert_jax.train.checkpoint import saved_steps
  from bert_jax.workdir import Workdir

  workdir = Workdir(_WORKDIR.value)
  if saved_steps(workdir.checkpoints) and not workdir.results.exists():
    samples = inference.load(workdir.path).samples()
    durable_files.write_json(workdir.fill_mask, samples)
  path = page.write_report(
    _WORKDIR.value, _FINETUNED.value, _OUTPUT.value or None
  )
  if lines := page.summary(_WORKDIR.value, _FINETUNED.value):
    print(lines)
  print(f'The report is in {path}')
