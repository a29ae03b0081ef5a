"""Predictions of a file read window by window, stopped and continued."""

import collections
import json

import pytest

from bert_jax.data.example_file import ExampleFile
from bert_jax.data.examples import TEXTS, Column, text_columns
from bert_jax.data.labelled import ID_COLUMNS, read_examples
from bert_jax.data.tables import values
from bert_jax.data.tokenizers import unknown
from bert_jax.errors import InputError
from bert_jax.jobs import growing_file, predict

COLUMNS = text_columns(('text',), None)
WORDS = (Column('0', 'text_columns', TEXTS, values.words, of_words=True),)
REQUEST = {'content of --input': 'a', 'digest of the parameters': 'b'}


class Model:
  """Gives the length of each text; stops as often as it is told."""

  def __init__(self, stop_at=None, error=KeyboardInterrupt):
    self.stop_at, self.error = stop_at, error
    self.seen = []

  def results(self, examples, cut):
    for texts in examples.texts:
      if texts[0] == self.stop_at:
        raise self.error('it stops')
      self.seen.append(texts[0])
      cut['long'] += len(texts[0]) > 4
      yield {'value': len(texts[0])}


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
  monkeypatch.setattr(predict, 'WINDOW', 4)
  monkeypatch.setattr('bert_jax.data.example_file._WINDOW', 3)


def file_of(path, count=11):
  rows = [f'x{n}\tt{n * 7}' for n in range(count)]
  path.write_text('\n'.join(['guid\ttext', *rows]) + '\n')
  return path


FORMS = {
  'a.tsv': 'guid\ttext\n' + ''.join(f'x{n}\tt"{n}\n' for n in range(11)),
  'a.csv': 'text\n' + ''.join(f'"t\n{n}"\n' for n in range(11)),
  # The first column of ids that has a value anywhere is taken, in all windows.
  'a.jsonl': ''.join(
    json.dumps({'text': f't{n}', 'idx': n} | ({'id': 'y'} if n == 8 else {}))
    + '\n'
    for n in range(11)
  ),
  'b.jsonl': ''.join(f'{{"text": "t{n}"}}\n' for n in range(11)),
  'a.json': json.dumps([{'text': f't{n}', 'id': None} for n in range(11)]),
  'a.conll': '-DOCSTART- O\n\n' + '\n\n'.join(f'a O\nb{n} O' for n in range(9)),
}


@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize('size', [1, 3, 100])
def test_windows_hold_what_the_whole_holds(tmp_path, name, size):
  path = tmp_path / name
  path.write_text(FORMS[name])
  columns = WORDS if name.endswith('conll') else COLUMNS
  whole = read_examples(path, columns, id_columns=ID_COLUMNS)
  file = ExampleFile(path, columns)
  assert (len(file), file.num_bytes) == (len(whole), whole.num_bytes)
  assert file.notes == whole.notes
  places, texts, origins = [], [], []
  for window in file.windows(size):
    assert len(window) <= size
    places += [window.place(row) for row in range(len(window))]
    texts += window.texts
    origins += window.origins
  assert places == [whole.place(row) for row in range(len(whole))]
  assert (texts, origins) == (whole.texts, whole.origins)
  assert file.sample() == whole.texts


def test_the_windows_of_a_parquet_file(tmp_path):
  pa = pytest.importorskip('pyarrow')
  import pyarrow.parquet

  path = tmp_path / 'a.parquet'
  table = pa.table({'text': [f't{n}' for n in range(5)], 'id': range(5)})
  pyarrow.parquet.write_table(table, path)
  windows = [*ExampleFile(path, COLUMNS).windows(2)]
  assert [window.ids for window in windows] == [[0, 1], [2, 3], [4]]
  assert windows[1].place(1) == {'record': 4, 'id': 3}


