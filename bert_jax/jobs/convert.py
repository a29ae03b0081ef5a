"""Converts checkpoints from and to Hugging Face: the job of `convert`.

Each conversion writes parity.json, and its folder whole or not at all.
"""

import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.data.tokenizers import (
  Tokenizer,
  added_tokens,
  probes,
  sentencepiece,
  tokenizer_json,
)
from bert_jax.data.tokenizers import huggingface as huggingface_tokenizer
from bert_jax.embedding import form_of
from bert_jax.errors import InputError, listed, quoted
from bert_jax.interop import family as families
from bert_jax.interop import (
  huggingface,
  parity,
  peft_lora,
  recognise,
  sentence_transformers,
)
from bert_jax.interop.export_form import generator_form
from bert_jax.local_paths import local_path
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import CLS
from bert_jax.models.task_head import HEAD_OF
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained import Pretrained, open_pretrained, save_model
from bert_jax.pretrained.adapters import why_no_adapter

WORKDIR, HUGGINGFACE, PEFT, SENTENCE_TRANSFORMERS = FORMATS = (
  'workdir',
  'huggingface',
  'peft',
  'sentence_transformers',
)
_PARITY = 'parity.json'
# The class that is written for the generator of a run on replaced tokens.
_GENERATOR = 'ElectraForMaskedLM'
_NOT_INSTALLED = 'transformers and torch are not installed'


def convert(
  source: str,
  output: str | os.PathLike,
  *,
  output_format: str = WORKDIR,
  architecture: str = '',
  seed: int | None = None,
) -> list[str]:
  """Writes what `source` holds as the folder `output`.

  Args:
    source: a Hugging Face folder, one of google-research/bert, WORKDIR or
      WORKDIR@STEP. A fine-tuning run gives its best seed's model.
    output: the folder; it must not be there yet.
    output_format: one of FORMATS.
    architecture: the Hugging Face class to write; '' chooses it by the heads.
      ElectraForMaskedLM takes the generator of a run on replaced tokens.
    seed: another seed than the best, for WORKDIR@STEP of fine-tuning.

  Returns:
    The content of parity.json as lines for a terminal.

  Raises:
    InputError: the source cannot be used, or the output is there already.
      Nothing is left half-written.
  """
  if output_format not in FORMATS:
    raise InputError(
      f'--output_format={quoted(output_format)}: choose one of '
      f'{", ".join(FORMATS)}'
    )
  if architecture and output_format != HUGGINGFACE:
    raise InputError(
      f'--architecture={architecture} has an effect '
      f'only with --output_format={HUGGINGFACE}; give both or neither'
    )
  write = {
    WORKDIR: _write_workdir,
    HUGGINGFACE: _write_huggingface,
    PEFT: _write_peft,
    SENTENCE_TRANSFORMERS: _write_sentence_transformers,
  }[output_format]
  with durable_files.new_folder(output) as folder:
    pretrained = open_pretrained(source, seed)
    record = write(pretrained, folder, architecture)
    durable_files.write_json(folder / _PARITY, record)
  return _lines(output, record)


def _write_workdir(
  source: Pretrained, folder: pathlib.Path, architecture: str
) -> dict[str, Any]:
  del architecture  # a workdir names no class of Hugging Face
  checkpoint = source.checkpoint
  if checkpoint is None:
    raise InputError(
      f'--input={source.origin} is a workdir already; give --output_format='
      f'{HUGGINGFACE} to export it'
    )
  save_model(folder, source.experiment, source.tokenizer, checkpoint.params)
  facts: dict[str, Any] = dict(
    model=source.model,
    architecture=checkpoint.family.architecture(checkpoint.heads),
    num_parameters=functional.num_parameters(checkpoint.params),
    left_out=checkpoint.left_out,
    notes=[*checkpoint.notes, *source.tokenizer.notes],
  )
  if reason := checkpoint.no_comparison:
    return _record(source, checkpoint.params, reason, **facts)
  folder = pathlib.Path(os.path.expanduser(source.origin))
  symbols = _unlisted_symbols(source.tokenizer, folder)
  if symbols:
    facts['notes'].append(
      f'{listed(symbols)} are pieces of the SentencePiece model; without a '
      f'{tokenizer_json.NAME}, transformers splits a text at them first and so '
      'gives other ids to the text beside them'
    )
  facts['ids'] = _compare_ids(source, folder, symbols)
  try:
    return _record(source, checkpoint.params, folder, **facts)
  except parity.NotLoaded as error:
    # We read an untidy folder that transformers cannot load. In one of our own
    # exports that would be a bug, so only here the error is recorded.
    return _record(
      source,
      checkpoint.params,
      f'transformers cannot load it ({error})',
      **facts,
    )


