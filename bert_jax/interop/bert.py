"""BERT as Hugging Face's transformers has it: names, config, classes."""

from bert_jax.interop.family import Architecture, Family, Field
from bert_jax.interop.name_table import (
  LINEAR,
  LINEAR_FROM_HEADS,
  SAME,
  VECTOR,
  Rule,
)

_EMBEDDINGS = (
  ('token/embedding', 'word_embeddings.weight'),
  ('position/embedding', 'position_embeddings.weight'),
  ('token_type/embedding', 'token_type_embeddings.weight'),
  ('norm/scale', 'LayerNorm.weight'),
  ('norm/bias', 'LayerNorm.bias'),
)
_LAYER = (
  ('attention/query/kernel', 'attention.self.query.weight', LINEAR),
  ('attention/query/bias', 'attention.self.query.bias', VECTOR),
  ('attention/key/kernel', 'attention.self.key.weight', LINEAR),
  ('attention/key/bias', 'attention.self.key.bias', VECTOR),
  ('attention/value/kernel', 'attention.self.value.weight', LINEAR),
  ('attention/value/bias', 'attention.self.value.bias', VECTOR),
  (
    'attention/output/kernel',
    'attention.output.dense.weight',
    LINEAR_FROM_HEADS,
  ),
  ('attention/output/bias', 'attention.output.dense.bias', SAME),
  ('attention_norm/scale', 'attention.output.LayerNorm.weight', SAME),
  ('attention_norm/bias', 'attention.output.LayerNorm.bias', SAME),
  ('feed_forward/input/kernel', 'intermediate.dense.weight', LINEAR),
  ('feed_forward/input/bias', 'intermediate.dense.bias', SAME),
  ('feed_forward/output/kernel', 'output.dense.weight', LINEAR),
  ('feed_forward/output/bias', 'output.dense.bias', SAME),
  ('feed_forward_norm/scale', 'output.LayerNorm.weight', SAME),
  ('feed_forward_norm/bias', 'output.LayerNorm.bias', SAME),
)
_HEADS = (
  Rule('pooler/kernel', 'bert.pooler.dense.weight', LINEAR),
  Rule('pooler/bias', 'bert.pooler.dense.bias', SAME),
  Rule(
    'mlm_head/transform/kernel',
    'cls.predictions.transform.dense.weight',
    LINEAR,
  ),
  Rule('mlm_head/transform/bias', 'cls.predictions.transform.dense.bias', SAME),
  Rule(
    'mlm_head/norm/scale', 'cls.predictions.transform.LayerNorm.weight', SAME
  ),
  Rule('mlm_head/norm/bias', 'cls.predictions.transform.LayerNorm.bias', SAME),
  Rule('mlm_head/bias', 'cls.predictions.bias', SAME),
  Rule('next_sentence_head/kernel', 'cls.seq_relationship.weight', LINEAR),
  Rule('next_sentence_head/bias', 'cls.seq_relationship.bias', SAME),
  Rule('classifier/output/kernel', 'classifier.weight', LINEAR),
  Rule('classifier/output/bias', 'classifier.bias', SAME),
)

BERT = Family(
  model_type='bert',
  prefix='bert.',
  table=(
    *(
      Rule(f'encoder/embeddings/{ours}', f'bert.embeddings.{theirs}', SAME)
      for ours, theirs in _EMBEDDINGS
    ),
    *(
      Rule(
        f'encoder/layers/{{}}/{ours}', f'bert.encoder.layer.{{}}.{theirs}', how
      )
      for ours, theirs, how in _LAYER
    ),
    *_HEADS,
  ),
  fields={
    'vocab_size': Field('vocab_size', 30522),
    'embed_dim': Field('hidden_size', 768),
    'num_layers': Field('num_hidden_layers', 12),
    'num_heads': Field('num_attention_heads', 12),
    'mlp_dim': Field('intermediate_size', 3072),
    'max_positions': Field('max_position_embeddings', 512),
    'num_token_types': Field('type_vocab_size', 2),
    'dropout': Field('hidden_dropout_prob', 0.1),
    'attention_dropout': Field('attention_probs_dropout_prob', 0.1),
    'initializer_stddev': Field('initializer_range', 0.02),
    'norm_epsilon': Field('layer_norm_eps', 1e-12),
  },
  fixed={
    'hidden_act': ('gelu',),
    'position_embedding_type': ('absolute',),
    'is_decoder': (False,),
    'add_cross_attention': (False,),
    'pruned_heads': ({}, None),
  },
  architectures={
    'BertForSequenceClassification': Architecture(('pooler', 'classifier')),
    'BertForPreTraining': Architecture(
      ('pooler', 'mlm_head', 'next_sentence_head')
    ),
    'BertForMaskedLM': Architecture(('mlm_head',)),
    'BertModel': Architecture((), optional=('pooler',)),
  },
  tokenizer_classes=('BertTokenizer', 'BertTokenizerFast'),
  # TensorFlow's names of a norm, in files that were converted long ago.
  respelled=(
    (r'\bLayerNorm\.gamma$', 'LayerNorm.weight'),
    (r'\bLayerNorm\.beta$', 'LayerNorm.bias'),
  ),
  buffers=r'(bert\.)?embeddings\.(position_ids|token_type_ids)',
  tied={
    'cls.predictions.decoder.weight': 'bert.embeddings.word_embeddings.weight',
    'cls.predictions.decoder.bias': 'cls.predictions.bias',
  },
)
