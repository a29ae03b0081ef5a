"""BERT as google-research/bert has it: bert_config.json and bert_model.ckpt.

TensorFlow reads the file; only here, and only where one is read.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from bert_jax.errors import InputError, one_line
from bert_jax.interop import huggingface
from bert_jax.interop.bert import BERT
from bert_jax.interop.family import Family, read_params
from bert_jax.interop.family_config import read_config
from bert_jax.interop.name_table import Rule

CONFIG = 'bert_config.json'
_INDEX = '.index'
_EMBEDDINGS = (
  ('token/embedding', 'word_embeddings'),
  ('position/embedding', 'position_embeddings'),
  ('token_type/embedding', 'token_type_embeddings'),
  ('norm/scale', 'LayerNorm/gamma'),
  ('norm/bias', 'LayerNorm/beta'),
)
_LAYER = (
  ('attention/query/kernel', 'attention/self/query/kernel'),
  ('attention/query/bias', 'attention/self/query/bias'),
  ('attention/key/kernel', 'attention/self/key/kernel'),
  ('attention/key/bias', 'attention/self/key/bias'),
  ('attention/value/kernel', 'attention/self/value/kernel'),
  ('attention/value/bias', 'attention/self/value/bias'),
  ('attention/output/kernel', 'attention/output/dense/kernel'),
  ('attention/output/bias', 'attention/output/dense/bias'),
  ('attention_norm/scale', 'attention/output/LayerNorm/gamma'),
  ('attention_norm/bias', 'attention/output/LayerNorm/beta'),
  ('feed_forward/input/kernel', 'intermediate/dense/kernel'),
  ('feed_forward/input/bias', 'intermediate/dense/bias'),
  ('feed_forward/output/kernel', 'output/dense/kernel'),
  ('feed_forward/output/bias', 'output/dense/bias'),
  ('feed_forward_norm/scale', 'output/LayerNorm/gamma'),
  ('feed_forward_norm/bias', 'output/LayerNorm/beta'),
)
_HEADS = (
  ('pooler/kernel', 'bert/pooler/dense/kernel'),
  ('pooler/bias', 'bert/pooler/dense/bias'),
  ('mlm_head/transform/kernel', 'cls/predictions/transform/dense/kernel'),
  ('mlm_head/transform/bias', 'cls/predictions/transform/dense/bias'),
  ('mlm_head/norm/scale', 'cls/predictions/transform/LayerNorm/gamma'),
  ('mlm_head/norm/bias', 'cls/predictions/transform/LayerNorm/beta'),
  ('mlm_head/bias', 'cls/predictions/output_bias'),
  ('next_sentence_head/bias', 'cls/seq_relationship/output_bias'),
)

GOOGLE_BERT = Family(
  model_type='bert',
  prefix='bert/',
  table=(
    *(
      Rule(f'encoder/embeddings/{ours}', f'bert/embeddings/{theirs}')
      for ours, theirs in _EMBEDDINGS
    ),
    *(
      Rule(f'encoder/layers/{{}}/{ours}', f'bert/encoder/layer_{{}}/{theirs}')
      for ours, theirs in _LAYER
    ),
    *(Rule(ours, theirs) for ours, theirs in _HEADS),
    # A matrix [2, embed] in their code, not a layer of the library.
    Rule(
      'next_sentence_head/kernel',
      'cls/seq_relationship/output_weights',
      transposed=True,
    ),
  ),
  # bert_config.json has the same field names as a config.json of transformers.
  fields=BERT.fields,
  fixed=BERT.fixed,
  architectures=BERT.architectures,
  tokenizer_classes=BERT.tokenizer_classes,
  # State of the optimizer in checkpoints of training.
  buffers=r'global_step|.*/adam_[mv]',
)


def is_folder(folder: pathlib.Path) -> bool:
  return (folder / CONFIG).is_file() and bool(_checkpoints(folder))


def weights(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of `folder` that `read` takes parameters from."""
  return [
    path
    for checkpoint in _checkpoints(folder)
    for path in sorted(folder.glob(f'{checkpoint.name}.*'))
  ]


def read(
  folder: pathlib.Path,
  *,
  tokenizer_size: int,
  pad_id: int | None = None,
  problems: Sequence[str] = (),
) -> huggingface.Checkpoint:
  """Reads a checkpoint as huggingface.read does; needs TensorFlow."""
  del pad_id  # no position depends on it
  checkpoints = _checkpoints(folder)
  if len(checkpoints) > 1:
    names = ', '.join(path.name for path in checkpoints)
    raise InputError(
      f'{folder}: it has several checkpoints ({names}); keep one'
    )
  config = huggingface.read_json(folder / CONFIG)
  weights = _read_weights(checkpoints[0])
  return from_arrays(
    folder,
    config,
    weights,
    tokenizer_size=tokenizer_size,
    problems=problems,
  )


def from_arrays(
  folder: pathlib.Path,
  config: dict,
  weights: dict[str, np.ndarray],
  *,
  tokenizer_size: int,
  problems: Sequence[str] = (),
) -> huggingface.Checkpoint:
  """The part of `read` that needs no TensorFlow."""
  problems, notes = [*problems], []
  model = read_config(GOOGLE_BERT, config, problems)
  if problems:
    raise huggingface.refused(folder, problems)
  found = read_params(GOOGLE_BERT, model, weights, problems)
  huggingface.check_tokenizer_size(tokenizer_size, model, problems, notes)
  if problems:
    raise huggingface.refused(folder, problems)
  return huggingface.Checkpoint(
    family=BERT,
    model=model,
    params=found.params,
    heads=found.heads,
    head=None,
    left_out=found.left_out,
    notes=(*notes, *found.notes),
    no_comparison='not of transformers',
  )


def _checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
  """Paths of checkpoints without their endings, as TensorFlow wants them."""
  return sorted(
    path.with_suffix('') for path in folder.glob(f'*.ckpt*{_INDEX}')
  )


def _read_weights(checkpoint: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import tensorflow as tf
  except ImportError:
    raise InputError(
      f'{checkpoint}: reading it needs TensorFlow; pip install tensorflow-cpu'
    ) from None
  try:
    reader = tf.train.load_checkpoint(str(checkpoint))
    return {
      name: reader.get_tensor(name)
      for name in reader.get_variable_to_shape_map()
    }
  except (tf.errors.OpError, ValueError, LookupError, RuntimeError) as error:
    raise InputError(
      f'{checkpoint}: cannot be read ({one_line(error)}); fetch it again'
    ) from None
