"""What transformers calls the parameters of each family, beside our paths.

Data alone: a table can be read in both directions. BERT's own is not here.
`{layer}` stands for the number of a layer, in both names. A tied parameter is
named once, where the tie begins.
"""

import enum
from typing import NamedTuple


class Layout(enum.Enum):
  """How a tensor of theirs becomes an array of ours."""

  SAME = enum.auto()
  TRANSPOSED = enum.auto()  # [out, in] -> [in, out]
  HEADS_OUT = enum.auto()  # [N * H, D] -> [D, N, H]
  HEADS_BIAS = enum.auto()  # [N * H] -> [N, H]
  HEADS_IN = enum.auto()  # [D, N * H] -> [N, H, D]


class Name(NamedTuple):
  """One parameter; `part` of `parts` equal ones along their first axis."""

  theirs: str
  ours: str
  layout: Layout
  part: int = 0
  parts: int = 1


Table = tuple[Name, ...]


def _dense(theirs: str, ours: str) -> Table:
  return (
    Name(f'{theirs}.weight', f'{ours}/kernel', Layout.TRANSPOSED),
    Name(f'{theirs}.bias', f'{ours}/bias', Layout.SAME),
  )


def _into_heads(theirs: str, ours: str) -> Table:
  return (
    Name(f'{theirs}.weight', f'{ours}/kernel', Layout.HEADS_OUT),
    Name(f'{theirs}.bias', f'{ours}/bias', Layout.HEADS_BIAS),
  )


def _from_heads(theirs: str, ours: str) -> Table:
  return (
    Name(f'{theirs}.weight', f'{ours}/kernel', Layout.HEADS_IN),
    Name(f'{theirs}.bias', f'{ours}/bias', Layout.SAME),
  )


def _norm(theirs: str, ours: str) -> Table:
  return (
    Name(f'{theirs}.weight', f'{ours}/scale', Layout.SAME),
    Name(f'{theirs}.bias', f'{ours}/bias', Layout.SAME),
  )


def _embeddings(theirs: str, *kinds: str) -> Table:
  """Tables of the given kinds (as theirs are called), and the norm."""
  ours = 'encoder/embeddings'
  return (
    *(
      Name(
        f'{theirs}.{kind}_embeddings.weight',
        f'{ours}/{"token" if kind == "word" else kind}/embedding',
        Layout.SAME,
      )
      for kind in kinds
    ),
    *_norm(f'{theirs}.LayerNorm', f'{ours}/norm'),
  )


def _bert_layer(theirs: str) -> Table:
  """A layer as BERT, RoBERTa and ELECTRA name it."""
  ours = 'encoder/layers/{layer}'
  attention, output = f'{theirs}.attention', f'{theirs}.attention.output'
  return (
    *_into_heads(f'{attention}.self.query', f'{ours}/attention/query'),
    *_into_heads(f'{attention}.self.key', f'{ours}/attention/key'),
    *_into_heads(f'{attention}.self.value', f'{ours}/attention/value'),
    *_from_heads(f'{output}.dense', f'{ours}/attention/output'),
    *_norm(f'{output}.LayerNorm', f'{ours}/attention_norm'),
    *_dense(f'{theirs}.intermediate.dense', f'{ours}/feed_forward/input'),
    *_dense(f'{theirs}.output.dense', f'{ours}/feed_forward/output'),
    *_norm(f'{theirs}.output.LayerNorm', f'{ours}/feed_forward_norm'),
  )


def _distilbert_layer() -> Table:
  theirs, ours = (
    'distilbert.transformer.layer.{layer}',
    'encoder/layers/{layer}',
  )
  attention = f'{theirs}.attention'
  return (
    *_into_heads(f'{attention}.q_lin', f'{ours}/attention/query'),
    *_into_heads(f'{attention}.k_lin', f'{ours}/attention/key'),
    *_into_heads(f'{attention}.v_lin', f'{ours}/attention/value'),
    *_from_heads(f'{attention}.out_lin', f'{ours}/attention/output'),
    *_norm(f'{theirs}.sa_layer_norm', f'{ours}/attention_norm'),
    *_dense(f'{theirs}.ffn.lin1', f'{ours}/feed_forward/input'),
    *_dense(f'{theirs}.ffn.lin2', f'{ours}/feed_forward/output'),
    *_norm(f'{theirs}.output_layer_norm', f'{ours}/feed_forward_norm'),
  )


def _albert_layer() -> Table:
  """The one layer that is applied again and again."""
  theirs = 'albert.encoder.albert_layer_groups.0.albert_layers.0'
  ours = 'encoder/layers/0'
  attention = f'{theirs}.attention'
  return (
    *_into_heads(f'{attention}.query', f'{ours}/attention/query'),
    *_into_heads(f'{attention}.key', f'{ours}/attention/key'),
    *_into_heads(f'{attention}.value', f'{ours}/attention/value'),
    *_from_heads(f'{attention}.dense', f'{ours}/attention/output'),
    *_norm(f'{attention}.LayerNorm', f'{ours}/attention_norm'),
    *_dense(f'{theirs}.ffn', f'{ours}/feed_forward/input'),
    *_dense(f'{theirs}.ffn_output', f'{ours}/feed_forward/output'),
    *_norm(f'{theirs}.full_layer_layer_norm', f'{ours}/feed_forward_norm'),
  )


