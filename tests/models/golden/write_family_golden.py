"""Writes FAMILY.npz: what transformers computes, for family_parity_test.py.

The files are committed, so that the test needs neither torch nor transformers.
To write them again, in an environment of its own (Python 3.11):

  python3.11 -m venv torch_env
  torch_env/bin/pip install torch==2.13.0 transformers==5.24.0 .
  PYTHONPATH=. torch_env/bin/python tests/models/golden/write_family_golden.py

Random weights in eval mode, as in write_bert_golden.py, computed in float64
(but for what transformers itself rounds to float32: ModernBERT's rotation).
Every model of a family gets the same encoder. Which array of ours each tensor
is, the tables in bert_jax/interop/ say.

Arrays of a file (B rows, T positions, D width, M masked positions a row):
  sizes/NAME              int: fields of our config that differ from the preset
  ids/NAME                int: pad, cls, sep and mask
  versions                str: what computed this
  params/OUR_PATH         float32: every parameter, named and laid out as ours
  inputs/NAME             as in write_bert_golden.py
  outputs/hidden/I        float32 [B, T, D], 0: embeddings, I: after layer I
  outputs/mlm_logits      float32 [B, T, vocabulary]
  outputs/mlm_loss        float32 [], mean cross entropy of the masked positions
  outputs/class_logits    float32 [B, classes]
  outputs/replaced_logits float32 [B, T], of ELECTRA's discriminator
  gradients/OUR_PATH      float32: of mlm_loss, for the parameters in GRADIENTS
At padding the outputs mean nothing.
"""

import pathlib
from typing import Any

import numpy as np
import torch
import transformers

from bert_jax.interop import family as families
from bert_jax.interop import name_table, recognise
from bert_jax.models import config as presets
from bert_jax.models import functional

# Texts of each row, without special tokens: a full row, a padded pair, a padded
# single text. ModernBERT's rows are longer than three blocks of its window, and
# have little padding: theirs is NaN where a window has nothing else in it.
SHORT = ((6, 7), (3, 5), (4,))
LONG = ((30, 25), (53,))
NUM_CLASSES = 3
COMMON = dict(
  num_layers=2, embed_dim=16, num_heads=2, mlp_dim=32, vocab_size=61
)
ALL_IDS = dict(pad=0, cls=2, sep=3, mask=4)
# What of ours differs from the preset, theirs beyond hf_config, and the models.
SETTINGS: dict[str, dict[str, Any]] = {
  'roberta': dict(
    sizes=COMMON | dict(max_positions=20),
    theirs=dict(
      intermediate_size=32,
      max_position_embeddings=22,
      type_vocab_size=1,
      layer_norm_eps=1e-5,
    ),
    # The offset of their positions is the id of padding plus 1.
    ids=dict(cls=0, pad=1, sep=2, mask=3),
    models=dict(
      mlm_head='RobertaForMaskedLM',
      classification='RobertaForSequenceClassification',
    ),
  ),
  'distilbert': dict(
    sizes=COMMON | dict(max_positions=20),
    theirs=dict(hidden_dim=32, max_position_embeddings=20),
    ids=ALL_IDS,
    models=dict(
      mlm_head='DistilBertForMaskedLM',
      classification='DistilBertForSequenceClassification',
    ),
  ),
  'albert': dict(
    sizes=COMMON | dict(num_layers=3, max_positions=20, embedding_size=8),
    theirs=dict(
      intermediate_size=32, max_position_embeddings=20, embedding_size=8
    ),
    ids=ALL_IDS,
    models=dict(
      mlm_head='AlbertForMaskedLM',
      classification='AlbertForSequenceClassification',
    ),
  ),
  'electra': dict(
    sizes=COMMON | dict(max_positions=20, embedding_size=24),
    theirs=dict(
      intermediate_size=32, max_position_embeddings=20, embedding_size=24
    ),
    ids=ALL_IDS,
    models=dict(
      mlm_head='ElectraForMaskedLM',
      replaced_token_head='ElectraForPreTraining',
      classification='ElectraForSequenceClassification',
    ),
  ),
  'modernbert': dict(
    sizes=COMMON | dict(num_layers=4, vocab_multiple=1, local_window=8),
    theirs=dict(
      intermediate_size=32,
      local_attention=8,
      cls_token_id=ALL_IDS['cls'],
      sep_token_id=ALL_IDS['sep'],
    ),
    ids=ALL_IDS,
    models=dict(
      mlm_head='ModernBertForMaskedLM',
      classification='ModernBertForSequenceClassification',
    ),
  ),
}
GRADIENTS = (
  'encoder/embeddings/token/embedding',
  'encoder/embeddings/position/embedding',
  'encoder/embeddings/projection/kernel',
  'encoder/embeddings/norm/scale',
  'encoder/layers/0/attention/query/kernel',
  'encoder/layers/1/attention/key/kernel',
  'encoder/layers/1/attention/output/kernel',
  'encoder/layers/1/attention_norm/scale',
  'encoder/layers/0/feed_forward/input/kernel',
  'encoder/layers/1/feed_forward/gate/kernel',
  'encoder/layers/1/feed_forward/output/kernel',
  'encoder/final_norm/scale',
  'mlm_head/transform/kernel',
  'mlm_head/bias',
)


