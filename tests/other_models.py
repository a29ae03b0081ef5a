"""Small random models in folders of the form that transformers writes."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from bert_jax.models import functional
from bert_jax.pretrained import open_pretrained

_GOLDEN = pathlib.Path(__file__).parent / 'interop' / 'golden'
_WIDTH, _LETTERS = 16, 'abcdefghijklmnopqrstuvwxyz'
Weights = dict[str, np.ndarray]


def weights_of(name: str) -> tuple[dict[str, Any], Weights]:
  """Returns (config, weights) of a class such as RobertaForMaskedLM.

  A classifier has 3 labels.
  """
  rng = np.random.default_rng(0)
  if not name.startswith('Bert'):
    golden = json.loads((_GOLDEN / 'families.json').read_text('utf-8'))[name]
    config, shapes = golden['config'], golden['shapes']
  else:
    config = json.loads((_GOLDEN / 'bert' / 'config.json').read_text('utf-8'))
    config['architectures'] = [name]
    found = load_file(_GOLDEN / 'bert' / 'model.safetensors')
    shapes = {
      key: x.shape
      for key, x in found.items()
      if name.endswith('ForPreTraining') or not key.startswith('cls.')
    }
    if name == 'BertForSequenceClassification':
      shapes |= {'classifier.weight': (3, _WIDTH), 'classifier.bias': (3,)}
  return config, {
    key: rng.normal(size=shape).astype(np.float32)
    for key, shape in shapes.items()
  }


def save_folder(
  folder: pathlib.Path,
  name: str,
  change: Callable[[Weights], Weights] = lambda weights: weights,
  *,
  num_tokens: int | None = None,
  **fields: Any,
) -> pathlib.Path:
  """Writes a model and its tokenizer; None removes a field of the config."""
  folder.mkdir(parents=True, exist_ok=True)
  config, weights = weights_of(name)
  if name.endswith('ForSequenceClassification'):
    config['id2label'] = {'0': 'x', '1': 'y', '2': 'z'}
    config.pop('label2id', None)
  config = {key: x for key, x in (config | fields).items() if x is not None}
  (folder / 'config.json').write_text(json.dumps(config))
  save_file(change(weights), folder / 'model.safetensors')
  tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *_LETTERS]
  tokens += [f'##{letter}' for letter in _LETTERS]
  # RoBERTa counts positions from the id of padding, so the id must agree.
  pad_id = config.get('pad_token_id') or 0
  tokens.insert(pad_id, tokens.pop(0))
  size = num_tokens or config['vocab_size']
  tokens += [f'word{number}' for number in range(size - len(tokens))]
  (folder / 'vocab.txt').write_text('\n'.join(tokens[:size]) + '\n')
  options = {'tokenizer_class': 'BertTokenizer', 'do_lower_case': True}
  (folder / 'tokenizer_config.json').write_text(json.dumps(options))
  return folder


def with_prefix(prefix: str) -> Callable[[Weights], Weights]:
  """A change for `save_folder`: puts a prefix before each weight's name."""
  return lambda weights: {f'{prefix}{key}': x for key, x in weights.items()}


def with_outputs(
  count: int, weight: str = 'classifier.weight', bias: str = 'classifier.bias'
) -> Callable[[Weights], Weights]:
  """A change for `save_folder`: gives a classifier `count` outputs."""
  return lambda weights: (
    weights
    | {
      weight: np.ones((count, _WIDTH), np.float32),
      bias: np.arange(count, dtype=np.float32),
    }
  )


def flat_params(path: str | pathlib.Path) -> Weights:
  """The parameters of a model, wherever it lies, by their paths."""
  return functional.flatten(open_pretrained(str(path)).load_params())


def assert_same_params(found, expected) -> None:
  """Asserts that two trees of parameters are equal, bit for bit."""
  found, expected = map(functional.flatten, (found, expected))
  assert found.keys() == expected.keys()
  for path in found:
    np.testing.assert_array_equal(found[path], expected[path], err_msg=path)
