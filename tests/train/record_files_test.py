"""Parts of metrics in a bucket: whole objects, of bounded size, never lost."""

import pytest

from bert_jax.buckets import bucket_path
from bert_jax.train import record_files

LINE = b'{"kind": "train", "step": 1}\n'


@pytest.fixture
def metrics(gcs):
  return bucket_path('gs://bucket/run/metrics', '--workdir')


def test_lines_wait_until_they_are_wanted_or_old(metrics, monkeypatch):
  part, number = record_files.new_part(metrics)
  assert number == 0
  assert not part.write(LINE, whole=False) and not part.path.exists()
  assert part.write(LINE * 2, whole=True)
  assert part.path.read_bytes() == LINE * 2
  monkeypatch.setattr(record_files, '_WAIT_SECONDS', 0.0)
  assert part.write(LINE, whole=False)
  assert part.path.read_bytes() == LINE * 3
  assert record_files.new_part(metrics)[1] == 1


def test_a_large_part_is_followed_by_another(metrics, monkeypatch):
  monkeypatch.setattr(record_files, '_MAX_BYTES', 2 * len(LINE))
  part, _ = record_files.new_part(metrics)
  for _ in range(5):
    assert part.write(LINE, whole=True)
  sizes = [len(path.read_bytes()) for path in metrics.iterdir()]
  assert sizes == [3 * len(LINE), 2 * len(LINE)]


def test_nothing_of_another_run_is_overwritten(metrics):
  (mine, _), (other, _) = (record_files.new_part(metrics) for _ in range(2))
  assert other.write(LINE, whole=True)
  with pytest.raises(FileExistsError, match='another process has written it'):
    mine.write(LINE * 2, whole=True)
  assert mine.path.read_bytes() == LINE


def test_a_failure_keeps_what_was_there(metrics, gcs, monkeypatch):
  monkeypatch.setattr('bert_jax.buckets.PATIENCE_SECONDS', 0.2)
  part, _ = record_files.new_part(metrics)
  part.write(LINE, whole=True)
  gcs.failing = lambda request: 503
  with pytest.raises(TimeoutError):
    part.write(LINE, whole=True)
  gcs.failing = lambda request: 0
  assert part.write(LINE * 2, whole=True)
  assert part.path.read_bytes() == LINE * 3
