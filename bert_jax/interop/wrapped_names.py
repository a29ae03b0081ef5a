"""Names of parameters under a wrapper or of an adapter: known, and named.

A wrapper of training that leaves the function as it is (torch.compile,
DataParallel, ...) is taken off. Any other prefix may belong to a model that
computes something else, and an adapter is not in the weights beside it: both
are refused with what to do.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bert_jax.errors import quoted, shown
from bert_jax.interop.family import Family
from bert_jax.interop.recognise import encoder_patterns, matched

# Parts of parameter names, and the wrapper that inserts each.
_WRAPPERS = {
  '_orig_mod': 'torch.compile',
  '_fsdp_wrapped_module': 'FullyShardedDataParallel',
  '_checkpoint_wrapped_module': 'activation checkpointing',
}
# A model may have a layer called `module`, so this part is only taken off if
# every name begins with it.
_PARALLEL, _BY_PARALLEL = (
  'module',
  'DataParallel or DistributedDataParallel',
)
_PEFT = re.compile(
  r'^base_model\.model\.|\.base_layer\.|\.modules_to_save\.|\.lora_|\.ia3_'
  r'|\.hada_|\.lokr_|\.oft_|\.boft_|\.vera_lambda|^prompt_embeddings'
)
_ADAPTERS = re.compile(
  r'\.adapters?\.|\.adapter_(down|up)\.|\.loras\.|\.prefix_tunings?\.'
)
MERGE_PEFT = (
  'merge it into its model first, with PeftModel.from_pretrained(MODEL, '
  'ADAPTER).merge_and_unload().save_pretrained(NEW_FOLDER)'
)
# Number of the family's encoder parameters that a model may lack: those of
# the projection of embeddings.
_OPTIONAL = 2
# Most parts of a prefix; 'model.student.encoder.' has three.
_DEPTH = 4


def unwrap(
  weights: Mapping[str, np.ndarray], problems: list[str], notes: list[str]
) -> dict[str, np.ndarray]:
  """Removes the prefixes of training wrappers; `notes` names them.

  Two names that would become one are added to `problems`.
  """
  renamed, taken = {name: name for name in weights}, Counter()
  for part, origin in _WRAPPERS.items():
    for original, name in renamed.items():
      parts = name.split('.')
      if part in parts:
        taken[f'{part}. (of {origin})'] += 1
        renamed[original] = '.'.join(one for one in parts if one != part)
  prefix = f'{_PARALLEL}.'
  while renamed and all(n.startswith(prefix) for n in renamed.values()):
    taken[f'{prefix} (of {_BY_PARALLEL})'] = len(renamed)
    renamed = {o: n.removeprefix(prefix) for o, n in renamed.items()}
  first: dict[str, str] = {}
  for original, name in renamed.items():
    if first.setdefault(name, original) != original:
      problems.append(
        f'{shown(original)} and {shown(first[name])} are the same parameter, '
        'under a wrapper and not; keep one of them'
      )
      return dict(weights)
  for what, number in taken.items():
    notes.append(
      f'{number} of {len(weights)} names bear {what}, which is no part of the '
      'model: it was taken off'
    )
  return {renamed[name]: array for name, array in weights.items()}


def adapter_problem(names: Iterable[str]) -> str:
  """A sentence that names an adapter's parameters; '' without any."""
  names = sorted(names)
  for expression, what, remedy in (
    (_PEFT, 'PEFT names, of an adapter', MERGE_PEFT),
    (
      _ADAPTERS,
      'of an adapter (of the library adapters)',
      'our encoder has no place for it; a LoRA can be merged with '
      'model.merge_adapter(NAME) before save_pretrained',
    ),
  ):
    found = [name for name in names if expression.search(name)]
    # Examples with `lora` or `adapter` in the name are the clearest.
    found.sort(key=lambda name: 'lora' not in name and 'adapter' not in name)
    if found:
      return (
        f'{len(found)} of {len(names)} names are {what}, such as '
        f'{shown(found[0])}: {remedy}'
      )
  return ''


def prefix_problem(family: Family, names: Sequence[str]) -> str:
  """A sentence on an unknown prefix of all the family's names.

  Returns '' if the names have no prefix, or are missing.
  """
  wanted = len(encoder_patterns(family)) - _OPTIONAL
  if _num_encoder(family, names) >= wanted:
    return ''
  found: list[str] = []
  for prefix in _prefixes(names):
    if any(prefix.startswith(shorter) for shorter in found):
      continue
    bare = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
    if _num_encoder(family, bare) >= wanted:
      found.append(prefix)
  if not found:
    return ''
  if len(found) > 1:
    return (
      f'it has {len(found)} encoders, under {", ".join(map(quoted, found))}; '
      'save the one that is meant, without what stands before its names'
    )
  prefix = found[0]
  number = sum(name.startswith(prefix) for name in names)
  how_many = 'all' if number == len(names) else f'{number} of'
  return (
    f'{how_many} {len(names)} names begin with {quoted(prefix)} and are those '
    f'of {family.model_type} without it; strip it, for instance by saving '
    f'{{n.removeprefix({prefix!r}): x for n, x in weights.items() if '
    f'n.startswith({prefix!r})}} as the weights'
  )


def inner_names(family: Family, names: Iterable[str]) -> list[str]:
  """Selects the names that begin like parameters of the family's encoder.

  The pooler does not count, since some families have none.
  """
  firsts = {
    pattern.removeprefix(family.prefix).split('.')[0]
    for pattern in encoder_patterns(family)
  }
  return [
    name
    for name in names
    if name.removeprefix(family.prefix).split('.')[0] in firsts
  ]


def _num_encoder(family: Family, names: Iterable[str]) -> int:
  return len(encoder_patterns(family) & matched(family, names))


def _prefixes(names: Iterable[str]) -> list[str]:
  """All prefixes of up to _DEPTH parts, the shortest first."""
  found = set()
  for name in names:
    parts = name.split('.')[:-1]
    for depth in range(1, min(_DEPTH, len(parts)) + 1):
      found.add('.'.join(parts[:depth]) + '.')
  return sorted(found, key=lambda prefix: (prefix.count('.'), prefix))