def _write_huggingface(
  source: Pretrained, folder: pathlib.Path, architecture: str
) -> dict[str, Any]:
  model, params = source.model, source.load_params()
  if architecture == _GENERATOR and 'generator' in params:
    model, params = generator_form(model, params)
  heads = [name for name in params if name != 'encoder']
  family = recognise.family_of(model, heads, architecture)
  architecture = huggingface.choose_architecture(family, heads, architecture)
  _check_task(source, family, architecture)
  huggingface_tokenizer.save(
    source.tokenizer,
    folder,
    max_length=model.max_positions,
    has_token_types=model.num_token_types > 1,
  )
  table = source.tokenizer.table
  left_out, num_parameters = huggingface.write(
    folder,
    family,
    architecture,
    model,
    params,
    head=source.task_head,
    pad_id=table.pad_id,
    cls_id=table.cls_id,
    sep_id=table.sep_id,
  )
  notes = []
  if 'generator' in left_out:
    notes.append(f'the generator is exported with --architecture={_GENERATOR}')
  chosen = family.architectures[architecture]
  for head in sorted(({*chosen.optional} - {*heads}) | {*chosen.random}):
    notes.append(
      f'the model has no {head}; load it with add_pooling_layer=False, or '
      'transformers adds a random one'
    )
  params = {name: part for name, part in params.items() if name not in left_out}
  return _record(
    source,
    params,
    folder,
    model=model,
    architecture=architecture,
    num_parameters=num_parameters,
    left_out=left_out,
    notes=notes,
    ids=_compare_ids(source, folder),
  )


def _write_sentence_transformers(
  source: Pretrained, folder: pathlib.Path, architecture: str
) -> dict[str, Any]:
  """Writes the encoder, and what makes a vector of a text's states.

  That is kept from a source of sentence-transformers, or from tuning.
  """
  del architecture  # it is always that of the encoder alone
  family = recognise.family_of(source.model, [], '')
  form = form_of(source.origin, source.task)
  record = _write_huggingface(
    source, folder, huggingface.bare_architecture(family)
  )
  positions = source.model.max_positions
  sentence_transformers.write_form(
    folder,
    form,
    dim=source.model.embed_dim,
    max_tokens=min(form.max_tokens or positions, positions),
  )
  return record


def _write_peft(
  source: Pretrained, folder: pathlib.Path, architecture: str
) -> dict[str, Any]:
  """Writes the tuned part, without its base, in the form of package `peft`."""
  del architecture  # it is always that of the base's classifier
  lora = getattr(source.experiment, 'peft', None)
  if source.load_tuned is None or not isinstance(lora, LoRAConfig):
    raise InputError(
      f'--input={source.origin}: --output_format={PEFT} is for what was tuned '
      f'with LoRA; give --output_format={HUGGINGFACE} for a whole model'
    )
  base, head = open_pretrained(source.experiment.init_from), source.task_head
  if reason := why_no_adapter(base, head):
    raise InputError(f'--input={source.origin}: {reason}')
  checkpoint = base.checkpoint
  assert checkpoint and head  # or there would be a reason
  params = source.load_tuned()
  heads = [name for name in params if name != 'lora']
  peft_lora.write(
    folder,
    checkpoint.family,
    families.build(source.model, heads, len(head.output_names)),
    params,
    rank=lora.rank,
    alpha=lora.alpha,
    dropout=lora.dropout,
    base=str(local_path(base.origin)),
  )
  return _record(
    source,
    params,
    'peft loads an adapter, beside its base',
    model=source.model,
    architecture=checkpoint.family.architecture(heads),
    num_parameters=functional.num_parameters(params),
    left_out=[],
    notes=[
      'an adapter holds no names of its outputs; its outputs are '
      f'{listed(head.output_names)}'
    ],
  )


def _unlisted_symbols(tokenizer: Tokenizer, folder: pathlib.Path) -> list[str]:
  """Symbols of a SentencePiece model in a folder without tokenizer.json."""
  inner = added_tokens.inner_of(tokenizer)
  if not isinstance(inner, sentencepiece.SentencePiece):
    return []
  return [] if (folder / tokenizer_json.NAME).exists() else inner.symbols()


