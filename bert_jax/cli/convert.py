"""Convert a Hugging Face checkpoint to a workdir, or a workdir to that.

bert-jax convert --input=HF_FOLDER --output=WORKDIR
bert-jax convert --input=WORKDIR --output=HF_FOLDER --output_format=huggingface
bert-jax convert --input=LORA_WORKDIR --output=ADAPTER --output_format=peft
bert-jax convert --input=WORKDIR --output=FOLDER \\
    --output_format=sentence_transformers

Neither torch nor transformers is needed; where both are installed, hidden
states and logits are compared. WORKDIR@STEP exports that checkpoint; of a
fine-tuning run it is the best seed, or another by --seed. Families: BERT,
RoBERTa, DistilBERT, ALBERT, ELECTRA, ModernBERT. Names under torch.compile,
FSDP or DataParallel are read; any other prefix is refused with what to do. A
LoRA of the peft package opens merged with its base, which its config names and
which must be a folder here. The weights say how many labels there are.
bert_model.ckpt of google-research/bert is read with TensorFlow (pip install
tensorflow-cpu).
"""

from absl import flags as absl_flags

from bert_jax.cli import flags

INPUT = absl_flags.DEFINE_string(
  'input',
  None,
  'A folder of Hugging Face or Google, or WORKDIR[@STEP].',
  required=True,
)
OUTPUT = absl_flags.DEFINE_string(
  'output',
  None,
  'The new folder; parity.json in it says what was found.',
  required=True,
)
OUTPUT_FORMAT = absl_flags.DEFINE_string(
  'output_format',
  'workdir',
  'workdir, huggingface, peft or sentence_transformers.',
)
ARCHITECTURE = absl_flags.DEFINE_string(
  'architecture',
  '',
  'The class of transformers to export as, such as BertForMaskedLM or '
  'BertModel; default: the one with the most of the heads. For a run on '
  'replaced tokens, ElectraForMaskedLM is the generator.',
)
SEED = absl_flags.DEFINE_integer(
  'seed',
  None,
  'Another seed than the best, for a fine-tuning run given as WORKDIR@STEP. '
  'results.json says at which step each was best.',
)
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax.jobs import convert

  lines = convert.convert(
    INPUT.value,
    OUTPUT.value,
    output_format=OUTPUT_FORMAT.value,
    architecture=ARCHITECTURE.value,
    seed=SEED.value,
  )
  print('\n'.join(lines))
