"""RoBERTa as Hugging Face's transformers has it.

Its positions are counted from the id of padding plus 1, so that the table has
rows before the first; fairseq began with it.
"""

from typing import Any

from bert_jax.errors import shown
from bert_jax.interop.bert import (
  BERT,
  OLD_NORMS,
  embedding_rules,
  layer_rules,
)
from bert_jax.interop.family import Architecture, Family, Field, Fields
from bert_jax.interop.name_table import Rule, dense, norm

_SIZE, _PAD_ID = 'max_position_embeddings', 'pad_token_id'


def _read_fields(config: Fields, problems: list[str]) -> Fields:
  size, pad_id = config.get(_SIZE, 512), config.get(_PAD_ID, 1)
  if not (type(size) is type(pad_id) is int and 0 <= pad_id < size - 1):
    problems.append(
      f'{_SIZE} is {shown(repr(size))} and {_PAD_ID} {shown(repr(pad_id))}; '
      'positions begin at the latter plus 1'
    )
    size, pad_id = 512, 1
  return {
    **config,
    'position_offset': pad_id + 1,
    'max_positions': size - pad_id - 1,
  }


def _write_fields(fields: Fields) -> dict[str, Any]:
  written = dict(fields)
  offset = written.pop('position_offset')
  written[_SIZE] = written.pop('max_positions') + offset
  return written | {_PAD_ID: offset - 1}


ROBERTA = Family(
  model_type='roberta',
  prefix='roberta.',
  table=(
    *embedding_rules('roberta.embeddings', 'word', 'position', 'token_type'),
    *layer_rules('roberta.encoder.layer.{}'),
    *dense('mlm_head/transform', 'lm_head.dense'),
    *norm('mlm_head/norm', 'lm_head.layer_norm'),
    Rule('mlm_head/bias', 'lm_head.bias'),
    *dense('pooler', 'classifier.dense'),
    *dense('classifier/output', 'classifier.out_proj'),
    *dense('token_classifier/output', 'classifier'),
    *dense('span_head/output', 'qa_outputs'),
    *dense('choice_head/output', 'classifier'),
  ),
  fields={
    **BERT.fields,
    'vocab_size': Field('vocab_size', 50265),
    'max_positions': Field('max_positions', 510),
    'position_offset': Field('position_offset', 2),
  },
  read_fields=_read_fields,
  write_fields=_write_fields,
  positions_follow_padding=True,
  fixed=BERT.fixed,
  architectures={
    'RobertaForSequenceClassification': Architecture(('pooler', 'classifier')),
    'RobertaForTokenClassification': Architecture(('token_classifier',)),
    'RobertaForQuestionAnswering': Architecture(('span_head',)),
    'RobertaForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'RobertaForMaskedLM': Architecture(('mlm_head',)),
    # RoBERTa pretrains no pooler, and its classifier has none.
    'RobertaModel': Architecture((), random=('pooler',)),
  },
  tokenizer_classes=(
    *('RobertaTokenizer', 'RobertaTokenizerFast'),
    *BERT.tokenizer_classes,
  ),
  cls_fields=('bos_token_id',),
  sep_fields=('eos_token_id',),
  classifier_heads=('pooler', 'classifier'),
  choice_table=dense('pooler', 'roberta.pooler.dense'),
  respelled=OLD_NORMS,
  buffers=r'(roberta\.)?embeddings\.(position_ids|token_type_ids)',
  tied={
    'lm_head.decoder.weight': 'roberta.embeddings.word_embeddings.weight',
    'lm_head.decoder.bias': 'lm_head.bias',
  },
)