def hf_config(model_class: type, family: str) -> transformers.PreTrainedConfig:
  """Their config of our sizes."""
  settings = SETTINGS[family]
  sizes, ids = settings['sizes'], settings['ids']
  return model_class.config_class(
    vocab_size=sizes['vocab_size'],
    hidden_size=sizes['embed_dim'],
    num_hidden_layers=sizes['num_layers'],
    num_attention_heads=sizes['num_heads'],
    pad_token_id=ids['pad'],
    bos_token_id=ids['cls'],
    eos_token_id=ids['sep'],
    num_labels=NUM_CLASSES,
    attn_implementation='eager',
    **settings['theirs'],
  )


def table_of(
  family: str, group: str
) -> tuple[list[name_table.Entry], dict[str, tuple[int, ...]]]:
  """What of theirs is what of ours in a group's model, and our shapes."""
  (theirs,) = (f for f in recognise.FAMILIES if f.model_type == family)
  config = getattr(presets, f'{family}_base')(**SETTINGS[family]['sizes'])
  heads = ('pooler', 'classifier') if group == 'classification' else (group,)
  params = functional.flatten(
    families.build(config, heads, NUM_CLASSES).abstract_params()
  )
  shapes = {path: leaf.shape for path, leaf in params.items()}
  return name_table.entries(theirs.table, shapes), shapes


def to_our_layout(
  tensor: torch.Tensor, entry: name_table.Entry, shapes: dict
) -> dict[str, np.ndarray]:
  """Returns a parameter or its gradient as ours, by path, float32."""
  array = tensor.detach().numpy().astype(np.float32)
  return name_table.to_ours(entry, array, shapes)


def set_weights(
  model: torch.nn.Module, names: set[str], weights: dict, rng
) -> None:
  """Gives every parameter its random value; the same one under equal names."""
  parameters = dict(model.named_parameters())
  untold = parameters.keys() - names
  if untold:
    raise ValueError(f'parameters without a counterpart: {sorted(untold)}')
  with torch.no_grad():
    for theirs, parameter in parameters.items():
      key = (theirs, tuple(parameter.shape))
      if key not in weights:
        # Far above 0.02, so that every layer changes its input by a lot.
        values = rng.normal(0, 0.3, tuple(parameter.shape))
        if 'norm' in theirs.lower() and theirs.endswith('weight'):
          values += 1
        weights[key] = values.astype(np.float32)
      parameter.copy_(torch.from_numpy(weights[key]))


