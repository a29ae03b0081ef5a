"""Weights files that are written here hold what they were given."""

import numpy as np
from safetensors.numpy import load_file

from bert_jax.interop import weights_files


def test_columns_first_and_single_numbers_are_written_as_they_are(tmp_path):
  weights = {
    'columns_first': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    'a_number': np.array(7.0, np.float32),
  }
  weights_files.write(tmp_path / 'model.safetensors', weights)
  found = load_file(tmp_path / 'model.safetensors')
  for name, expected in weights.items():
    np.testing.assert_array_equal(found[name], expected, strict=True)
