"""Writes bert.npz: what transformers' BERT computes, for bert_parity_test.py.

The file is committed, so that the test needs neither torch nor transformers.
To write it again, in an environment of its own (Python 3.11):

  python3.11 -m venv torch_env
  torch_env/bin/pip install torch==2.13.0 transformers==5.23.0 numpy
  torch_env/bin/python tests/models/golden/write_bert_golden.py

The model is `BertForPreTraining` in eval mode with random weights; biases and
norms are random too, so that no parameter is 0 or 1 by accident and can be left
out unnoticed. Weights are float32; outputs and gradients are computed from them
in float64 and stored as float32, so that only our own rounding is measured.

Arrays of the file (B rows, T positions, D width, M masked positions a row):
  config/NAME             int: the sizes of the model
  versions                str: what computed this
  params/OUR_PATH         float32: every parameter, named and laid out as ours
  inputs/input_ids        int32 [B, T], rows `[CLS] a [SEP] b [SEP] [PAD] ...`
  inputs/token_type_ids   int32 [B, T]
  inputs/segment_ids      int32 [B, T], 1, and 0 for padding (attention mask)
  inputs/masked_positions int32 [B, M]
  inputs/masked_ids       int32 [B, M], the ids that were there
  inputs/masked_weights   float32 [B, M], 0 where a row has fewer than M
  outputs/hidden/I        float32 [B, T, D], 0: embeddings, I: after layer I
  outputs/pooled          float32 [B, D]
  outputs/mlm_logits      float32 [B, T, vocabulary]
  outputs/mlm_loss        float32 [], mean cross entropy of the masked positions
  gradients/OUR_PATH      float32: of mlm_loss, for a few parameters
At padding the outputs mean nothing: there a model may compute what it likes.
"""

import argparse
import enum
import pathlib

import numpy as np
import torch
import transformers

CONFIG = {
  'num_layers': 3,
  'embed_dim': 32,
  'num_heads': 4,
  'mlp_dim': 64,
  'vocab_size': 97,
  'max_positions': 40,
  'num_token_types': 2,
}
PAD, CLS, SEP, MASK, FIRST_ORDINARY = 0, 2, 3, 4, 5
ROW_LENGTH = 16
# Length of the one or two texts of each row, without special tokens: a full
# row, a padded pair, a padded single text.
TEXT_LENGTHS = ((6, 7), (3, 5), (4,))
MASKED_POSITIONS = ((2, 9, 14), (1, 6), (4,))


class Layout(enum.Enum):
  """How a tensor of theirs becomes an array of ours."""

  SAME = enum.auto()
  TRANSPOSED = enum.auto()  # [out, in] -> [in, out]
  HEADS_OUT = enum.auto()  # [N * H, D] -> [D, N, H]
  HEADS_BIAS = enum.auto()  # [N * H] -> [N, H]
  HEADS_IN = enum.auto()  # [D, N * H] -> [N, H, D]


