"""TFDS: a data set on disk is read without TensorFlow and without a network."""

import io
import json
import os
import shutil

import fuzzing
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from other_process import ROOT, verb

from bert_jax.data.sources import base, content, open_inputs
from bert_jax.data.sources import tfds as tfds_lib
from bert_jax.data.sources.content_changes import difference
from bert_jax.errors import InputError

NUM_TRAIN = 50


def make_data_set(data_dir, version='1.0.0', config='en'):
  import tensorflow_datasets as tfds

  features = tfds.features

  class TinyText(tfds.core.GeneratorBasedBuilder):
    # tfds would look for files beside this module.
    url_infos = {}
    VERSION = tfds.core.Version(version)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config, version=version)]

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self,
        features=features.FeaturesDict(
          {
            'text': features.Text(),
            'raw': features.Tensor(shape=(), dtype=np.object_),
            'meta': {'deep': {'title': features.Text()}},
            'both': features.Translation(['en', 'de']),
            'many': features.Sequence({'text': features.Text()}),
            'image': features.Image(shape=(4, 4, 3)),
            'number': features.Scalar(np.int64),
          }
        ),
      )

    def _split_generators(self, unused_downloads):
      return {
        'train': self._generate_examples(NUM_TRAIN),
        'test': self._generate_examples(5),
      }

    def _generate_examples(self, number):
      for i in range(number):
        yield (
          i,
          {
            'text': f'Größe {i}\nof {version}',
            'raw': b'a\xffb' if i == 3 else b'' if i == 4 else f'raw {i}',
            'meta': {'deep': {'title': f'title {i}'}},
            'both': {'en': f'house {i}', 'de': f'Haus {i}'},
            'many': [{'text': 'a'}, {'text': 'b'}],
            # No image: nothing but the text may be decoded.
            'image': io.BytesIO(b'png'),
            'number': i,
          },
        )

  # Else a second class of the name would be refused.
  tfds.core.registered._DATASET_REGISTRY.pop('tiny_text', None)
  TinyText(
    config=config, data_dir=data_dir, file_format='array_record'
  ).download_and_prepare()


@pytest.fixture(scope='module')
def shared_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data sets')
  make_data_set(folder)
  return folder


@pytest.fixture
def own_dir(shared_dir, tmp_path):
  """A copy that may be damaged."""
  return shutil.copytree(shared_dir, tmp_path / 'copy')


def folder_of(data_dir):
  return data_dir / 'tiny_text/en/1.0.0'


def train_file(data_dir):
  return next(folder_of(data_dir).glob('tiny_text-train*'))


def read(spec, data_dir, **options):
  source = open_inputs(spec, data_dir=str(data_dir), **options)
  report = base.ReadReport()
  return list(source.documents(report)), report


def test_a_data_set_is_read(shared_dir):
  documents, report = read('tfds:tiny_text/en:1.0.0:train', shared_dir)
  assert sorted(document.text for document in documents) == sorted(
    f'Größe {i}\nof 1.0.0' for i in range(NUM_TRAIN)
  )
  assert documents[4].origin == 'tfds:tiny_text/en:1.0.0:train:example 5'
  assert not report.counts
  assert read('tfds:tiny_text/en', shared_dir)[0] == documents
  assert read('tfds:tiny_text/en:train', shared_dir)[0] == documents


def test_splits(shared_dir):
  def number(split):
    return len(read(f'tfds:tiny_text/en:{split}', shared_dir)[0])

  assert number('test') == 5
  assert number('train[:10%]') == 5
  assert number('train[40:]+test') == 15
  assert number('all') == NUM_TRAIN + 5


@pytest.mark.parametrize('field', ['meta.deep.title', 'both.de', 'text'])
def test_a_feature_within_another(shared_dir, field):
  documents, _ = read('tfds:tiny_text/en', shared_dir, text_field=field)
  begin = {'both.de': 'Haus ', 'text': 'Größe '}.get(field, 'title ')
  assert len(documents) == NUM_TRAIN
  assert all(document.text.startswith(begin) for document in documents)


def test_what_was_met_is_counted(shared_dir, monkeypatch):
  monkeypatch.setattr(base, 'MAX_DOCUMENT_CHARACTERS', 5)
  documents, report = read('tfds:tiny_text/en', shared_dir, text_field='raw')
  assert 'a\ufffdb' in [document.text for document in documents]
  # 'raw 10' and so on are above five characters.
  assert report.counts == {
    'undecodable_bytes': 1,
    'empty_documents': 1,
    'split_documents': 40,
  }
  assert 'train:example ' in report.examples['undecodable_bytes'][0]


