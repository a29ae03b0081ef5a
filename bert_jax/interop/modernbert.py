"""ModernBERT as Hugging Face's transformers has it.

Its attention has a second place for dropout, which follows its
`attention_dropout`; ours follows `dropout`.
"""

from typing import Any

from bert_jax.errors import shown
from bert_jax.interop.bert import BERT
from bert_jax.interop.family import Architecture, Family, Field, Fields
from bert_jax.interop.name_table import (
  Rule,
  dense,
)

_FULL, _SLIDING = 'full_attention', 'sliding_attention'
# By kind of layer: the field of theta in older configs, and theta's value if
# a config has no field for it.
_THETAS = {
  _FULL: ('global_rope_theta', 160_000.0),
  _SLIDING: ('local_rope_theta', 10_000.0),
}
_EVERY, _TYPES, _ROPE = (
  'global_attn_every_n_layers',
  'layer_types',
  'rope_parameters',
)
_UNSCALED = 'default'
# Names of the field for the kind of scaling; the second is the older one.
_ROPE_TYPES = ('rope_type', 'type')
_WINDOW = 'local_attention'
_OURS, _LAYER = 'encoder/layers/{}', 'model.layers.{}'
_ATTENTION = f'{_OURS}/attention'


def _read_fields(config: Fields, problems: list[str]) -> Fields:
  """Since version 5 a config lists the kinds of layers, each with its theta."""
  read = dict(config)
  ropes = config.get(_ROPE) or {}
  for kind, (name, default) in _THETAS.items():
    rope = ropes.get(kind) or {} if isinstance(ropes, dict) else None
    if (
      not isinstance(rope, dict)
      or ropes.keys() - _THETAS.keys()
      or any(rope.get(one, _UNSCALED) != _UNSCALED for one in _ROPE_TYPES)
    ):
      problems.append(
        f'{_ROPE} is {shown(repr(ropes))}; ours can only be of rope_type '
        f"'default', one for {_FULL} and one for {_SLIDING}"
      )
      break
    read[name] = rope.get('rope_theta', config.get(name, default))
  window, half = config.get(_WINDOW, 128), config.get('sliding_window')
  if half is not None and (type(half) is not int or 2 * half != window):
    problems.append(
      f'{_WINDOW} is {shown(repr(window))} and sliding_window '
      f'{shown(repr(half))}, which is half of it by definition'
    )
  read[_EVERY] = _global_every(config, problems)
  dropouts = [
    config.get(f'{part}_dropout', 0.0) for part in ('embedding', 'mlp')
  ]
  if dropouts[0] != dropouts[1]:
    problems.append(
      f'embedding_dropout is {shown(repr(dropouts[0]))} and mlp_dropout '
      f'{shown(repr(dropouts[1]))}; ours is one'
    )
  return read


def _global_every(config: Fields, problems: list[str]) -> Any:
  types, every = config.get(_TYPES), config.get(_EVERY)
  if types is None:
    return 3 if every is None else every
  if not isinstance(types, list):
    types = []
  if every is None:
    every = next(
      (i for i, kind in enumerate(types) if i and kind == _FULL),
      max(1, len(types)),
    )
  if (
    type(every) is not int
    or every < 1
    or types != _layer_types(len(types), every)
    or len(types) != config.get('num_hidden_layers', 22)
  ):
    problems.append(
      f'{_TYPES} is {shown(repr(config[_TYPES]))}; ours can only be '
      f'{_FULL} in every n-th layer from the first on'
    )
    return 3
  return every


def _layer_types(num_layers: int, every: int) -> list[str]:
  return [_SLIDING if i % every else _FULL for i in range(num_layers)]


def _write_fields(fields: Fields) -> dict[str, Any]:
  """Writes fields in the older form too, for transformers before version 5."""
  return {
    **fields,
    'embedding_dropout': fields['mlp_dropout'],
    _TYPES: _layer_types(fields['num_hidden_layers'], fields[_EVERY]),
    _ROPE: {
      kind: {'rope_type': _UNSCALED, 'rope_theta': fields[name]}
      for kind, (name, _) in _THETAS.items()
    },
  }


