"""BERT as Hugging Face's transformers has it: names, config, classes."""

from bert_jax.interop.family import Architecture, Family, Field
from bert_jax.interop.name_table import (
  Rule,
  dense,
  norm,
)


def embedding_rules(theirs: str, *kinds: str) -> tuple[Rule, ...]:
  """Tables of these kinds, as their names have it, and the norm."""
  ours = 'encoder/embeddings'
  return (
    *(
      Rule(
        f'{ours}/{"token" if kind == "word" else kind}/embedding',
        f'{theirs}.{kind}_embeddings.weight',
      )
      for kind in kinds
    ),
    *norm(f'{ours}/norm', f'{theirs}.LayerNorm'),
  )


def layer_rules(theirs: str) -> tuple[Rule, ...]:
  """A layer as BERT, RoBERTa and ELECTRA name it."""
  ours = 'encoder/layers/{}'
  attention, output = f'{theirs}.attention.self', f'{theirs}.attention.output'
  return (
    *dense(f'{ours}/attention/query', f'{attention}.query'),
    *dense(f'{ours}/attention/key', f'{attention}.key'),
    *dense(f'{ours}/attention/value', f'{attention}.value'),
    *dense(f'{ours}/attention/output', f'{output}.dense'),
    *norm(f'{ours}/attention_norm', f'{output}.LayerNorm'),
    *dense(f'{ours}/feed_forward/input', f'{theirs}.intermediate.dense'),
    *dense(f'{ours}/feed_forward/output', f'{theirs}.output.dense'),
    *norm(f'{ours}/feed_forward_norm', f'{theirs}.output.LayerNorm'),
  )


_PREDICTIONS = 'cls.predictions'
_HEADS = (
  *dense('pooler', 'bert.pooler.dense'),
  *dense('mlm_head/transform', f'{_PREDICTIONS}.transform.dense'),
  *norm('mlm_head/norm', f'{_PREDICTIONS}.transform.LayerNorm'),
  Rule('mlm_head/bias', f'{_PREDICTIONS}.bias'),
  *dense('next_sentence_head', 'cls.seq_relationship'),
  *dense('classifier/output', 'classifier'),
  *dense('token_classifier/output', 'classifier'),
  *dense('span_head/output', 'qa_outputs'),
  *dense('choice_head/output', 'classifier'),
)
# TensorFlow's names of a norm, in files that were converted long ago.
OLD_NORMS = (
  (r'\bLayerNorm\.gamma$', 'LayerNorm.weight'),
  (r'\bLayerNorm\.beta$', 'LayerNorm.bias'),
)

BERT = Family(
  model_type='bert',
  prefix='bert.',
  table=(
    *embedding_rules('bert.embeddings', 'word', 'position', 'token_type'),
    *layer_rules('bert.encoder.layer.{}'),
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
    'BertForTokenClassification': Architecture(('token_classifier',)),
    'BertForQuestionAnswering': Architecture(('span_head',)),
    'BertForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'BertForPreTraining': Architecture(
      ('pooler', 'mlm_head', 'next_sentence_head')
    ),
    'BertForMaskedLM': Architecture(('mlm_head',)),
    'BertModel': Architecture((), optional=('pooler',)),
  },
  tokenizer_classes=('BertTokenizer', 'BertTokenizerFast'),
  respelled=OLD_NORMS,
  buffers=r'(bert\.)?embeddings\.(position_ids|token_type_ids)',
  tied={
    'cls.predictions.decoder.weight': 'bert.embeddings.word_embeddings.weight',
    'cls.predictions.decoder.bias': 'cls.predictions.bias',
  },
)