def test_an_example_without_the_feature_is_counted(shared_dir):
  import tensorflow_datasets as tfds

  class Records(list):
    def __getitems__(self, numbers):
      return [self[number] for number in numbers]

  source = open_inputs('tfds:tiny_text/en', data_dir=str(shared_dir))
  text, other = (
    tfds.features.FeaturesDict({name: tfds.features.Text()})
    for name in ('text', 'other')
  )
  source._records = Records(
    features.serialize_example(features.encode_example({name: 'a text'}))
    for features, name in ((text, 'text'), (other, 'other'))
  )
  report = base.ReadReport()
  assert len(list(source.documents(report))) == 1
  assert report.examples == {
    'missing_field': [
      "tfds:tiny_text/en:1.0.0:train:example 2: no feature 'text'"
    ]
  }


def test_small_batches(shared_dir, monkeypatch):
  documents, _ = read('tfds:tiny_text/en', shared_dir)
  monkeypatch.setattr(tfds_lib, '_MAX_BATCH_EXAMPLES', 7)
  assert read('tfds:tiny_text/en', shared_dir)[0] == documents


def test_the_newest_version_is_taken(own_dir):
  shutil.copytree(folder_of(own_dir), own_dir / 'tiny_text/en/10.0.0')
  path = own_dir / 'tiny_text/en/10.0.0/dataset_info.json'
  info = json.loads(path.read_text()) | {'version': '10.0.0'}
  path.write_text(json.dumps(info))
  (own_dir / 'tiny_text/en/2.0.0.incompleteX').mkdir()
  (document, *_), _ = read('tfds:tiny_text/en', own_dir)
  assert document.origin.startswith('tfds:tiny_text/en:10.0.0:train')
  (document, *_), _ = read('tfds:tiny_text/en:1.0.0', own_dir)
  assert document.origin.startswith('tfds:tiny_text/en:1.0.0:train')
  with pytest.raises(InputError, match='there are 1.0.0, 10.0.0'):
    read('tfds:tiny_text/en:3.0.0', own_dir)


def test_its_description_and_size(shared_dir):
  source = open_inputs('tfds:tiny_text/en', data_dir=str(shared_dir))
  assert source.name == 'tfds'
  description = json.loads(json.dumps(source.describe()))
  num_bytes = description.pop('bytes_of_all_splits')
  assert 5_000 < num_bytes < 50_000
  names = [file['name'] for file in description.pop('files')]
  assert names == [
    'features.json',
    'tiny_text-train.array_record-00000-of-00001',
  ]
  assert description == {
    'kind': 'tfds',
    'data_set': 'tiny_text/en:1.0.0',
    'split': 'train',
    'text_field': 'text',
    'examples': NUM_TRAIN,
  }
  size = len('Größe 10\nof 1.0.0'.encode()) * NUM_TRAIN
  assert source.size_in_bytes() == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize(
  ('spec', 'field', 'what'),
  [
    ('tiny_tex', 'text', 'the nearest there: tiny_text/en'),
    ('tiny_text', 'text', 'the nearest there: tiny_text/en;'),
    ('tiny_text/de', 'text', 'the nearest there: tiny_text/en;'),
    ('wikipedia', 'text', 'not prepared in .*there are tiny_text/en'),
    ('tiny_text/en:9.9.9', 'text', 'no such version in .*there are 1.0.0'),
    ('tiny_text/en:tarin', 'text', 'as a split .*there are train, test'),
    ('tiny_text/en:train[:x]', 'text', 'as a split'),
    ('tiny_text/en:train[9:9]', 'text', 'as a split'),
    ('../tiny_text', 'text', 'write tfds:NAME'),
    ('tiny_text/../x', 'text', 'write tfds:NAME'),
    ('tiny_text/en:', 'text', 'write tfds:NAME'),
    ('', 'text', 'names nothing'),
    ('tiny_text/en', 'body', "has no feature 'body'; .*'text'"),
    ('tiny_text/en', 'text.x', "has no feature 'text.x'"),
    ('tiny_text/en', 'many.text', "has no feature 'many.text'"),
    ('tiny_text/en', '', "has no feature ''"),
    ('tiny_text/en', 'number', "'number' is Scalar.*, not a string"),
    ('tiny_text/en', 'many', "'many' is Sequence.*, not a string"),
    ('tiny_text/en', 'meta', "'meta' is FeaturesDict.*, not a string"),
    ('tiny_text/en', 'image', "'image' is Image.*, not a string"),
  ],
)
def test_what_cannot_be_opened_is_one_line(shared_dir, spec, field, what):
  with pytest.raises(InputError, match=what) as error:
    read(f'tfds:{spec}', shared_dir, text_field=field)
  assert '\n' not in str(error.value)


