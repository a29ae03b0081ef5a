"""Runs whose workdir lies at gs://, with a server of Cloud Storage's API."""

import json

import pytest

from bert_jax.jobs.pretrain import pretrain
from bert_jax.buckets import BucketPath


def test_a_run_is_that_of_a_disk(gcs, small_experiment, finished_run):
  import time
  t = time.time()
  outcome = pretrain(small_experiment, 'gs://bucket/runs/a')
  print('took', time.time()-t, len(gcs.requests))
  print('\n'.join(gcs.names('bucket')))
  from collections import Counter
  print(Counter(r.split('?')[0] for r in gcs.requests).most_common(30))
  assert 0
