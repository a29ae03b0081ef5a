"""DistilBERT as Hugging Face's transformers has it."""

from bert_jax.errors import shown
from bert_jax.interop.bert import BERT, embedding_rules
from bert_jax.interop.family import Architecture, Family, Field, Fields
from bert_jax.interop.name_table import (
  Rule,
  dense,
  norm,
)

_OURS, _LAYER = 'encoder/layers/{}', 'distilbert.transformer.layer.{}'
_ATTENTION = f'{_LAYER}.attention'
_WORDS = 'distilbert.embeddings.word_embeddings.weight'

# Other names of a field that transformers accepts in a DistilBERT config.
_ALIASES = {
  'hidden_size': 'dim',
  'num_attention_heads': 'n_heads',
  'num_hidden_layers': 'n_layers',
}


def _read_fields(config: Fields, problems: list[str]) -> Fields:
  read = dict(config)
  for alias, name in _ALIASES.items():
    if alias not in config:
      continue
    if name in config and config[name] != config[alias]:
      problems.append(
        f'{name} is {shown(repr(config[name]))} and {alias} '
        f'{shown(repr(config[alias]))}, which mean the same; remove the wrong '
        'one'
      )
    read[name] = config[alias]
  return read


DISTILBERT = Family(
  model_type='distilbert',
  prefix='distilbert.',
  table=(
    *embedding_rules('distilbert.embeddings', 'word', 'position'),
    *dense(f'{_OURS}/attention/query', f'{_ATTENTION}.q_lin'),
    *dense(f'{_OURS}/attention/key', f'{_ATTENTION}.k_lin'),
    *dense(f'{_OURS}/attention/value', f'{_ATTENTION}.v_lin'),
    *dense(f'{_OURS}/attention/output', f'{_ATTENTION}.out_lin'),
    *norm(f'{_OURS}/attention_norm', f'{_LAYER}.sa_layer_norm'),
    *dense(f'{_OURS}/feed_forward/input', f'{_LAYER}.ffn.lin1'),
    *dense(f'{_OURS}/feed_forward/output', f'{_LAYER}.ffn.lin2'),
    *norm(f'{_OURS}/feed_forward_norm', f'{_LAYER}.output_layer_norm'),
    *dense('mlm_head/transform', 'vocab_transform'),
    *norm('mlm_head/norm', 'vocab_layer_norm'),
    Rule('mlm_head/bias', 'vocab_projector.bias'),
    *dense('pooler', 'pre_classifier'),
    *dense('classifier/output', 'classifier'),
    *dense('token_classifier/output', 'classifier'),
    *dense('span_head/output', 'qa_outputs'),
    *dense('choice_head/output', 'classifier'),
  ),
  # Norms of DistilBERT have epsilon 1e-12, whatever a config says.
  fields={
    'vocab_size': Field('vocab_size', 30522),
    'embed_dim': Field('dim', 768),
    'num_layers': Field('n_layers', 6),
    'num_heads': Field('n_heads', 12),
    'mlp_dim': Field('hidden_dim', 3072),
    'max_positions': Field('max_position_embeddings', 512),
    'dropout': Field('dropout', 0.1),
    'attention_dropout': Field('attention_dropout', 0.1),
    'initializer_stddev': Field('initializer_range', 0.02),
  },
  read_fields=_read_fields,
  constants={'num_token_types': 0, 'pooler_activation': 'relu'},
  fixed={'activation': ('gelu',), 'pruned_heads': ({}, None)},
  architectures={
    'DistilBertForSequenceClassification': Architecture(
      ('pooler', 'classifier')
    ),
    'DistilBertForTokenClassification': Architecture(('token_classifier',)),
    'DistilBertForQuestionAnswering': Architecture(('span_head',)),
    'DistilBertForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'DistilBertForMaskedLM': Architecture(('mlm_head',)),
    'DistilBertModel': Architecture(()),
  },
  tokenizer_classes=(
    *('DistilBertTokenizer', 'DistilBertTokenizerFast'),
    *BERT.tokenizer_classes,
  ),
  classifier_heads=('pooler', 'classifier'),
  buffers=r'(distilbert\.)?embeddings\.position_ids',
  tied={'vocab_projector.weight': _WORDS},
)
