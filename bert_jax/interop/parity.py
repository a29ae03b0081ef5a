"""Compares a converted model with transformers, if that is installed."""

import json
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import one_line
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import text_vector
from bert_jax.models.masks import RowLayout


class NotLoaded(Exception):
  """transformers cannot load a folder; the message says why."""


_ROWS, _LENGTH = 3, 24


def is_possible() -> bool:
  """Returns whether transformers and torch can be imported."""
  try:
    import torch  # noqa: F401
    import transformers  # noqa: F401
  except ImportError:
    return False
  return True


def compare(
  folder: pathlib.Path,
  architecture: str,
  model: functional.Model,
  params: functional.Params,
  *,
  vocab_size: int,
  pad_id: int,
  pooling: str,
) -> dict[str, Any]:
  """Compares the outputs of both on fixed inputs, in f32; raises NotLoaded.

  Args:
    folder: a Hugging Face folder with the same parameters as ours.
    architecture: the class of transformers to load it as.
    model, params: our encoder with heads.
    vocab_size, pad_id: those of the inputs, which are rows of random ids, the
      last ones padded, with two token types where the encoder has them.
    pooling: that of the classifier, one of models/heads.py.

  Returns:
    `largest_difference` by output, over all places with text; the keys that
    transformers missed or did not expect; the versions.
  """
  import torch
  import transformers

  ids, layout = _inputs(model.config, vocab_size, pad_id)
  theirs, loading = _run_theirs(
    folder, architecture, ids, layout, model.config.num_token_types > 1
  )
  ours = _run_ours(model, params, ids, layout, pooling)
  if 'mlm_logits' in ours:
    # Our table may be padded with entries that are never predicted.
    ours['mlm_logits'] = ours['mlm_logits'][..., : model.config.vocab_size]
  is_text = np.asarray(layout.segment_ids) > 0
  differences = {}
  for name in sorted(theirs.keys() & ours.keys()):
    difference = np.abs(theirs[name] - ours[name])
    if name in _OF_TOKENS:
      difference = difference[..., is_text, :]
    elif name == 'replaced_logits':
      difference = difference[is_text]
    differences[name] = float(difference.max())
  return {
    'largest_difference': differences,
    'missing_keys': sorted(loading['missing_keys']),
    'unexpected_keys': sorted(loading['unexpected_keys']),
    'compared_with': (
      f'transformers {transformers.__version__}, torch {torch.__version__}'
    ),
  }


def compare_ids(
  folder: pathlib.Path,
  texts: Sequence[str],
  ids: Sequence[np.ndarray],
  pieces: Collection[str] = (),
) -> dict[str, Any]:
  """Counts the texts that AutoTokenizer of the folder encodes otherwise.

  Args:
    folder: a Hugging Face folder.
    texts, ids: texts and our ids of them, without special tokens around.
    pieces: added tokens of AutoTokenizer that are to be ordinary pieces.

  Returns:
    `texts`, `differing`, and of the first that differs `text`, `ours`, `theirs`
    as tokens; or `not_compared`, why transformers cannot load the folder.
  """
  import transformers

  transformers.logging.set_verbosity_error()
  try:
    tokenizer = transformers.AutoTokenizer.from_pretrained(
      folder, trust_remote_code=False
    )
    if pieces:
      theirs = _ids_without_added(tokenizer, texts, pieces)
    else:
      theirs = tokenizer([*texts], add_special_tokens=False)['input_ids']
  except Exception as error:  # whatever an untidy folder makes it raise
    return {'not_compared': f'{type(error).__name__}: {one_line(error)}'}
  differing = [
    (text, mine.tolist(), other)
    for text, mine, other in zip(texts, ids, theirs, strict=True)
    if mine.tolist() != other
  ]
  record: dict[str, Any] = {'texts': len(texts), 'differing': len(differing)}
  for text, mine, other in differing[:1]:
    tokens = tokenizer.convert_ids_to_tokens
    record |= {'text': text, 'ours': tokens(mine), 'theirs': tokens(other)}
  return record


def _ids_without_added(
  tokenizer: Any, texts: Sequence[str], contents: Collection[str]
) -> list[list[int]]:
  """The ids that the tokenizer gives if `contents` are no added tokens."""
  from tokenizers import Tokenizer

  spec = json.loads(tokenizer.backend_tokenizer.to_str())
  spec['added_tokens'] = [
    token for token in spec['added_tokens'] if token['content'] not in contents
  ]
  found = Tokenizer.from_str(json.dumps(spec)).encode_batch(
    [*texts], add_special_tokens=False
  )
  return [encoding.ids for encoding in found]


