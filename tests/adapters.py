"""Folders of bases and adapters, for the tests of the `peft` layout."""

import jax
import numpy as np
import toys

from bert_jax.experiment import ConvertedModel
from bert_jax.interop import family as families
from bert_jax.interop import peft_lora
from bert_jax.jobs.convert import convert
from bert_jax.models.heads import model_with_heads
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained import open_pretrained, save_model

FAMILIES = ('bert', *toys.FAMILIES)
RANK = 3


def config_of(family, tokenizer):
  overrides = dict(vocab_size=tokenizer.table.vocab_size, vocab_multiple=1)
  if family == 'bert':
    return toys.encoder_config(max_positions=128, **overrides)
  return toys.family_config(family, **overrides)


def save_workdir(folder, family, tokenizer, seed=0):
  """A workdir of an encoder of random parameters."""
  config = config_of(family, tokenizer)
  params = model_with_heads(config, {}, 'float32').init(jax.random.key(seed))
  folder.mkdir(exist_ok=True)
  save_model(folder, ConvertedModel(model=config), tokenizer, params)


def save_base(folder, family, tokenizer):
  """The same encoder as a Hugging Face folder."""
  workdir = folder.with_name(f'{folder.name}_workdir')
  save_workdir(workdir, family, tokenizer)
  convert(str(workdir), folder, output_format='huggingface')
  return open_pretrained(str(folder))


def tuned_params(method, plain, seed=1):
  """Random corrections and heads for a plain model."""
  model = method.extend(plain)
  shapes, _ = method.split(model.abstract_params(), model.infos)
  leaves, tree = jax.tree.flatten(shapes)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    tree,
    [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves],
  )


def write_adapter(folder, base, *, num_classes=3, **fields):
  """Writes random corrections; returns them merged with the base."""
  config = LoRAConfig(rank=RANK, alpha=5.0, **fields)
  family = base.checkpoint.family
  heads = next(
    one.heads
    for one in family.architectures.values()
    if 'classifier' in one.heads
  )
  plain = families.build(base.model, heads, num_classes)
  method = config.build()
  tuned = tuned_params(method, plain)
  folder.mkdir()
  peft_lora.write(
    folder,
    family,
    plain,
    tuned,
    rank=config.rank,
    alpha=config.alpha,
    dropout=config.dropout,
    base=base.origin,
  )
  encoder = {'encoder': base.load_params()['encoder']}
  return method.merge(tuned | encoder)
