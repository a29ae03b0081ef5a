"""A family of models as data, and the reading and writing that follow.

A family is data, one file each: bert.py is the first. Only where a config says
something in a way of its own, there is a pair of functions beside it. Reading
collects all problems, so that one message names them all; a parameter is never
left as it was initialised.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import shown
from bert_jax.interop import name_table
from bert_jax.interop.name_table import Rule
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.functional import unflatten
from bert_jax.models.heads import HeadBuilder, model_with_heads
from bert_jax.models.heads_by_name import (
  CHOICE_HEAD,
  CLASSIFIER,
  HEADS,
  TASK_HEADS,
)
from bert_jax.models.task_head import TaskHead
from bert_jax.param_info import ParamInfo

# Most shapes to name in a message, since a wrong width is wrong everywhere.
_SHOWN = 4
# Fields of a config.json by name.
Fields = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Field:
  """A field of config.json: its name, and its value if it is missing.

  words: their word -> ours, for a field that is no number.
  """

  name: str
  default: int | float | str
  words: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A class of transformers, with our heads in it; some are optional.

  random: further parts of theirs that are left at random.
  """

  heads: tuple[str, ...]
  optional: tuple[str, ...] = ()
  random: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """One family of checkpoints.

  model_type: its name in config.json.
  prefix: start of the names that all its models share; files may lack it.
  table: all parameters, those of the heads too.
  fields: field of EncoderConfig -> theirs.
  fixed: values our encoder is bound to: their field -> (value, others that mean
    the same); a config without the field means that value.
  architectures: classes of theirs by name; of those whose heads are there, the
    first is taken.
  tokenizer_classes: values that `tokenizer_class` may have.
  cls_fields, sep_fields: the names of [CLS] and [SEP] in a config that takes
    the published model's ids where they are not there.
  constants: field of EncoderConfig -> what it is in all of them.
  read_fields: (their config, problems) -> it with what `fields` and `fixed`
    name, where it has that in another form; `write_fields` is the reverse.
  positions_follow_padding: `position_offset` is the id of padding plus 1.
  classifier_heads: heads of ours that make up their classifier.
  choice_table: rules of a class of choices that take the place of those of the
    same parameters in `table`.
  choice_fixed: fields of a class of choices -> the value that ours has.
  pooling_field: names what the classifier sees, in words of models/heads.py;
    '': it is always [CLS].
  marks: head -> the name without which it is not there, where the names of the
    head alone do not tell.
  respelled: (regular expression, replacement) of older names.
  buffers: names, as a regular expression, that hold no parameter.
  tied: name of a copy -> the name that it must equal; it may be left out, or be
    there alone.
  """

  model_type: str
  prefix: str
  table: tuple[Rule, ...]
  fields: Mapping[str, Field]
  fixed: Mapping[str, tuple[Any, ...]]
  architectures: Mapping[str, Architecture]
  tokenizer_classes: tuple[str, ...]
  constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  read_fields: Callable[[Fields, list[str]], Fields] = lambda fields, _: fields
  write_fields: Callable[[Fields], Fields] = lambda fields: fields
  positions_follow_padding: bool = False
  cls_fields: tuple[str, ...] = ()
  sep_fields: tuple[str, ...] = ()
  classifier_heads: tuple[str, ...] = (CLASSIFIER,)
  choice_table: tuple[Rule, ...] = ()
  choice_fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  pooling_field: str = ''
  marks: Mapping[str, str] = dataclasses.field(default_factory=dict)
  respelled: tuple[tuple[str, str], ...] = ()
  buffers: str = r'(?!)'
  tied: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def patterns(self) -> set[str]:
    """The family's parameter names, with {} for numbers."""
    return {name_table.pattern(rule.theirs)[0] for rule in self.table}

  def with_heads(self, heads: Collection[str]) -> 'Family':
    """The family with the names that its class with these heads has."""
    if CHOICE_HEAD not in heads or not self.choice_table:
      return self
    return dataclasses.replace(self, table=(*self.table, *self.choice_table))

  def canonical(self, name: str) -> str:
    """The table's spelling of one of their names."""
    for expression, replacement in self.respelled:
      name = re.sub(expression, replacement, name)
    if name_table.pattern(self.prefix + name)[0] in self.patterns:
      return self.prefix + name
    return name

  def knows(self, name: str) -> bool:
    """Returns whether a name in the table's spelling is one of the table."""
    return name in self.tied or name_table.pattern(name)[0] in self.patterns

  def is_buffer(self, name: str) -> bool:
    return re.fullmatch(self.buffers, name) is not None

  def architecture(self, heads: Sequence[str]) -> str:
    """The first class of the family all of whose heads are among `heads`."""
    for name, architecture in self.architectures.items():
      if set(architecture.heads) <= set(heads):
        return name
    raise AssertionError(f'{self.model_type} lacks a class without heads')


