"""Writes bert/: a small checkpoint by transformers, and what it computes.

The folder is committed, so that the tests need neither torch nor transformers.
To write it again, in an environment of its own (Python 3.11):

  python3.11 -m venv torch_env
  torch_env/bin/pip install torch==2.13.0 transformers==5.24.0 numpy
  torch_env/bin/python tests/interop/golden/write_huggingface_golden.py

The model is `BertForPreTraining` with random weights, biases and norms too, so
that no parameter is 0 or 1 by accident and can be left out unnoticed.

  config.json, model.safetensors, vocab.txt, tokenizer files   as transformers
    and its BertTokenizer write them
  zip.bin, old.bin     the weights by torch.save, in its two formats, with the
    copies of tied parameters that a state dict has
  shapes.bin           odd tensors, in the old format: see `odd_tensors`
  expected.npz         input_ids, token_type_ids, segment_ids int32 [B, T];
    hidden f32 [layers + 1, B, T, D], mlm_logits, next_sentence_logits, pooled
"""

import pathlib

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).with_name('bert')
WORDS = 'the a an array of holds takes number random value function ##s ##ed'
TOKENS = (
  *('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'),
  *'abcdefghijklmnopqrstuvwxyz.,',
  *(f'##{letter}' for letter in 'abcdefghij'),
  *(word for word in WORDS.split() if word != 'a'),
)


def build_model(rng: np.random.Generator) -> transformers.BertForPreTraining:
  model = transformers.BertForPreTraining(
    transformers.BertConfig(
      vocab_size=len(TOKENS),
      hidden_size=16,
      num_hidden_layers=2,
      num_attention_heads=2,
      intermediate_size=24,
      max_position_embeddings=32,
      attn_implementation='eager',
    )
  ).eval()
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      values = rng.normal(0, 0.2, tuple(parameter.shape))
      if 'LayerNorm.weight' in name:
        values += 1
      parameter.copy_(torch.from_numpy(values.astype(np.float32)))
  return model


def inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
  lengths = np.array([[12], [7]])
  column = np.arange(12)[None]
  is_text = (column < lengths).astype(np.int32)
  ids = rng.integers(5, len(TOKENS), (2, 12)) * is_text
  return {
    'input_ids': ids.astype(np.int32),
    'token_type_ids': ((column >= lengths // 2) * is_text).astype(np.int32),
    'segment_ids': is_text,
  }


def compute(
  model: transformers.BertForPreTraining, batch: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """In float64, so that only our own rounding is measured."""
  arguments = {
    'input_ids': torch.from_numpy(batch['input_ids']).long(),
    'attention_mask': torch.from_numpy(batch['segment_ids']).long(),
    'token_type_ids': torch.from_numpy(batch['token_type_ids']).long(),
  }
  model = model.double()
  with torch.no_grad():
    result = model(**arguments, output_hidden_states=True)
    pooled = model.bert(**arguments).pooler_output
  outputs = {
    'hidden': np.stack([state.numpy() for state in result.hidden_states]),
    'mlm_logits': result.prediction_logits.numpy(),
    'next_sentence_logits': result.seq_relationship_logits.numpy(),
    'pooled': pooled.numpy(),
  }
  return {name: x.astype(np.float32) for name, x in outputs.items()}


def odd_tensors() -> dict[str, torch.Tensor]:
  """Views, types and sizes; np.arange(6) and what it becomes, or ones."""
  numbers = torch.arange(6.0)
  return {
    'transposed': numbers.reshape(2, 3).T,
    'part': numbers[2:5],
    'expanded': torch.arange(6).expand((1, -1)),
    'empty': torch.zeros(0, 3),
    'half': torch.ones(3).half(),
    'bfloat16': torch.ones(3).bfloat16(),
    'parameter': torch.nn.Parameter(torch.ones(3)),
    'bool': torch.ones(3, dtype=torch.bool),
  }


def main() -> None:
  FOLDER.mkdir(exist_ok=True)
  rng = np.random.default_rng(20240229)
  model = build_model(rng)
  model.save_pretrained(FOLDER)
  (FOLDER / 'vocab.txt').write_text('\n'.join(TOKENS) + '\n')
  tokenizer = transformers.BertTokenizer.from_pretrained(FOLDER)
  tokenizer.save_pretrained(FOLDER)
  for name, is_zip in (('zip.bin', True), ('old.bin', False)):
    torch.save(
      model.state_dict(),
      FOLDER / name,
      _use_new_zipfile_serialization=is_zip,
    )
  torch.save(
    odd_tensors(), FOLDER / 'shapes.bin', _use_new_zipfile_serialization=False
  )
  batch = inputs(rng)
  np.savez_compressed(FOLDER / 'expected.npz', **batch, **compute(model, batch))


if __name__ == '__main__':
  main()