def _run_theirs(
  folder: pathlib.Path,
  architecture: str,
  ids: np.ndarray,
  layout: RowLayout,
  has_token_types: bool,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns (outputs by our names, from_pretrained's report on the keys)."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  transformers.utils.logging.disable_progress_bar()
  try:
    model, loading = getattr(transformers, architecture).from_pretrained(
      folder, output_loading_info=True, dtype=torch.float32
    )
  except Exception as error:  # whatever an untidy folder makes it raise
    raise NotLoaded(f'{type(error).__name__}: {one_line(error)}') from error
  model.eval()
  inputs = {'input_ids': ids, 'attention_mask': np.array(layout.segment_ids)}
  if has_token_types:
    inputs['token_type_ids'] = np.array(layout.token_type_ids)
  if architecture.endswith('ForMultipleChoice'):
    # Each row is an example of one choice.
    inputs = {name: array[:, None] for name, array in inputs.items()}
  with torch.no_grad():
    result = model(
      **{
        name: torch.from_numpy(array).long() for name, array in inputs.items()
      },
      output_hidden_states=True,
    )
  logits = {
    'ForMaskedLM': 'mlm_logits',
    'ForPreTraining': 'replaced_logits',
    'ForSequenceClassification': 'class_logits',
    'ForTokenClassification': 'token_class_logits',
    'ForMultipleChoice': 'choice_logits',
  }
  names = {
    'pooler_output': 'pooled',
    'prediction_logits': 'mlm_logits',
    'seq_relationship_logits': 'next_sentence_logits',
    'sop_logits': 'sentence_order_logits',
    'logits': next(
      (ours for end, ours in logits.items() if architecture.endswith(end)), ''
    ),
  }
  outputs = {
    ours: result[theirs].numpy()
    for theirs, ours in names.items()
    if result.get(theirs) is not None
  }
  if architecture.endswith('ForQuestionAnswering'):
    ends = result['start_logits'], result['end_logits']
    outputs['span_logits'] = torch.stack(ends, dim=-1).numpy()
  states = np.stack([state.numpy() for state in result.hidden_states])
  return outputs | {'hidden_states': states}, loading


def _inputs(
  model: EncoderConfig, vocab_size: int, pad_id: int
) -> tuple[np.ndarray, RowLayout]:
  """int32 ids [B, T] and their layout: each row one text, or a pair."""
  rng = np.random.default_rng(0)
  length = min(_LENGTH, model.max_positions)
  ids = rng.integers(0, vocab_size, (_ROWS, length)).astype(np.int32)
  # RoBERTa gives a padding token no position, even inside a text.
  ids = np.where(ids == pad_id, (pad_id + 1) % vocab_size, ids)
  # transformers returns NaN for a window of nothing but padding.
  step = length // 4
  if model.global_every > 1:
    step = min(step, model.local_window // 2 // _ROWS)
  column = np.broadcast_to(np.arange(length, dtype=np.int32), ids.shape)
  ends = length - np.arange(_ROWS)[:, None] * step
  is_text = (column < ends).astype(np.int32)
  layout = RowLayout(
    segment_ids=jnp.asarray(is_text),
    position_ids=jnp.asarray(column * is_text),
    token_type_ids=jnp.asarray((column >= ends // 2) * is_text),
  )
  return np.where(is_text > 0, ids, pad_id).astype(np.int32), layout


def _run_ours(
  model: functional.Model,
  params: functional.Params,
  ids_BT: np.ndarray,
  layout: RowLayout,
  pooling: str,
) -> dict[str, np.ndarray]:
  """Our outputs, for the heads that the model has."""

  @jax.jit
  def run(params: functional.Params) -> dict[str, jax.Array]:
    module: Any = model.bind(params)
    states = module.encoder.hidden_states(jnp.asarray(ids_BT), layout)
    found = {'hidden_states': jnp.stack(states)}
    embedding_VD = module.encoder.embeddings.token.embedding[...]
    if 'mlm_head' in params:
      found['mlm_logits'] = module.mlm_head(states[-1], embedding_VD)
    if 'replaced_token_head' in params:
      found['replaced_logits'] = module.replaced_token_head(states[-1])
    if 'token_classifier' in params:
      found['token_class_logits'] = module.token_classifier(states[-1])
    if 'span_head' in params:
      found['span_logits'] = module.span_head(states[-1])
    if 'pooler' in params:
      vector_BD = text_vector(states[-1], layout.segment_ids, pooling)
      found['pooled'] = module.pooler(vector_BD)
      for head, name in _ON_POOLER.items():
        if head in params:
          found[name] = getattr(module, head)(found['pooled'])
    return found

  return jax.device_get(run(params))


# Outputs [B, T, ...], of which those of padding do not count.
_OF_TOKENS = (
  'hidden_states',
  'mlm_logits',
  'token_class_logits',
  'span_logits',
)
_ON_POOLER = {
  'next_sentence_head': 'next_sentence_logits',
  'sentence_order_head': 'sentence_order_logits',
  'classifier': 'class_logits',
  'choice_head': 'choice_logits',
}
