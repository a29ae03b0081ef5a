"""Reads and writes how sentence-transformers makes one vector of a text.

modules.json names its modules in order: a Transformer, a Pooling and perhaps a
Normalize. Source: sentence-transformers 6.2, `base/modules/transformer.py`,
`sentence_transformer/modules/pooling.py` and `base/model.py`.
"""

import pathlib
from typing import Any

from bert_jax import durable_files
from bert_jax.config.json_files import read_or_none
from bert_jax.errors import InputError, listed, shown
from bert_jax.models.vector_form import POOLINGS, VectorForm

MODULES = 'modules.json'
SENTENCES = 'sentence_bert_config.json'
_CONFIG = 'config_sentence_transformers.json'
# Names of the modes in files of versions before 5, after this beginning.
_MODE = 'pooling_mode_'
_EARLIER_MODES = {
  'cls_token': 'cls',
  'max_tokens': 'max',
  'mean_tokens': 'mean',
}
_OVERRIDE = 'choose by --pooling and --normalize how a vector is made'


def read_form(folder: pathlib.Path, *, pools: bool = True) -> VectorForm | None:
  """The form that a folder asks for; None without modules.json.

  Without `pools`, that of the texts alone: max_tokens and prompt. Raises
  InputError if it has a module or an option that is not computed here.
  """
  if not (folder / MODULES).is_file():
    return None
  sentences = _object(folder / SENTENCES)
  if sentences.get('do_lower_case'):
    raise InputError(
      f'{folder / SENTENCES}: do_lower_case is not computed here; let the '
      'tokenizer do it (tokenizer_config.json)'
    )
  form = VectorForm(
    max_tokens=_max_tokens(folder, sentences),
    prompt=_prompt(folder / _CONFIG),
    dim=_dim(folder / _CONFIG),
  )
  if not pools:
    return form
  modules = read_or_none(folder / MODULES)
  if not isinstance(modules, list):
    raise InputError(f'{folder / MODULES}: is no list of modules; {_OVERRIDE}')
  kinds = [kind_of(module) for module in modules]
  if kinds not in (
    ['Transformer', 'Pooling'],
    ['Transformer', 'Pooling', 'Normalize'],
  ):
    raise InputError(
      f'{folder / MODULES} has the modules {shown(", ".join(kinds))}; only '
      f'Transformer, Pooling and Normalize are computed here; {_OVERRIDE}'
    )
  return form._replace(
    pooling=_pooling(_pooling_path(folder, modules[1])),
    normalize='Normalize' in kinds,
  )


def write_form(
  folder: pathlib.Path, form: VectorForm, *, dim: int, max_tokens: int
) -> None:
  """Writes the modules beside a model of transformers, in the names of 2 to 6.

  dim: the width of the states. max_tokens: where texts are cut.
  """
  kinds = ['Transformer', 'Pooling', *(['Normalize'] if form.normalize else [])]
  folders = ['', '1_Pooling', '2_Normalize']
  modules = [
    {
      'idx': number,
      'name': str(number),
      'path': path,
      'type': f'sentence_transformers.models.{kind}',
    }
    for number, (kind, path) in enumerate(zip(kinds, folders, strict=False))
  ]
  for path in folders[1 : len(kinds)]:
    (folder / path).mkdir()
  modes = {
    _MODE + name: form.pooling == mode for name, mode in _EARLIER_MODES.items()
  }
  prompts = {'default': form.prompt} if form.prompt else {}
  for name, content in {
    MODULES: modules,
    '1_Pooling/config.json': {'word_embedding_dimension': dim} | modes,
    SENTENCES: {'max_seq_length': max_tokens, 'do_lower_case': False},
    _CONFIG: {
      'prompts': prompts,
      'default_prompt_name': 'default' if prompts else None,
      **({'truncate_dim': form.dim} if form.dim else {}),
    },
  }.items():
    durable_files.write_json(folder / name, content)


def kind_of(module: Any) -> str:
  """The class of an entry of modules.json, such as Pooling."""
  kind = module.get('type') if isinstance(module, dict) else module
  return str(kind).rpartition('.')[2]


def stated_modes(folder: pathlib.Path, module: dict[str, Any]) -> list[str]:
  """The modes of a Pooling module in the words of its file; [] without one."""
  return _modes(_object(_pooling_path(folder, module)))


def _pooling_path(folder: pathlib.Path, module: dict[str, Any]) -> pathlib.Path:
  place = pathlib.PurePath(str(module.get('path'))).name
  return folder / place / 'config.json'


def _modes(config: dict[str, Any]) -> list[str]:
  modes = config.get('pooling_mode')
  if modes is None:
    return [
      name.removeprefix(_MODE)
      for name, value in config.items()
      if name.startswith(_MODE) and value is True
    ]
  return (
    [str(mode) for mode in modes] if isinstance(modes, list) else [str(modes)]
  )


def _object(path: pathlib.Path) -> dict[str, Any]:
  value = read_or_none(path)
  return value if isinstance(value, dict) else {}


def _pooling(path: pathlib.Path) -> str:
  config = _object(path)
  modes = [_EARLIER_MODES.get(mode, mode) for mode in _modes(config)] or [
    'mean'
  ]
  if len(modes) != 1 or modes[0] not in POOLINGS:
    raise InputError(
      f'{path}: pools by {shown(", ".join(modes))}; one of '
      f'{listed(POOLINGS)} is computed here; {_OVERRIDE}'
    )
  if config.get('include_prompt') is False:
    raise InputError(
      f'{path}: include_prompt=false is not computed here; {_OVERRIDE}'
    )
  return modes[0]


def _max_tokens(folder: pathlib.Path, sentences: dict[str, Any]) -> int:
  length = sentences.get('max_seq_length') or _object(
    folder / 'tokenizer_config.json'
  ).get('model_max_length')
  # Tokenizers without a limit say 10^30.
  if isinstance(length, int) and 2 < length < 10**9:
    return length
  return 0


def _dim(path: pathlib.Path) -> int:
  """The numbers of a vector that are kept; 0: all."""
  dim = _object(path).get('truncate_dim')
  if dim is None:
    return 0
  if type(dim) is not int or dim < 1:
    raise InputError(
      f'{path}: truncate_dim is {shown(repr(dim))}; give a number of 1 or '
      'more, or leave it out'
    )
  return dim


def _prompt(path: pathlib.Path) -> str:
  config = _object(path)
  name = config.get('default_prompt_name')
  if name is None:
    return ''
  prompts = config.get('prompts')
  prompt = prompts.get(name) if isinstance(prompts, dict) else None
  if not isinstance(prompt, str):
    raise InputError(
      f'{path}: default_prompt_name is {shown(repr(name))}, which is none of '
      'its prompts; mend the file'
    )
  return prompt
