"""Make a larger model from a checkpoint: longer, deeper, wider, more tokens.

bert-jax grow --input=SMALL --output=GROWN --num_layers=24 --width_factor=2

GROWN is a workdir for every verb: give it to pretrain as --config.init_from,
with the --config.model flags that this verb prints. All heads come along. Each
step prints what of the function it keeps: layers with the norm before them
(ModernBERT) and width keep it, other layers and positions do not.

More tokens: copy the tokenizer of SMALL, append entries, and give the copy.
WordPiece: lines at the end of vocab.txt, ##ing for a piece that goes on with a
word. Byte-level BPE: added_tokens of tokenizer.json, as add_tokens of
transformers writes them. SentencePiece: pieces at the end of the model. Each
starts from the mean of the pieces that stood for it.

cp -r SMALL/tokenizer more && cat words.txt >> more/vocab.txt
bert-jax grow --input=SMALL --output=GROWN --tokenizer=more
"""

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags

INPUT = absl_flags.DEFINE_string(
  'input',
  None,
  'A workdir, WORKDIR@STEP, or a Hugging Face folder.',
  required=True,
)
OUTPUT = absl_flags.DEFINE_string(
  'output',
  None,
  'The new workdir; growth.json in it says what was done.',
  required=True,
)
NUM_LAYERS = absl_flags.DEFINE_integer(
  'num_layers', None, 'Layers from now on.'
)
WIDTH_FACTOR = absl_flags.DEFINE_integer(
  'width_factor', None, 'Times the width, heads and feed-forward width.'
)
MAX_POSITIONS = absl_flags.DEFINE_integer(
  'max_positions', None, 'Positions from now on.'
)
ROTARY_THETA = absl_flags.DEFINE_float(
  'rotary_theta',
  0.0,
  'Theta of rotary positions, with --max_positions; by default it grows with '
  'the length. The old theta keeps the results for short rows.',
)
TOKENIZER = absl_flags.DEFINE_string(
  'tokenizer', '', 'A tokenizer with all entries of the old one, then more.'
)
SEED = absl_flags.DEFINE_integer(
  'seed',
  0,
  'Seed of the differences between copies of a unit when the width grows.',
  lower_bound=0,
  upper_bound=2**32 - 1,
)
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  process_flags.refuse_several('grow')
  from bert_jax.jobs import grow

  growth = grow.Growth(
    num_layers=NUM_LAYERS.value,
    width_factor=WIDTH_FACTOR.value,
    max_positions=MAX_POSITIONS.value,
    rotary_theta=ROTARY_THETA.value,
    tokenizer=TOKENIZER.value,
  )
  lines = grow.grow(INPUT.value, OUTPUT.value, growth, seed=SEED.value)
  print('\n'.join(lines))
