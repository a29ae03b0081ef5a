"""Runs of an earlier version, stopped midway, end as that version ended them.

golden/run_of_an_earlier_version.tar.xz holds a prepared corpus, a pretraining
run of ten steps and a fine-tuning run of eight. Commit 2c38d8d made them; a
signal stopped them after steps 4 and 5. The digests and figures below are those
of that commit when it continued both without a change, with jax 0.12.0.1 on one
device of an x86-64 CPU.
"""

import json
import os
import pathlib
import tarfile

from other_process import ROOT, run_python

ARCHIVE = pathlib.Path(__file__).parent / (
  'golden/run_of_an_earlier_version.tar.xz'
)
PRETRAINED = '4436d085f7bddd925710a288e6506f3ea9b69180d661c34809f7cb5841fce4ee'
FINETUNED = '8fc66b6136588b22213da5694f3cd8f8427b5e360e6483596f9d22bbcf09a5b3'
ACCURACIES = [0.34375, 0.34375]

# The process has one device: the number of devices decides how XLA divides the
# threads, and so the rounding.
_CONTINUE_BOTH = """
import hashlib, os
from runs import arrays
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.pretrain import pretrain
from bert_jax.workdir import Workdir

def digest(path, step):
  hasher = hashlib.sha256()
  for name, array in sorted(arrays(path, step).items()):
    hasher.update(name.encode() + array.tobytes())
  return hasher.hexdigest()

pretrain(Workdir('pretrain').read_config(), 'pretrain')
print('pretrained', digest('pretrain', 10))
# The fine-tuning run started from the end of the other one.
os.rename('pretrain', 'pretrain_end')
finetune(Workdir('finetune').read_config(), 'finetune')
print('finetuned', digest('finetune', 8))
"""


def test_both_runs_end_bit_for_bit(tmp_path):
  with tarfile.open(ARCHIVE) as archive:
    archive.extractall(tmp_path, filter='data')
  result = run_python(
    *('-c', _CONTINUE_BOTH),
    folder=tmp_path,
    PYTHONPATH=os.pathsep.join([str(ROOT / 'tests'), str(ROOT)]),
  )
  assert result.returncode == 0, result.stderr
  lines = result.stdout.splitlines()
  assert f'pretrained {PRETRAINED}' in lines
  assert f'finetuned {FINETUNED}' in lines
  results = json.loads((tmp_path / 'finetune' / 'results.json').read_text())
  assert [run['accuracy'] for run in results['runs']] == ACCURACIES