@dataclasses.dataclass(frozen=True)
class Found:
  """The result of `read_params`.

  params: the nested dict of ours, f32.
  heads: the heads among them.
  left_out: their names that have no place here.
  notes: a sentence for each thing that is otherwise than elsewhere.
  """

  params: functional.Params
  heads: tuple[str, ...]
  left_out: tuple[str, ...]
  notes: tuple[str, ...] = ()


def build(
  config: EncoderConfig, heads: Sequence[str], num_classes: int = 0
) -> functional.Model:
  """The encoder with the heads of a converted checkpoint, in f32."""
  builders: dict[str, HeadBuilder] = {
    name: functools.partial(TASK_HEADS[name], num_classes=num_classes)
    if name in TASK_HEADS
    else HEADS[name]
    for name in heads
  }
  return model_with_heads(config, builders, 'float32')


def read_params(
  family: Family,
  config: EncoderConfig,
  weights: Mapping[str, np.ndarray],
  problems: list[str],
  *,
  task_head: TaskHead | None = None,
  is_untied: bool = False,
) -> Found:
  """Turns their arrays into our parameters; faults are added to `problems`.

  Args:
    family: says what their names mean.
    config: the encoder that their config says.
    weights: their name -> array.
    problems: one sentence each; with one, the result is of no use.
    task_head: that of the file, None: there is none that we have.
    is_untied: their config says that the tied parameters may differ; an MLM
      head where they do is left out.
  """
  notes: list[str] = []
  family = family.with_heads([task_head.head] if task_head else [])
  named, left_out = _named(family, weights, problems, notes, is_untied)
  heads = _heads(family, named, task_head.head if task_head else '')
  num_outputs = len(task_head.output_names) if task_head else 0
  model = build(config, heads, num_outputs)
  abstract = functional.flatten(model.abstract_params())
  shapes = {path: leaf.shape for path, leaf in abstract.items()}
  flat, missing, used, misshapen = {}, [], set(), []
  needed = name_table.entries(family.table, shapes)
  for entry in needed:
    if entry.name not in named:
      missing.append(entry.name)
      continue
    used.add(entry.name)
    original, array = named[entry.name]
    expected = name_table.their_shape(entry, shapes, model.infos)
    if array.shape != expected:
      misshapen.append(
        f'{original} has shape {array.shape}, by the config it must be '
        f'{expected}'
      )
    elif problem := _not_a_parameter(array):
      problems.append(f'{original} {problem}')
    else:
      array = array.astype(np.float32)
      flat |= name_table.to_ours(entry, array, shapes, model.infos)
  problems += misshapen[:_SHOWN]
  if len(misshapen) > _SHOWN:
    problems.append(f'nor do {len(misshapen) - _SHOWN} other shapes fit')
  left_out += [
    original for name, (original, _) in named.items() if name not in used
  ]
  left_out.sort()
  if missing:
    problems.append(
      f'{len(missing)} of {len(needed)} parameters are missing, such as '
      f'{", ".join(missing[:3])}; {_what_is_there(len(weights), left_out)}'
    )
  return Found(unflatten(flat), tuple(heads), tuple(left_out), tuple(notes))


