"""Show what a pretrained encoder puts in the place of [MASK].

bert-jax fill_mask --workdir=DIR "The [MASK] of an array"
"""

from absl import flags as absl_flags

from bert_jax.cli import flags
from bert_jax.errors import InputError

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A workdir, WORKDIR@STEP, or a Hugging Face folder.',
  required=True,
)
TOP_K = absl_flags.DEFINE_integer('top_k', 5, 'How many tokens to show.')
flags.define_own_classes()


def main(argv: list[str]) -> None:
  if not argv:
    raise InputError(
      'give a text with [MASK] in it, such as "The [MASK] of an array"'
    )
  from bert_jax import inference

  model = inference.load(WORKDIR.value)
  for text in argv:
    print(text)
    for number, tokens in enumerate(model.fill_mask(text, TOP_K.value), 1):
      for entry in tokens:
        print(f'  {number}  {entry["probability"]:6.1%}  {entry["token"]}')