def test_no_data_set_at_all(tmp_path, monkeypatch):
  with pytest.raises(InputError, match='there is no folder .*gone; .*data_dir'):
    read('tfds:tiny_text', tmp_path / 'gone')
  with pytest.raises(InputError, match='holds no data set'):
    read('tfds:tiny_text', tmp_path)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'of the environment'))
  with pytest.raises(InputError, match='of the environment; name'):
    open_inputs('tfds:tiny_text')


@pytest.mark.parametrize('format', ['tfrecord', 'parquet', 'riegeli'])
def test_another_format_is_to_be_converted(own_dir, format):
  path = folder_of(own_dir) / 'dataset_info.json'
  path.write_text(path.read_text().replace('"array_record"', f'"{format}"'))
  with pytest.raises(InputError, match='tfds convert_format --dataset_ver'):
    read('tfds:tiny_text/en', own_dir)


@pytest.mark.parametrize('name', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', ['', '{', '{}', '[]', '{"splits": 3}'])
def test_damaged_descriptions(own_dir, name, content):
  (folder_of(own_dir) / name).write_text(content)
  with pytest.raises(InputError) as error:
    read('tfds:tiny_text/en', own_dir)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('size', [0, 1000, 2**16, 2**16 + 9, -1, None])
def test_a_file_that_is_missing_or_cut_short(own_dir, size):
  path = train_file(own_dir)
  data = path.read_bytes()
  path.unlink()
  if size is not None:
    path.write_bytes(data[:size])
  with pytest.raises(InputError, match='cut short or damaged') as error:
    read('tfds:tiny_text/en', own_dir)
  assert '\n' not in str(error.value)


@hypothesis.given(
  place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255)
)
@fuzzing.settings(60)
def test_flipped_bits_are_found_or_do_not_matter(own_dir, place, bits):
  whole, _ = read('tfds:tiny_text/en:test', own_dir)
  path = next(folder_of(own_dir).glob('tiny_text-test*'))
  data = path.read_bytes()
  used = [i for i, byte in enumerate(data) if byte]
  damaged = bytearray(data)
  damaged[used[int(place * len(used))]] ^= bits
  path.write_bytes(damaged)
  try:
    assert read('tfds:tiny_text/en:test', own_dir)[0] == whole
  except InputError as error:
    assert '\n' not in str(error)
  finally:
    path.write_bytes(data)


def test_the_command_needs_no_tensorflow(shared_dir, small_corpus, tmp_path):
  (tmp_path / 'tensorflow.py').write_text('raise RuntimeError("imported")')
  verb(
    tmp_path,
    *('prepare', '--row_length=16', '--max_unknown=1', '--workers=1'),
    '--input=tfds:tiny_text/en:train[:40],tfds:tiny_text/en:test',
    f'--data_dir={shared_dir}',
    f'--tokenizer={small_corpus / "tokenizer"}',
    '--output=out',
    PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
  )
  record = json.loads((tmp_path / 'out/prepare.json').read_text())
  assert record['summary']['documents'] == 45


def test_its_content_is_that_of_the_files_of_its_split(own_dir):
  def found(split):
    source = open_inputs(f'tfds:tiny_text/en:{split}', data_dir=str(own_dir))
    return content.Contents({}, 0).identify(source.describe())

  def parts():
    return found('train'), found('test'), found('train[:10%]+train[90%:]')

  before = parts()
  assert [len(part['files']) for part in before] == [2, 2, 2]
  (path,) = (own_dir / 'tiny_text/en/1.0.0').glob('*-train.array_record-*')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  what = f'the content of {path.name} has changed'
  after = parts()
  assert difference(before[0], after[0]) == what
  assert difference(before[1], after[1]) == ''
  assert difference(before[2], after[2]) == what
  features = own_dir / 'tiny_text/en/1.0.0/features.json'
  features.write_text(features.read_text() + ' ')
  for old, new in zip(after, parts(), strict=True):
    assert 'features.json has changed' in difference(old, new)
