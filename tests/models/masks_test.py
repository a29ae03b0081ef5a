"""What a row's special tokens tell of it."""

import numpy as np
import pytest
import toys

from bert_jax.models.masks import row_layout

C, S, P = toys.CLS, toys.SEP, toys.PAD


@pytest.mark.parametrize(
  'ids, segments, positions, types',
  [
    # Texts.
    (
      [C, 7, 8, S, C, 9, S, P],
      [1, 1, 1, 1, 2, 2, 2, 0],
      [0, 1, 2, 3, 0, 1, 2, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
    ),
    # Pairs: one segment each, whose second part is of type 1, as in Google's
    # create_pretraining_data.py; the first [SEP] is of type 0.
    (
      [C, 7, S, 8, 9, S, C, 5, 6, S, 7, S, P, P],
      [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 0],
      [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 0],
      [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0],
    ),
    # A row that is full to the last place.
    (
      [C, 7, S, 8, S, C, 7, S, 8, S],
      [1, 1, 1, 1, 1, 2, 2, 2, 2, 2],
      [0, 1, 2, 3, 4, 0, 1, 2, 3, 4],
      [0, 0, 0, 1, 1, 0, 0, 0, 1, 1],
    ),
  ],
)
def test_layouts(ids, segments, positions, types):
  found = row_layout(np.array([ids]), cls_id=C, sep_id=S, pad_id=P)
  assert [array[0].tolist() for array in found] == [segments, positions, types]