MODERNBERT = Family(
  model_type='modernbert',
  prefix='model.',
  table=(
    Rule(
      'encoder/embeddings/token/embedding',
      'model.embeddings.tok_embeddings.weight',
    ),
    Rule('encoder/embeddings/norm/scale', 'model.embeddings.norm.weight'),
    Rule(f'{_OURS}/attention_norm/scale', f'{_LAYER}.attn_norm.weight'),
    Rule(
      tuple(f'{_ATTENTION}/{one}/kernel' for one in ('query', 'key', 'value')),
      f'{_LAYER}.attn.Wqkv.weight',
      transposed=True,
    ),
    Rule(
      f'{_ATTENTION}/output/kernel',
      f'{_LAYER}.attn.Wo.weight',
      transposed=True,
    ),
    Rule(f'{_OURS}/feed_forward_norm/scale', f'{_LAYER}.mlp_norm.weight'),
    Rule(
      tuple(f'{_OURS}/feed_forward/{one}/kernel' for one in ('input', 'gate')),
      f'{_LAYER}.mlp.Wi.weight',
      transposed=True,
    ),
    Rule(
      f'{_OURS}/feed_forward/output/kernel',
      f'{_LAYER}.mlp.Wo.weight',
      transposed=True,
    ),
    Rule('encoder/final_norm/scale', 'model.final_norm.weight'),
    # Two heads have this name in files; other parameters tell them apart.
    Rule('mlm_head/transform/kernel', 'head.dense.weight', transposed=True),
    Rule('mlm_head/norm/scale', 'head.norm.weight'),
    Rule('mlm_head/bias', 'decoder.bias'),
    Rule('pooler/kernel', 'head.dense.weight', transposed=True),
    Rule('pooler/norm/scale', 'head.norm.weight'),
    *dense('classifier/output', 'classifier'),
    Rule(
      'token_classifier/transform/kernel',
      'head.dense.weight',
      transposed=True,
    ),
    Rule('token_classifier/transform/norm/scale', 'head.norm.weight'),
    *dense('token_classifier/output', 'classifier'),
    Rule(
      'span_head/transform/kernel',
      'head.dense.weight',
      transposed=True,
    ),
    Rule('span_head/transform/norm/scale', 'head.norm.weight'),
    *dense('span_head/output', 'classifier'),
    *dense('choice_head/output', 'classifier'),
  ),
  marks={'mlm_head': 'decoder.bias', 'pooler': 'classifier.weight'},
  fields={
    'vocab_size': Field('vocab_size', 50368),
    'embed_dim': Field('hidden_size', 768),
    'num_layers': Field('num_hidden_layers', 22),
    'num_heads': Field('num_attention_heads', 12),
    'mlp_dim': Field('intermediate_size', 1152),
    'max_positions': Field('max_position_embeddings', 8192),
    'rotary_theta': Field(*_THETAS[_FULL]),
    'local_rotary_theta': Field(*_THETAS[_SLIDING]),
    'global_every': Field(_EVERY, 3),
    'local_window': Field(_WINDOW, 128),
    'dropout': Field('mlp_dropout', 0.0),
    'attention_dropout': Field('attention_dropout', 0.0),
    'initializer_stddev': Field('initializer_range', 0.02),
    'norm_epsilon': Field('norm_eps', 1e-5),
  },
  read_fields=_read_fields,
  write_fields=_write_fields,
  constants={
    'positions': 'rotary',
    'num_token_types': 0,
    'norm_placement': 'pre',
    'first_attention_norm': False,
    'use_bias': False,
    'gated': True,
    'pooler_activation': 'gelu',
    'pooler_norm': True,
  },
  fixed={
    'hidden_activation': ('gelu',),
    'classifier_activation': ('gelu',),
    'norm_bias': (False,),
    'attention_bias': (False,),
    'mlp_bias': (False,),
    'classifier_bias': (False,),
    'decoder_bias': (True,),
    'rope_scaling': (None,),
  },
  architectures={
    'ModernBertForSequenceClassification': Architecture(
      ('pooler', 'classifier')
    ),
    'ModernBertForTokenClassification': Architecture(('token_classifier',)),
    'ModernBertForQuestionAnswering': Architecture(('span_head',)),
    'ModernBertForMultipleChoice': Architecture(('pooler', 'choice_head')),
    'ModernBertForMaskedLM': Architecture(('mlm_head',)),
    'ModernBertModel': Architecture(()),
  },
  tokenizer_classes=BERT.tokenizer_classes,
  cls_fields=('bos_token_id', 'cls_token_id'),
  sep_fields=('eos_token_id', 'sep_token_id'),
  classifier_heads=('pooler', 'classifier'),
  pooling_field='classifier_pooling',
  tied={'decoder.weight': 'model.embeddings.tok_embeddings.weight'},
)