def _modernbert_layer() -> Table:
  """No biases; queries, keys and values in one, and so input and gate."""
  theirs, ours = 'model.layers.{layer}', 'encoder/layers/{layer}'
  attention, mlp = f'{ours}/attention', f'{ours}/feed_forward'
  qkv, wi = f'{theirs}.attn.Wqkv.weight', f'{theirs}.mlp.Wi.weight'
  return (
    Name(
      f'{theirs}.attn_norm.weight', f'{ours}/attention_norm/scale', Layout.SAME
    ),
    Name(qkv, f'{attention}/query/kernel', Layout.HEADS_OUT, 0, 3),
    Name(qkv, f'{attention}/key/kernel', Layout.HEADS_OUT, 1, 3),
    Name(qkv, f'{attention}/value/kernel', Layout.HEADS_OUT, 2, 3),
    Name(
      f'{theirs}.attn.Wo.weight', f'{attention}/output/kernel', Layout.HEADS_IN
    ),
    Name(
      f'{theirs}.mlp_norm.weight',
      f'{ours}/feed_forward_norm/scale',
      Layout.SAME,
    ),
    Name(wi, f'{mlp}/input/kernel', Layout.TRANSPOSED, 0, 2),
    Name(wi, f'{mlp}/gate/kernel', Layout.TRANSPOSED, 1, 2),
    Name(f'{theirs}.mlp.Wo.weight', f'{mlp}/output/kernel', Layout.TRANSPOSED),
  )


_MLM_BIAS = 'mlm_head/bias'

# family -> group -> table. `classification` is what a fine-tuned classifier has
# beside its encoder: our pooler, and the classifier's dense layer.
FAMILIES: dict[str, dict[str, Table]] = {
  'roberta': {
    'encoder': (
      *_embeddings('roberta.embeddings', 'word', 'position', 'token_type'),
      *_bert_layer('roberta.encoder.layer.{layer}'),
    ),
    'mlm_head': (
      *_dense('lm_head.dense', 'mlm_head/transform'),
      *_norm('lm_head.layer_norm', 'mlm_head/norm'),
      Name('lm_head.bias', _MLM_BIAS, Layout.SAME),
    ),
    'classification': (
      *_dense('classifier.dense', 'pooler'),
      *_dense('classifier.out_proj', 'classifier/output'),
    ),
  },
  'distilbert': {
    'encoder': (
      *_embeddings('distilbert.embeddings', 'word', 'position'),
      *_distilbert_layer(),
    ),
    'mlm_head': (
      *_dense('vocab_transform', 'mlm_head/transform'),
      *_norm('vocab_layer_norm', 'mlm_head/norm'),
      Name('vocab_projector.bias', _MLM_BIAS, Layout.SAME),
    ),
    'classification': (
      *_dense('pre_classifier', 'pooler'),
      *_dense('classifier', 'classifier/output'),
    ),
  },
  'albert': {
    'encoder': (
      *_embeddings('albert.embeddings', 'word', 'position', 'token_type'),
      *_dense(
        'albert.encoder.embedding_hidden_mapping_in',
        'encoder/embeddings/projection',
      ),
      *_albert_layer(),
    ),
    'mlm_head': (
      *_dense('predictions.dense', 'mlm_head/transform'),
      *_norm('predictions.LayerNorm', 'mlm_head/norm'),
      Name('predictions.bias', _MLM_BIAS, Layout.SAME),
    ),
    'classification': (
      *_dense('albert.pooler', 'pooler'),
      *_dense('classifier', 'classifier/output'),
    ),
  },
  'electra': {
    'encoder': (
      *_embeddings('electra.embeddings', 'word', 'position', 'token_type'),
      # Absent where the embeddings are as wide as the layers.
      *_dense('electra.embeddings_project', 'encoder/embeddings/projection'),
      *_bert_layer('electra.encoder.layer.{layer}'),
    ),
    # Of a generator.
    'mlm_head': (
      *_dense('generator_predictions.dense', 'mlm_head/transform'),
      *_norm('generator_predictions.LayerNorm', 'mlm_head/norm'),
      Name('generator_lm_head.bias', _MLM_BIAS, Layout.SAME),
    ),
    # Of a discriminator.
    'replaced_token_head': (
      *_dense(
        'discriminator_predictions.dense', 'replaced_token_head/transform'
      ),
      *_dense(
        'discriminator_predictions.dense_prediction',
        'replaced_token_head/output',
      ),
    ),
    'classification': (
      *_dense('classifier.dense', 'pooler'),
      *_dense('classifier.out_proj', 'classifier/output'),
    ),
  },
  'modernbert': {
    'encoder': (
      Name(
        'model.embeddings.tok_embeddings.weight',
        'encoder/embeddings/token/embedding',
        Layout.SAME,
      ),
      Name(
        'model.embeddings.norm.weight',
        'encoder/embeddings/norm/scale',
        Layout.SAME,
      ),
      *_modernbert_layer(),
      Name('model.final_norm.weight', 'encoder/final_norm/scale', Layout.SAME),
    ),
    'mlm_head': (
      Name('head.dense.weight', 'mlm_head/transform/kernel', Layout.TRANSPOSED),
      Name('head.norm.weight', 'mlm_head/norm/scale', Layout.SAME),
      Name('decoder.bias', _MLM_BIAS, Layout.SAME),
    ),
    'classification': (
      Name('head.dense.weight', 'pooler/kernel', Layout.TRANSPOSED),
      Name('head.norm.weight', 'pooler/norm/scale', Layout.SAME),
      *_dense('classifier', 'classifier/output'),
    ),
  },
}
