"""Reads and writes how sentence-transformers makes one vector of a text.

modules.json names its modules in order: a Transformer, a Pooling and perhaps a
Normalize. Source: sentence-transformers 6.2, `base/modules/transformer.py`,
`sentence_transformer/modules/pooling.py` and `base/model.py`.
"""

import pathlib
from typing import Any, NamedTuple

from bert_jax import durable_files
from bert_jax.config.json_files import read_or_none
from bert_jax.errors import InputError, listed, shown

POOLINGS = ('mean', 'cls', 'max')
_MODULES = 'modules.json'
_SENTENCES = 'sentence_bert_config.json'
_CONFIG = 'config_sentence_transformers.json'
# Names of the modes in files of versions before 5.
_EARLIER_MODES = {
  'pooling_mode_cls_token': 'cls',
  'pooling_mode_max_tokens': 'max',
  'pooling_mode_mean_tokens': 'mean',
}
_OVERRIDE = 'choose by --pooling and --normalize how a vector is made'


class VectorForm(NamedTuple):
  """How the states of a text's tokens become its vector.

  pooling: 'mean' or 'max' over all tokens, [CLS] and [SEP] among them, or the
  state of 'cls'. normalize: vectors have length 1. max_tokens: texts are cut
  there; 0: the model's positions. prompt: stands before each text.
  """

  pooling: str = 'mean'
  normalize: bool = True
  max_tokens: int = 0
  prompt: str = ''


def read_form(folder: pathlib.Path, *, pools: bool = True) -> VectorForm | None:
  """The form that a folder asks for; None without modules.json.

  Without `pools`, that of the texts alone: max_tokens and prompt. Raises
  InputError if it has a module or an option that is not computed here.
  """
  if not (folder / _MODULES).is_file():
    return None
  sentences = _object(folder / _SENTENCES)
  if sentences.get('do_lower_case'):
    raise InputError(
      f'{folder / _SENTENCES}: do_lower_case is not computed here; let the '
      'tokenizer do it (tokenizer_config.json)'
    )
  form = VectorForm(
    max_tokens=_max_tokens(folder, sentences),
    prompt=_prompt(folder / _CONFIG),
  )
  if not pools:
    return form
  modules = read_or_none(folder / _MODULES)
  if not isinstance(modules, list):
    raise InputError(f'{folder / _MODULES}: is no list of modules; {_OVERRIDE}')
  kinds = [_kind(module) for module in modules]
  if kinds not in (
    ['Transformer', 'Pooling'],
    ['Transformer', 'Pooling', 'Normalize'],
  ):
    raise InputError(
      f'{folder / _MODULES} has the modules {shown(", ".join(kinds))}; only '
      f'Transformer, Pooling and Normalize are computed here; {_OVERRIDE}'
    )
  place = pathlib.PurePath(str(modules[1].get('path'))).name
  return form._replace(
    pooling=_pooling(folder / place / 'config.json'),
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
  modes = {name: form.pooling == mode for name, mode in _EARLIER_MODES.items()}
  prompts = {'default': form.prompt} if form.prompt else {}
  for name, content in {
    _MODULES: modules,
    '1_Pooling/config.json': {'word_embedding_dimension': dim} | modes,
    _SENTENCES: {'max_seq_length': max_tokens, 'do_lower_case': False},
    _CONFIG: {
      'prompts': prompts,
      'default_prompt_name': 'default' if prompts else None,
    },
  }.items():
    durable_files.write_json(folder / name, content)


def _kind(module: Any) -> str:
  kind = module.get('type') if isinstance(module, dict) else module
  return str(kind).rpartition('.')[2]


def _object(path: pathlib.Path) -> dict[str, Any]:
  value = read_or_none(path)
  return value if isinstance(value, dict) else {}


def _pooling(path: pathlib.Path) -> str:
  config = _object(path)
  modes = config.get('pooling_mode')
  if modes is None:
    modes = [
      _EARLIER_MODES.get(name, name.removeprefix('pooling_mode_'))
      for name, value in config.items()
      if name.startswith('pooling_mode_') and value is True
    ] or 'mean'
  modes = [modes] if isinstance(modes, str) else list(modes)
  if len(modes) != 1 or modes[0] not in POOLINGS:
    raise InputError(
      f'{path}: pools by {shown(", ".join(map(str, modes)))}; one of '
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