def _what_is_there(count: int, left_out: Sequence[str]) -> str:
  """Describes the names that a file has instead of missing ones."""
  if not count:
    return 'there are none at all'
  if not left_out:
    return f'the {count} names that are there all have their place'
  return (
    f'{len(left_out)} of the {count} names that are there have no place, such '
    f'as {", ".join(map(shown, left_out[:3]))}'
  )


def write_params(
  family: Family,
  params: functional.Params,
  infos: Mapping[str, ParamInfo],
) -> dict[str, np.ndarray]:
  """Turns our parameters into theirs: f32 arrays by the name in the file."""
  flat = {
    path: np.asarray(leaf) for path, leaf in functional.flatten(params).items()
  }
  return {
    entry.name: name_table.to_theirs(entry, flat, infos)
    for entry in name_table.entries(family.table, flat)
  }


def _heads(
  family: Family, named: Mapping[str, Any], task_head: str
) -> list[str]:
  """Our heads with parameters in the file; of task heads, `task_head` alone."""
  present = {
    path.partition('/')[0]
    for rule in family.table
    for path in rule.paths
    if rule.theirs in named
  }
  if task_head not in (CLASSIFIER, CHOICE_HEAD):
    present -= set(family.classifier_heads)
  present -= TASK_HEADS.keys() - {task_head}
  return [
    name
    for name in (*HEADS, *TASK_HEADS)
    if name in present
    and (name not in family.marks or family.marks[name] in named)
  ]


def _named(
  family: Family,
  weights: Mapping[str, np.ndarray],
  problems: list[str],
  notes: list[str],
  is_untied: bool,
) -> tuple[dict[str, tuple[str, np.ndarray]], list[str]]:
  """(table's spelling -> (their name, array), their names that are not known).

  Copies of tied parameters are held against the original and put aside.
  """
  named: dict[str, tuple[str, np.ndarray]] = {}
  unknown = []
  for original in sorted(weights):
    name = family.canonical(original)
    if family.is_buffer(name):
      continue
    if not family.knows(name):
      unknown.append(original)
    elif name in named:
      problems.append(f'{original} and {named[name][0]} are the same parameter')
    else:
      named[name] = original, weights[original]
  untied: list[str] = []
  for copy, name in family.tied.items():
    if copy not in named:
      continue
    original, array = named.pop(copy)
    if name not in named:
      named[name] = original, array
    elif not np.array_equal(array, named[name][1]):
      said = f'{original} differs from {named[name][0]}'
      if not is_untied:
        problems.append(f'{said}; here they are one parameter')
        continue
      unknown.append(original)
      untied.append(said)
  if untied:
    notes.append(
      'its MLM head was left out: tie_word_embeddings is false, and '
      f'{untied[0]}'
    )
    for name in _of_mlm_head_alone(family) & named.keys():
      unknown.append(named.pop(name)[0])
  return named, unknown


def _of_mlm_head_alone(family: Family) -> set[str]:
  """Names of the masked-LM head that no other head of the family shares."""
  mlm_head, others = (
    {r.theirs for r in family.table if _is_mlm_head(r) == wanted}
    for wanted in (True, False)
  )
  return mlm_head - others


def _is_mlm_head(rule: Rule) -> bool:
  return rule.paths[0].startswith('mlm_head/')


def _not_a_parameter(array: np.ndarray) -> str:
  """'' for floats that f32 holds without loss."""
  if array.dtype.name not in ('float32', 'float16', 'bfloat16'):
    return f'is of type {array.dtype.name}; save it as float32'
  if not np.isfinite(array.astype(np.float32)).all():
    return 'has values that are not finite'
  return ''
