"""Writes families.json: what transformers writes of each family's classes.

The file is committed, so that families_test.py needs neither torch nor
transformers. To write it again, in an environment of its own (Python 3.11):

  python3.11 -m venv torch_env
  torch_env/bin/pip install torch==2.13.0 transformers==5.24.0
  torch_env/bin/python tests/interop/golden/write_family_files.py

Class -> {config: the content of config.json, shapes: name -> shape of what is
in model.safetensors}.
"""

import json
import pathlib
import tempfile

import transformers
from safetensors import safe_open

_COMMON = dict(
  vocab_size=61,
  hidden_size=16,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=32,
)
_IDS = dict(pad_token_id=0, bos_token_id=2, eos_token_id=3)
_NARROW = _COMMON | dict(max_position_embeddings=20, embedding_size=8)
_ENDS = ('ForMaskedLM', 'ForSequenceClassification', 'Model')
CONFIGS = {
  'Roberta': _COMMON
  | dict(max_position_embeddings=22, type_vocab_size=1, layer_norm_eps=1e-5),
  'ModernBert': _COMMON
  | _IDS
  | dict(
    num_hidden_layers=4, local_attention=8, cls_token_id=2, sep_token_id=3
  ),
  'Electra': _NARROW,
  'Albert': _NARROW,
  'DistilBert': dict(
    vocab_size=61,
    dim=16,
    n_layers=2,
    n_heads=2,
    hidden_dim=32,
    max_position_embeddings=20,
  ),
}
CLASSES = [
  *(f'{family}{end}' for family in CONFIGS for end in _ENDS),
  'ElectraForPreTraining',
  'AlbertForPreTraining',
]


def main() -> None:
  found = {}
  for name in CLASSES:
    model_class = getattr(transformers, name)
    family = next(family for family in CONFIGS if name.startswith(family))
    labels = dict(num_labels=3) if 'Classification' in name else {}
    config = model_class.config_class(**CONFIGS[family], **labels)
    with tempfile.TemporaryDirectory() as temporary:
      folder = pathlib.Path(temporary)
      model_class(config).save_pretrained(folder)
      with safe_open(folder / 'model.safetensors', 'np') as weights:
        shapes = {
          key: list(weights.get_slice(key).get_shape())
          for key in sorted(weights.keys())
        }
      found[name] = {
        'config': json.loads((folder / 'config.json').read_text()),
        'shapes': shapes,
      }
  lines = ',\n'.join(
    f'{json.dumps(name)}: {json.dumps(value)}' for name, value in found.items()
  )
  path = pathlib.Path(__file__).with_name('families.json')
  path.write_text(f'{{\n{lines}\n}}\n')


if __name__ == '__main__':
  main()
