"""ALBERT as Hugging Face's transformers has it: one layer, again and again."""

from bert_jax.errors import shown
from bert_jax.interop.bert import BERT, embedding_rules
from bert_jax.interop.family import Architecture, Family, Field, Fields
from bert_jax.interop.name_table import (
  Rule,
  dense,
  norm,
)

_OURS = 'encoder/layers/{}'
# The one layer of the model; the number is that of its group.
_LAYER = 'albert.encoder.albert_layer_groups.{}.albert_layers.0'
_ATTENTION = f'{_LAYER}.attention'
_WORDS = 'albert.embeddings.word_embeddings.weight'
_WIDTH, _LAYER_WIDTH = 'embedding_size', 'hidden_size'


def _read_fields(config: Fields, problems: list[str]) -> Fields:
  width = config.get(_WIDTH, 128)
  if width == config.get(_LAYER_WIDTH, 4096):
    problems.append(
      f'{_WIDTH} is {shown(repr(width))}, as {_LAYER_WIDTH}: theirs has a '
      'projection between the two, ours only where they differ'
    )
  return config


ALBERT = Family(
  model_type='albert',
  prefix='albert.',
  table=(
    *embedding_rules('albert.embeddings', 'word', 'position', 'token_type'),
    *dense(
      'encoder/embeddings/projection',
      'albert.encoder.embedding_hidden_mapping_in',
    ),
    *dense(f'{_OURS}/attention/query', f'{_ATTENTION}.query'),
    *dense(f'{_OURS}/attention/key', f'{_ATTENTION}.key'),
    *dense(f'{_OURS}/attention/value', f'{_ATTENTION}.value'),
    *dense(f'{_OURS}/attention/output', f'{_ATTENTION}.dense'),
    *norm(f'{_OURS}/attention_norm', f'{_ATTENTION}.LayerNorm'),
    *dense(f'{_OURS}/feed_forward/input', f'{_LAYER}.ffn'),
    *dense(f'{_OURS}/feed_forward/output', f'{_LAYER}.ffn_output'),
    *norm(f'{_OURS}/feed_forward_norm', f'{_LAYER}.full_layer_layer_norm'),
    *dense('pooler', 'albert.pooler'),
    *dense('mlm_head/transform', 'predictions.dense'),
    *norm('mlm_head/norm', 'predictions.LayerNorm'),
    Rule('mlm_head/bias', 'predictions.bias'),
    # Output 0 means in order, 1 swapped, as in our head.
    *dense('sentence_order_head', 'sop_classifier.classifier'),
    *dense('classifier/output', 'classifier'),
    *dense('token_classifier/output', 'classifier'),
    *dense('span_head/output', 'qa_outputs'),
    *dense('choice_head/output', 'classifier'),
  ),
  fields={
    **BERT.fields,
    'vocab_size': Field('vocab_size', 30000),
    'embedding_size': Field(_WIDTH, 128),
    'embed_dim': Field(_LAYER_WIDTH, 4096),
    'num_heads': Field('num_attention_heads', 64),
    'mlp_dim': Field('intermediate_size', 16384),
    'dropout': Field('hidden_dropout_prob', 0.0),
    'attention_dropout': Field('attention_probs_dropout_prob', 0.0),
    'activation': Field(
      'hidden_act',
      'gelu_new',
      {
        'gelu_new': 'gelu_tanh',
        'gelu_pytorch_tanh': 'gelu_tanh',
        'gelu': 'gelu',
      },
    ),
  },
  read_fields=_read_fields,
  constants={'share_layers': True},
  fixed={
    'num_hidden_groups': (1,),
    'inner_group_num': (1,),
    'position_embedding_type': ('absolute',),
    'pruned_heads': ({}, None),
  },
  architectures={
    'AlbertForSequenceClassification': Architecture(('pooler', 'classifier')),
    'AlbertForTokenClassification': Architecture(('token_classifier',)),
    'AlbertForQuestionAnswering': Architecture(('span_head',)),
    'AlbertForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'AlbertForPreTraining': Architecture(
      ('pooler', 'mlm_head', 'sentence_order_head')
    ),
    'AlbertForMaskedLM': Architecture(('mlm_head',)),
    'AlbertModel': Architecture((), optional=('pooler',)),
  },
  tokenizer_classes=(
    *('AlbertTokenizer', 'AlbertTokenizerFast'),
    *BERT.tokenizer_classes,
  ),
  cls_fields=('bos_token_id',),
  sep_fields=('eos_token_id',),
  buffers=r'(albert\.)?embeddings\.(position_ids|token_type_ids)',
  tied={
    'predictions.decoder.weight': _WORDS,
    'predictions.decoder.bias': 'predictions.bias',
  },
)