def _compare_ids(
  source: Pretrained, folder: pathlib.Path, pieces: Collection[str] = ()
) -> dict[str, Any]:
  """Compares our ids with those of transformers on texts of all kinds.

  `pieces` is that of parity.compare_ids.

  Raises:
    InputError: the ids differ, so that a text would read other rows of the
      embedding than in training.
  """
  if not parity.is_possible():
    return {'not_compared': _NOT_INSTALLED}
  texts = probes.texts(source.tokenizer)
  ours = source.tokenizer.encode_batch(texts)
  ids = parity.compare_ids(folder, texts, ours, pieces)
  if ids.get('differing'):
    raise InputError(
      f'--input={source.origin}: transformers gives other ids to '
      f'{ids["differing"]:,} of {ids["texts"]:,} texts, first to '
      f'{quoted(ids["text"])}: {listed(ids["theirs"])} instead of '
      f'{listed(ids["ours"])}; state in tokenizer_config.json how the model '
      'was trained (do_lower_case, strip_accents, tokenizer_class)'
    )
  return ids


def _check_task(
  source: Pretrained, family: families.Family, architecture: str
) -> None:
  """Raises InputError if the class would compute something else."""
  chosen, head = family.architectures[architecture], source.task_head
  if source.task and not head and {*HEAD_OF.values()} & {*chosen.heads}:
    raise InputError(
      f'--input={source.origin}: transformers has no class for the task '
      f'{source.experiment.task.name}; give --architecture='
      f'{huggingface.bare_architecture(family)} to export the encoder alone'
    )
  has_pooler = 'pooler' in (*chosen.heads, *chosen.optional)
  pooling = head.pooling if head else CLS
  if pooling != CLS and has_pooler and not family.pooling_field:
    raise InputError(
      f'--input={source.origin}: task.pooling is {pooling}, but '
      f'{architecture} of transformers always uses {CLS}; tune with '
      f'--config.task.pooling={CLS} to export it'
    )


def _record(
  source: Pretrained,
  params: functional.Params,
  compare: pathlib.Path | str,
  *,
  model: EncoderConfig,
  architecture: str,
  num_parameters: int,
  left_out: Sequence[str],
  notes: Sequence[str],
  ids: dict[str, Any] | None = None,
) -> dict[str, Any]:
  """The content of parity.json.

  `compare` is the folder for transformers, or the reason why nothing can be
  compared; `ids` is the result of comparing the tokenizers.
  """
  record = {
    'input': source.origin,
    'architecture': architecture,
    'num_parameters': num_parameters,
    'left_out': list(left_out),
    'notes': list(notes),
    'ids': ids or {'not_compared': 'transformers is not the source'},
    'compared_with': None,
  }
  if source.which_seed:
    record['seed'] = source.which_seed
  if not parity.is_possible():
    compare = _NOT_INSTALLED
  if isinstance(compare, str):
    return record | {'not_compared': compare}
  heads = [name for name in params if name != 'encoder']
  head = source.task_head
  num_outputs = len(head.output_names) if head else 0
  return record | parity.compare(
    compare,
    architecture,
    families.build(model, heads, num_outputs),
    params,
    vocab_size=source.tokenizer.table.vocab_size,
    pad_id=source.tokenizer.table.pad_id,
    pooling=head.pooling if head else CLS,
  )


def _lines(output: str | os.PathLike, record: dict[str, Any]) -> list[str]:
  lines = [
    f'{output}: {record["architecture"]}, {record["num_parameters"]:,} '
    'parameters'
  ]
  if 'seed' in record:
    lines.append(f'seed: {record["seed"]}')
  for name in ('left_out', 'missing_keys', 'unexpected_keys'):
    if names := record.get(name):
      lines.append(f'{name}: {", ".join(names)}')
  lines += record['notes']
  ids = record['ids']
  if 'texts' in ids:
    lines.append(
      f'ids: {ids["texts"]:,} texts compared with transformers, '
      f'{ids["differing"]:,} differ'
    )
  else:
    lines.append(f'ids not compared: {ids["not_compared"]}')
  if not record['compared_with']:
    lines.append(f'not compared: {record["not_compared"]}')
    return lines
  differences = ', '.join(
    f'{name} {value:.2g}'
    for name, value in record['largest_difference'].items()
  )
  lines.append(
    f'largest difference from {record["compared_with"]}: {differences}'
  )
  return lines