def test_a_sample_of_many(tmp_path, monkeypatch, capsys):
  path = file_of(tmp_path / 'a.tsv')
  whole = read_examples(path, COLUMNS)
  monkeypatch.setattr(unknown, '_MAX_TEXTS', 4)
  expected = [whole.texts[n * 11 // 4] for n in range(4)]
  assert ExampleFile(path, COLUMNS).sample() == expected


def test_an_error_in_the_last_line_is_found_at_the_start(tmp_path):
  path = file_of(tmp_path / 'a.tsv')
  with path.open('a') as file:
    file.write('x\n')
  with pytest.raises(InputError, match='a.tsv:13: '):
    ExampleFile(path, COLUMNS)


def test_a_file_that_changes_while_it_is_read(tmp_path):
  path = file_of(tmp_path / 'a.tsv')
  file = ExampleFile(path, COLUMNS)
  file_of(path, 12)
  output = tmp_path / 'out.jsonl'
  with pytest.raises(InputError, match='a.tsv: has changed while it was read'):
    predict.write_predictions(Model(), file, output, REQUEST)
  assert [p.name for p in tmp_path.iterdir()] == ['a.tsv']


@pytest.fixture
def stopped(tmp_path, capsys):
  """A prediction that stopped in its third window: (file, output)."""
  file = ExampleFile(file_of(tmp_path / 'a.tsv'), COLUMNS)
  output = tmp_path / 'out.jsonl'
  with pytest.raises(KeyboardInterrupt):
    predict.write_predictions(Model('t63'), file, output, REQUEST)
  assert not output.exists()
  said = capsys.readouterr().out
  assert '8 results are kept in' in said and 'goes on from there' in said
  return file, output


def whole(file, tmp_path):
  output = tmp_path / 'whole.jsonl'
  cut = predict.write_predictions(Model(), file, output)
  return output.read_bytes(), cut


def test_it_goes_on_where_it_stopped(stopped, tmp_path, capsys):
  file, output = stopped
  kept = output.with_name('out.jsonl.partial')
  assert kept.read_bytes().count(b'\n') == 8
  # A line that a killed process wrote after its last state does not count.
  with kept.open('a') as partial:
    partial.write('{"record": 9, "val')
  model = Model()
  cut = predict.write_predictions(model, file, output, REQUEST)
  assert model.seen == ['t56', 't63', 't70']
  assert '8 results are there in' in capsys.readouterr().out
  assert (output.read_bytes(), cut) == whole(file, tmp_path)
  assert cut == collections.Counter(long=0)
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {'a.tsv', 'out.jsonl', 'whole.jsonl'}


@pytest.mark.parametrize('damage', ['request', 'state', 'file', 'gone'])
def test_it_begins_anew_where_it_cannot_go_on(
  stopped, tmp_path, capsys, damage
):
  file, output = stopped
  partial = output.with_name('out.jsonl.partial')
  state, request = output.with_name('out.jsonl.partial.json'), dict(REQUEST)
  if damage == 'request':
    request['digest of the parameters'] = 'c'
  elif damage == 'state':
    state.write_text('{"num_bytes": 1')
  elif damage == 'file':
    partial.write_bytes(partial.read_bytes()[:-1])
  else:
    state.unlink()
  model = Model()
  predict.write_predictions(model, file, output, request)
  assert len(model.seen) == 11
  assert output.read_bytes() == whole(file, tmp_path)[0]
  said = capsys.readouterr().out
  if damage == 'request':
    assert 'begun anew: what is there has another digest of the par' in said


def test_without_a_request_nothing_is_kept(tmp_path):
  """Results of another model would be taken for those of this one."""
  file = ExampleFile(file_of(tmp_path / 'a.tsv'), COLUMNS)
  output = tmp_path / 'out.jsonl'
  with pytest.raises(KeyboardInterrupt):
    predict.write_predictions(Model('t63'), file, output)
  assert [path.name for path in tmp_path.iterdir()] == ['a.tsv']


def test_a_state_is_saved_while_it_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(growing_file, '_SECONDS_BETWEEN_STATES', -1.0)
  file = ExampleFile(file_of(tmp_path / 'a.tsv'), COLUMNS)
  output = tmp_path / 'out.jsonl'
  state = output.with_name('out.jsonl.partial.json')
  records = []

  class Watching(Model):
    def results(self, examples, cut):
      if state.exists():
        records.append(json.loads(state.read_text())['num_records'])
      return super().results(examples, cut)

  predict.write_predictions(Watching(), file, output, REQUEST)
  assert records == [4, 8]


def test_a_signal_while_results_are_written(tmp_path):
  """Results written in part are cut off, so that none is there twice."""
  output = tmp_path / 'out'

  class Broken:
    def __init__(self, file):
      self._file = file

    def write(self, data):
      self._file.write(data[:-1])
      raise KeyboardInterrupt

    def __getattr__(self, name):
      return getattr(self._file, name)

  with pytest.raises(KeyboardInterrupt):
    with growing_file.growing_file(output, REQUEST) as growing:
      growing.add(b'one\n', 1, {'cut': 1})
      growing.file = Broken(growing.file)
      growing.add(b'two\n', 1, {'cut': 2})
  with growing_file.growing_file(output, REQUEST) as growing:
    assert growing.added == growing_file.Added(4, 1, {'cut': 1})
    growing.add(b'two\n', 1, {'cut': 2})
  assert output.read_bytes() == b'one\ntwo\n'


def test_an_output_that_another_process_writes(stopped):
  file, output = stopped
  with growing_file.growing_file(output, REQUEST):
    with pytest.raises(InputError, match='in use by process'):
      predict.write_predictions(Model(), file, output, REQUEST)


def test_evaluate_shows_progress(monkeypatch, tmp_path):
  """A bar is told of all bytes, window by window."""
  told = []

  class Progress(predict.TextProgress):
    def update(self, num_bytes, tokens=0):
      told.append(num_bytes)

  class Scorer(Model):
    def require_task(self, method):
      return self

    def about(self, part, examples):
      return collections.namedtuple('About', 'notes')([])

    def score(self, results, examples):
      return {'sum': float(sum(result['value'] for result in results))}

  monkeypatch.setattr(predict, 'TextProgress', Progress)
  examples = read_examples(file_of(tmp_path / 'a.tsv'), COLUMNS)
  table = predict.evaluation_table(Scorer(), examples)
  assert table == f'sum {examples.num_bytes:.4f}'
  assert len(told) == 3 and sum(told) == examples.num_bytes
