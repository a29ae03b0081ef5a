"""ELECTRA as Hugging Face's transformers has it: discriminator and generator.

A generator is an encoder of its own, with an MLM head.
"""

from bert_jax.interop.bert import (
  BERT,
  OLD_NORMS,
  embedding_rules,
  layer_rules,
)
from bert_jax.interop.family import Architecture, Family, Field
from bert_jax.interop.name_table import Rule, dense, norm

_WORDS = 'electra.embeddings.word_embeddings.weight'

ELECTRA = Family(
  model_type='electra',
  prefix='electra.',
  table=(
    *embedding_rules('electra.embeddings', 'word', 'position', 'token_type'),
    # A projection, where the embeddings are narrower than the layers.
    *dense('encoder/embeddings/projection', 'electra.embeddings_project'),
    *layer_rules('electra.encoder.layer.{}'),
    *dense('replaced_token_head/transform', 'discriminator_predictions.dense'),
    *dense(
      'replaced_token_head/output', 'discriminator_predictions.dense_prediction'
    ),
    *dense('mlm_head/transform', 'generator_predictions.dense'),
    *norm('mlm_head/norm', 'generator_predictions.LayerNorm'),
    Rule('mlm_head/bias', 'generator_lm_head.bias'),
    *dense('pooler', 'classifier.dense'),
    *dense('classifier/output', 'classifier.out_proj'),
    *dense('token_classifier/output', 'classifier'),
    *dense('span_head/output', 'qa_outputs'),
    *dense('choice_head/output', 'classifier'),
  ),
  fields={
    **BERT.fields,
    'embedding_size': Field('embedding_size', 128),
    'embed_dim': Field('hidden_size', 256),
    'num_heads': Field('num_attention_heads', 4),
    'mlp_dim': Field('intermediate_size', 1024),
  },
  constants={'pooler_activation': 'gelu'},
  fixed=BERT.fixed,
  architectures={
    'ElectraForSequenceClassification': Architecture(('pooler', 'classifier')),
    'ElectraForTokenClassification': Architecture(('token_classifier',)),
    'ElectraForQuestionAnswering': Architecture(('span_head',)),
    'ElectraForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'ElectraForPreTraining': Architecture(('replaced_token_head',)),
    'ElectraForMaskedLM': Architecture(('mlm_head',)),
    'ElectraModel': Architecture(()),
  },
  tokenizer_classes=(
    *('ElectraTokenizer', 'ElectraTokenizerFast'),
    *BERT.tokenizer_classes,
  ),
  classifier_heads=('pooler', 'classifier'),
  choice_table=dense('pooler', 'sequence_summary.summary'),
  choice_fixed={
    'summary_type': 'first',
    'summary_use_proj': True,
    'summary_activation': 'gelu',
  },
  respelled=OLD_NORMS,
  buffers=r'(electra\.)?embeddings\.(position_ids|token_type_ids)',
  tied={'generator_lm_head.weight': _WORDS},
)