def build_inputs(rng: np.random.Generator, family: str) -> dict:
  """Returns the batch, under the names of our batch keys."""
  ids = SETTINGS[family]['ids']
  vocab_size = SETTINGS[family]['sizes']['vocab_size']
  texts = LONG if family == 'modernbert' else SHORT
  length = max(1 + sum(n + 1 for n in row) for row in texts)
  shape, num_masked = (len(texts), length), 4
  rows = np.full(shape, ids['pad'], np.int32)
  token_types, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  positions = np.zeros((len(texts), num_masked), np.int32)
  masked_ids, weights = np.zeros_like(positions), np.zeros(positions.shape)
  for b, lengths in enumerate(texts):
    rows[b, 0], end = ids['cls'], 1
    for token_type, size in enumerate(lengths):
      start, end = end, end + size + 1
      words = rng.integers(max(ids.values()) + 1, vocab_size, size)
      rows[b, start:end] = [*words, ids['sep']]
      token_types[b, start:end] = token_type
    segments[b, :end] = 1
    (words,) = np.nonzero(rows[b] > max(ids.values()))
    masked = np.sort(rng.choice(words, num_masked - (b == 1), replace=False))
    positions[b, : len(masked)] = masked
    masked_ids[b, : len(masked)] = rows[b, masked]
    weights[b, : len(masked)] = 1
    # One masked position of a row keeps its token, as 80-10-10 may have it.
    rows[b, masked[:-1]] = ids['mask']
  return {
    'input_ids': rows,
    'token_type_ids': token_types,
    'segment_ids': segments,
    'masked_positions': positions,
    'masked_ids': masked_ids,
    'masked_weights': weights.astype(np.float32),
  }


def arguments(family: str, inputs: dict) -> dict[str, torch.Tensor]:
  """What their forward takes; where one type is all, none are given."""
  given = {
    'input_ids': torch.from_numpy(inputs['input_ids']).long(),
    'attention_mask': torch.from_numpy(inputs['segment_ids']).long(),
  }
  if family in ('albert', 'electra'):
    given['token_type_ids'] = torch.from_numpy(inputs['token_type_ids']).long()
  return given


def masked_loss(logits_BTV: torch.Tensor, inputs: dict) -> torch.Tensor:
  used = torch.from_numpy(inputs['masked_weights']).bool()
  batch = torch.arange(len(used))[:, None].expand_as(used)
  positions = torch.from_numpy(inputs['masked_positions']).long()
  ids = torch.from_numpy(inputs['masked_ids']).long()
  return torch.nn.functional.cross_entropy(
    logits_BTV[batch, positions][used], ids[used]
  )


def compute(family: str) -> dict[str, np.ndarray]:
  """Returns all arrays of a family's file."""
  settings = SETTINGS[family]
  # numpy draws, not torch: its bits do not change between versions.
  rng = np.random.default_rng(20240229)
  inputs = build_inputs(rng, family)
  params, outputs, gradients, weights = {}, {}, {}, {}
  for group, class_name in settings['models'].items():
    model_class = getattr(transformers, class_name)
    model = model_class(hf_config(model_class, family)).double().eval()
    entries, shapes = table_of(family, group)
    set_weights(model, {entry.name for entry in entries}, weights, rng)
    theirs = dict(model.named_parameters())
    for entry in entries:
      arrays = to_our_layout(theirs[entry.name], entry, shapes)
      for path, array in arrays.items():
        np.testing.assert_array_equal(params.setdefault(path, array), array)
    given = arguments(family, inputs)
    result = model(**given, output_hidden_states=True)
    if group == 'classification':
      outputs['class_logits'] = result.logits
    elif group == 'replaced_token_head':
      outputs['replaced_logits'] = result.logits
    else:
      outputs['mlm_logits'] = result.logits
      outputs['mlm_loss'] = masked_loss(result.logits, inputs)
      outputs['mlm_loss'].backward()
      for layer, hidden in enumerate(result.hidden_states):
        outputs[f'hidden/{layer}'] = hidden
      for entry in entries:
        found = to_our_layout(theirs[entry.name].grad, entry, shapes)
        gradients |= {p: x for p, x in found.items() if p in GRADIENTS}
  groups = {
    'sizes': {name: np.int32(x) for name, x in settings['sizes'].items()},
    'ids': {name: np.int32(x) for name, x in settings['ids'].items()},
    'params': params,
    'inputs': inputs,
    'outputs': {
      name: x.detach().numpy().astype(np.float32) for name, x in outputs.items()
    },
    'gradients': gradients,
  }
  return {
    f'{group}/{name}': array
    for group, members in groups.items()
    for name, array in members.items()
  }


def main() -> None:
  versions = (
    f'torch {torch.__version__}, transformers {transformers.__version__}'
  )
  for family in SETTINGS:
    arrays = compute(family)
    path = pathlib.Path(__file__).with_name(f'{family}.npz')
    np.savez_compressed(path, versions=np.array(versions), **arrays)
    print(f'{path}: {len(arrays) + 1} arrays, {path.stat().st_size} bytes')


if __name__ == '__main__':
  main()