# Ours -> (theirs, layout).
_TOP_LEVEL = {
  'encoder/embeddings/token/embedding': (
    'bert.embeddings.word_embeddings.weight',
    Layout.SAME,
  ),
  'encoder/embeddings/position/embedding': (
    'bert.embeddings.position_embeddings.weight',
    Layout.SAME,
  ),
  'encoder/embeddings/token_type/embedding': (
    'bert.embeddings.token_type_embeddings.weight',
    Layout.SAME,
  ),
  'encoder/embeddings/norm/scale': (
    'bert.embeddings.LayerNorm.weight',
    Layout.SAME,
  ),
  'encoder/embeddings/norm/bias': (
    'bert.embeddings.LayerNorm.bias',
    Layout.SAME,
  ),
  'pooler/kernel': ('bert.pooler.dense.weight', Layout.TRANSPOSED),
  'pooler/bias': ('bert.pooler.dense.bias', Layout.SAME),
  'mlm_head/transform/kernel': (
    'cls.predictions.transform.dense.weight',
    Layout.TRANSPOSED,
  ),
  'mlm_head/transform/bias': (
    'cls.predictions.transform.dense.bias',
    Layout.SAME,
  ),
  'mlm_head/norm/scale': (
    'cls.predictions.transform.LayerNorm.weight',
    Layout.SAME,
  ),
  'mlm_head/norm/bias': (
    'cls.predictions.transform.LayerNorm.bias',
    Layout.SAME,
  ),
  'mlm_head/bias': ('cls.predictions.bias', Layout.SAME),
}
_LAYER = {
  'attention/query/kernel': ('attention.self.query.weight', Layout.HEADS_OUT),
  'attention/query/bias': ('attention.self.query.bias', Layout.HEADS_BIAS),
  'attention/key/kernel': ('attention.self.key.weight', Layout.HEADS_OUT),
  'attention/key/bias': ('attention.self.key.bias', Layout.HEADS_BIAS),
  'attention/value/kernel': ('attention.self.value.weight', Layout.HEADS_OUT),
  'attention/value/bias': ('attention.self.value.bias', Layout.HEADS_BIAS),
  'attention/output/kernel': ('attention.output.dense.weight', Layout.HEADS_IN),
  'attention/output/bias': ('attention.output.dense.bias', Layout.SAME),
  'attention_norm/scale': ('attention.output.LayerNorm.weight', Layout.SAME),
  'attention_norm/bias': ('attention.output.LayerNorm.bias', Layout.SAME),
  'feed_forward/input/kernel': ('intermediate.dense.weight', Layout.TRANSPOSED),
  'feed_forward/input/bias': ('intermediate.dense.bias', Layout.SAME),
  'feed_forward/output/kernel': ('output.dense.weight', Layout.TRANSPOSED),
  'feed_forward/output/bias': ('output.dense.bias', Layout.SAME),
  'feed_forward_norm/scale': ('output.LayerNorm.weight', Layout.SAME),
  'feed_forward_norm/bias': ('output.LayerNorm.bias', Layout.SAME),
}
GRADIENTS = (
  'encoder/embeddings/token/embedding',
  'encoder/embeddings/position/embedding',
  'encoder/embeddings/norm/scale',
  'encoder/layers/0/attention/query/kernel',
  'encoder/layers/1/attention/output/kernel',
  'encoder/layers/2/feed_forward/input/kernel',
  'encoder/layers/2/feed_forward_norm/scale',
  'mlm_head/transform/kernel',
  'mlm_head/bias',
)


def name_table() -> dict[str, tuple[str, Layout]]:
  """Returns {our path: (their name, layout)} of every parameter."""
  table = dict(_TOP_LEVEL)
  for i in range(CONFIG['num_layers']):
    for ours, (theirs, layout) in _LAYER.items():
      table[f'encoder/layers/{i}/{ours}'] = (
        f'bert.encoder.layer.{i}.{theirs}',
        layout,
      )
  return table


def to_our_layout(tensor: torch.Tensor, layout: Layout) -> np.ndarray:
  """Returns a parameter or its gradient in our layout, float32."""
  array = tensor.detach().numpy().astype(np.float32)
  num_heads = CONFIG['num_heads']
  if layout is Layout.TRANSPOSED:
    array = array.T
  elif layout is Layout.HEADS_OUT:
    array = array.T.reshape(array.shape[1], num_heads, -1)
  elif layout is Layout.HEADS_BIAS:
    array = array.reshape(num_heads, -1)
  elif layout is Layout.HEADS_IN:
    array = array.T.reshape(num_heads, -1, array.shape[0])
  return array.copy(order='C')


def build_model(rng: np.random.Generator) -> transformers.BertForPreTraining:
  """Returns the model in float64 whose weights are random float32 numbers."""
  model = transformers.BertForPreTraining(
    transformers.BertConfig(
      vocab_size=CONFIG['vocab_size'],
      hidden_size=CONFIG['embed_dim'],
      num_hidden_layers=CONFIG['num_layers'],
      num_attention_heads=CONFIG['num_heads'],
      intermediate_size=CONFIG['mlp_dim'],
      max_position_embeddings=CONFIG['max_positions'],
      type_vocab_size=CONFIG['num_token_types'],
      hidden_act='gelu',  # the exact one, by the error function
      attn_implementation='eager',
    )
  )
  model = model.double().eval()
  table = name_table()
  parameters = dict(model.named_parameters())
  untold = parameters.keys() - {theirs for theirs, _ in table.values()}
  # The next-sentence head, which has no counterpart among ours yet.
  expected = {'cls.seq_relationship.weight', 'cls.seq_relationship.bias'}
  if untold != expected:
    raise ValueError(f'parameters without a counterpart: {sorted(untold)}')
  with torch.no_grad():
    for ours, (theirs, _) in table.items():
      parameter = parameters[theirs]
      # Far above BERT's 0.02, so that attention is not close to uniform and
      # every layer changes its input by a lot.
      values = rng.normal(0, 0.2, tuple(parameter.shape))
      if ours.endswith('scale'):
        values += 1
      parameter.copy_(torch.from_numpy(values.astype(np.float32)))
  return model


