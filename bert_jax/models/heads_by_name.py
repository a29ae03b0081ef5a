"""The heads of this project, by the names of their parameters."""

import functools

from bert_jax.models.config import EncoderConfig
from bert_jax.models.functional import Params
from bert_jax.models.generator import Generator, generator_width
from bert_jax.models.heads import (
  Classifier,
  HeadBuilder,
  MaskedLMHead,
  NextSentenceHead,
  Pooler,
  ReplacedTokenHead,
  TokenClassifier,
)

HEADS: dict[str, HeadBuilder] = {
  'pooler': Pooler,
  'mlm_head': MaskedLMHead,
  'next_sentence_head': NextSentenceHead,
  'sentence_order_head': NextSentenceHead,
  'replaced_token_head': ReplacedTokenHead,
}
# Heads whose sizes are read from their parameters: the number of outputs of a
# task's head, and the width of a generator.
CLASSIFIER, GENERATOR = 'classifier', 'generator'
CHOICE_HEAD = 'choice_head'
TASK_HEADS: dict[str, HeadBuilder] = {
  CLASSIFIER: Classifier,
  'token_classifier': TokenClassifier,
  'span_head': TokenClassifier,
  CHOICE_HEAD: Classifier,
}


def heads_of(config: EncoderConfig, params: Params) -> dict[str, HeadBuilder]:
  """Builders of the known heads in `params`, with the sizes found there."""
  heads = {name: HEADS[name] for name in HEADS if name in params}
  for name in TASK_HEADS.keys() & params.keys():
    num_classes = params[name]['output']['kernel'].shape[-1]
    heads[name] = functools.partial(TASK_HEADS[name], num_classes=num_classes)
  if GENERATOR in params:
    width = generator_width(config, params)
    heads[GENERATOR] = functools.partial(Generator, width_share=width)
  return heads
