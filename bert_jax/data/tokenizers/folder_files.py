"""Reads what the files beside a vocabulary say of its tokenizer.

tokenizer_config.json is ours or that of transformers; config.json,
special_tokens_map.json, added_tokens.json and tokenizer.json are transformers'
alone. Options in them are followed as by transformers 5.24, or refused by
name: an option that nobody looks at gives other ids than the model saw.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from bert_jax.config import json_files
from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.data.tokenizers import byte_bpe, sentencepiece, wordpiece
from bert_jax.errors import InputError, shown

CONFIG_NAME = 'tokenizer_config.json'
MODEL_CONFIG_NAME = 'config.json'
SPECIAL_NAME = 'special_tokens_map.json'
ADDED_NAME = 'added_tokens.json'
JSON_NAME = 'tokenizer.json'

# Kinds by tokenizer_class, without the ending Fast.
CLASSES = {
  **dict.fromkeys(
    (
      'BertTokenizer',
      'DistilBertTokenizer',
      'ElectraTokenizer',
      'ConvBertTokenizer',
      'MobileBertTokenizer',
    ),
    wordpiece.KIND,
  ),
  **dict.fromkeys(('RobertaTokenizer', 'LongformerTokenizer'), byte_bpe.KIND),
  'AlbertTokenizer': sentencepiece.KIND,
}
# Classes that can hold any kind; tokenizer.json decides.
ANY_KIND = ('PreTrainedTokenizerFast', 'TokenizersBackend')
# Classes that transformers takes by model_type if none is named.
_MODEL_TYPES = {
  **dict.fromkeys(
    ('bert', 'distilbert', 'electra', 'convbert', 'mobilebert'), 'BertTokenizer'
  ),
  **dict.fromkeys(('roberta', 'longformer'), 'RobertaTokenizer'),
  'albert': 'AlbertTokenizer',
  'modernbert': 'TokenizersBackend',
  # Other tokenizers whose vocab.txt or .model would load and give other ids.
  'bert-japanese': 'BertJapaneseTokenizer',
  'bertweet': 'BertweetTokenizer',
  'camembert': 'CamembertTokenizer',
  'deberta-v2': 'DebertaV2Tokenizer',
  'mpnet': 'MPNetTokenizer',
  'xlm-roberta': 'XLMRobertaTokenizer',
  'xlnet': 'XLNetTokenizer',
}
# Options with the values that change nothing here. Others of transformers
# change no id of a text: trim_offsets, padding_side, model_max_length.
_FIXED = {
  'do_basic_tokenize': (None, True),
  'never_split': (None, []),
  'remove_space': (None, True),
  'do_word_tokenize': (None, True),
  'do_subword_tokenize': (None, True),
  'word_tokenizer_type': (None, 'basic'),
  'subword_tokenizer_type': (None, 'wordpiece'),
  'split_special_tokens': (None, False),
  'continuing_subword_prefix': (None, wordpiece.CONTINUATION),
  'wordpieces_prefix': (None, wordpiece.CONTINUATION),
}


class _Config(TypedDict, total=False):
  lowercase: bool | None
  do_lower_case: bool | None
  strip_accents: bool | None
  tokenize_chinese_chars: bool | None
  keep_accents: bool | None
  add_prefix_space: bool | None
  straight_quotes: bool | None
  max_word_characters: Annotated[
    int, Check(lambda n: 0 < n < 2**31, '1 or more characters')
  ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderFiles:
  """The files of a folder, as far as they are there.

  folder: the folder of the files. config: tokenizer_config.json. special_map:
  special_tokens_map.json. added: added_tokens.json. spec: tokenizer.json.
  class_name: the class of transformers, without Fast; '' if unknown.
  """

  folder: pathlib.Path
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  special_map: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  added: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  spec: Mapping[str, Any] | None = None
  class_name: str = ''

  @property
  def is_ours(self) -> bool:
    """Returns whether `save` of one of our tokenizers wrote the folder."""
    return 'kind' in self.config and 'tokenizer_class' not in self.config

  @property
  def is_transformers(self) -> bool:
    """Returns whether transformers wrote the folder: its defaults hold."""
    return not self.is_ours and bool(
      self.class_name or self.spec or 'added_tokens_decoder' in self.config
    )

  @property
  def kind(self) -> str | None:
    """The kind that the config demands; None if the files decide."""
    return self.config.get('kind') or CLASSES.get(self.class_name)

  def flag(self, *names: str) -> bool | None:
    """An option that is true or false, by the first name that is there."""
    for name in names:
      if self.config.get(name) is not None:
        return self.config[name]
    return None


def read(folder: pathlib.Path) -> FolderFiles:
  """Reads what lies in the folder besides the vocabulary.

  Raises:
    InputError: a file is damaged, or asks for what ours cannot do.
  """
  config = _read_object(folder / CONFIG_NAME)
  _check_config(folder / CONFIG_NAME, config)
  found = FolderFiles(folder=folder, config=config)
  if found.is_ours:
    return found
  class_name = _class_name(folder, config)
  _check_options(folder / CONFIG_NAME, config)
  return FolderFiles(
    folder=folder,
    config=config,
    special_map=_read_object(folder / SPECIAL_NAME),
    added=_read_object(folder / ADDED_NAME),
    spec=_read_spec(folder / JSON_NAME),
    class_name=class_name,
  )


def _read_object(path: pathlib.Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  return json_files.read_object(path, 'restore it, or remove it.')


def _read_spec(path: pathlib.Path) -> dict[str, Any] | None:
  """A tokenizer.json; None if it is missing or damaged.

  The reader of its kind reports the damage.
  """
  spec = json_files.read_or_none(path)
  is_one = isinstance(spec, dict) and isinstance(spec.get('model'), dict)
  return spec if is_one else None


def _check_config(path: pathlib.Path, config: Mapping[str, Any]) -> None:
  kinds = (wordpiece.KIND, sentencepiece.KIND, byte_bpe.KIND)
  if 'kind' in config and config['kind'] not in kinds:
    raise InputError(
      f'{path}: kind {shown(repr(config["kind"]))} is not known; there are '
      f'{", ".join(kinds)}.'
    )
  Decoder(where=str(path), fix='mend it, or leave it out').decode(
    config, _Config
  )


def _check_options(path: pathlib.Path, config: Mapping[str, Any]) -> None:
  for name, values in _FIXED.items():
    if config.get(name) not in values:
      raise InputError(
        f'{path}: {name} is {shown(repr(config[name]))}, which no tokenizer '
        'here can do; without it the ids would be others than the model saw.'
      )


def _class_name(folder: pathlib.Path, config: Mapping[str, Any]) -> str:
  """The class that transformers would take, if it is one of CLASSES or any."""
  model = _read_object(folder / MODEL_CONFIG_NAME)
  if '_type' in model:
    model = {}  # of a run of ours
  path, name = folder / CONFIG_NAME, config.get('tokenizer_class')
  what = 'tokenizer_class'
  if name is None:
    path, name = folder / MODEL_CONFIG_NAME, model.get('tokenizer_class')
  if name is None and isinstance(model.get('model_type'), str):
    kind = model['model_type']
    what = f'model_type is {shown(repr(kind))}, so its tokenizer_class'
    name = _MODEL_TYPES.get(kind)
  if name is None:
    return ''
  plain = name.removesuffix('Fast') if isinstance(name, str) else name
  if name in ANY_KIND:
    return name
  if not isinstance(plain, str) or plain not in CLASSES:
    raise InputError(
      f'{path}: {what} is {shown(repr(name))}, a tokenizer of another kind '
      f'than those here, which are {", ".join([*CLASSES, *ANY_KIND])}; it '
      'would give other ids than the model saw.'
    )
  return plain