def build_inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Returns the batch, under the names of our batch keys."""
  num_rows, num_masked = len(TEXT_LENGTHS), max(map(len, MASKED_POSITIONS))
  rows = np.full((num_rows, ROW_LENGTH), PAD, np.int32)
  token_types = np.zeros_like(rows)
  segments = np.zeros_like(rows)
  positions = np.zeros((num_rows, num_masked), np.int32)
  masked_ids = np.zeros_like(positions)
  weights = np.zeros((num_rows, num_masked), np.float32)
  for b, lengths in enumerate(TEXT_LENGTHS):
    rows[b, 0] = CLS
    end = 1
    for token_type, length in enumerate(lengths):
      start, end = end, end + length + 1
      rows[b, start:end] = [
        *rng.integers(FIRST_ORDINARY, CONFIG['vocab_size'], length),
        SEP,
      ]
      token_types[b, start:end] = token_type
    segments[b, :end] = 1
    masked = list(MASKED_POSITIONS[b])
    positions[b, : len(masked)] = masked
    masked_ids[b, : len(masked)] = rows[b, masked]
    weights[b, : len(masked)] = 1
    assert (rows[b, masked] >= FIRST_ORDINARY).all()
    # One masked position of a row keeps its token, as 80-10-10 may have it.
    rows[b, masked[:-1]] = MASK
  return {
    'input_ids': rows,
    'token_type_ids': token_types,
    'segment_ids': segments,
    'masked_positions': positions,
    'masked_ids': masked_ids,
    'masked_weights': weights,
  }


def compute(
  model: transformers.BertForPreTraining, inputs: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Runs the model; returns (outputs, gradients) under the file's names."""
  ids = {name: torch.from_numpy(x).long() for name, x in inputs.items()}
  arguments = {
    'input_ids': ids['input_ids'],
    'attention_mask': ids['segment_ids'],
    'token_type_ids': ids['token_type_ids'],
  }
  result = model(**arguments, output_hidden_states=True)
  used = ids['masked_weights'].bool()
  batch = torch.arange(len(used))[:, None].expand_as(used)
  logits = result.prediction_logits[batch, ids['masked_positions']]
  loss = torch.nn.functional.cross_entropy(
    logits[used], ids['masked_ids'][used]
  )
  loss.backward()
  outputs = {
    'pooled': model.bert(**arguments).pooler_output,
    'mlm_logits': result.prediction_logits,
    'mlm_loss': loss,
  }
  for layer, hidden in enumerate(result.hidden_states):
    outputs[f'hidden/{layer}'] = hidden
  table, parameters = name_table(), dict(model.named_parameters())
  gradients = {}
  for ours in GRADIENTS:
    theirs, layout = table[ours]
    gradients[ours] = to_our_layout(parameters[theirs].grad, layout)
  return {
    name: to_our_layout(value, Layout.SAME) for name, value in outputs.items()
  }, gradients


def main() -> None:
  """Computes everything and writes the file."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--output', default=pathlib.Path(__file__).with_name('bert.npz')
  )
  output = parser.parse_args().output
  # numpy draws, not torch: its bits do not change between versions.
  rng = np.random.default_rng(20240229)
  model = build_model(rng)
  inputs = build_inputs(rng)
  outputs, gradients = compute(model, inputs)
  parameters = dict(model.named_parameters())
  params = {
    ours: to_our_layout(parameters[theirs], layout)
    for ours, (theirs, layout) in name_table().items()
  }
  groups = {
    'config': {name: np.int32(value) for name, value in CONFIG.items()},
    'params': params,
    'inputs': inputs,
    'outputs': outputs,
    'gradients': gradients,
  }
  arrays = {
    f'{group}/{name}': array
    for group, members in groups.items()
    for name, array in members.items()
  }
  versions = (
    f'torch {torch.__version__}, transformers {transformers.__version__}'
  )
  np.savez_compressed(output, versions=np.array(versions), **arrays)
  size = pathlib.Path(output).stat().st_size
  print(f'{output}: {len(arrays) + 1} arrays, {size} bytes, {versions}')


if __name__ == '__main__':
  main()
