"""The content of files: when it is read, and when a stamp speaks for it."""

import os
import shutil
import time

import pytest

from bert_jax.data.sources import content, files, open_inputs
from bert_jax.errors import InputError

HOUR = 3600


@pytest.fixture
def folder(tmp_path):
  """Two files that were written an hour ago, as far as the clock here goes."""
  path = tmp_path / 'in'
  path.mkdir()
  (path / 'a.txt').write_text('one text')
  (path / 'b.txt').write_text('two text')
  return path


def look(folder, known=None, after=HOUR):
  """(what is found, sha256 by stamp, files read), `after` so many seconds."""
  now = time.time_ns() + int(after * 1e9)
  contents = content.Contents(known or {}, now)
  found = contents.identify(files.describe_files(sorted(folder.iterdir())))
  return found, contents.stamps(), contents.num_read


def test_each_file_has_its_digest_and_the_second_time_none_is_read(folder):
  found, known, num_read = look(folder)
  assert num_read == 2 and len(known) == 2
  assert [file['name'] for file in found] == ['a.txt', 'b.txt']
  assert [file['bytes'] for file in found] == [8, 8]
  assert found[0]['sha256'] != found[1]['sha256']
  assert look(folder, known) == (found, known, 0)


def test_the_same_size_and_time_of_change_by_utime(folder):
  found, known, _ = look(folder)
  before = (folder / 'a.txt').stat()
  (folder / 'a.txt').write_text('ten text')
  os.utime(folder / 'a.txt', ns=(before.st_atime_ns, before.st_mtime_ns))
  after = (folder / 'a.txt').stat()
  assert after.st_mtime_ns == before.st_mtime_ns
  assert after.st_size == before.st_size and after.st_ino == before.st_ino
  again, _, num_read = look(folder, known)
  assert num_read == 1
  assert again[0]['sha256'] != found[0]['sha256'] and again[1] == found[1]


@pytest.mark.parametrize('after', [0, 1.5])
def test_a_file_of_the_last_two_seconds_is_read_each_time(folder, after):
  """A later change may leave all that is recorded of it as it was."""
  _, known, _ = look(folder, after=after)
  assert not known
  _, known, _ = look(folder)
  # The file is of the future to a clock that is behind.
  assert look(folder, known, after=after)[2] == 2


def test_copies_are_read_and_found_the_same(folder, tmp_path):
  found, known, _ = look(folder)
  copy = shutil.copytree(folder, tmp_path / 'other disk')
  for path in copy.iterdir():  # as cp -a and rsync leave them
    times = (folder / path.name).stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
  again, stamps, num_read = look(copy, known)
  assert again == found and num_read == 2
  assert look(copy, stamps) == (found, stamps, 0)


def test_a_renamed_folder_is_not_read(folder, tmp_path):
  found, known, _ = look(folder)
  folder.rename(tmp_path / 'new name')
  assert look(tmp_path / 'new name', known) == (found, known, 0)


def test_a_new_hard_link_is_read_and_found_the_same(folder):
  found, known, _ = look(folder)
  os.link(folder / 'a.txt', folder / 'c.txt')
  again, _, num_read = look(folder, known)
  assert num_read == 2  # both names, as the time of the file's node is new
  assert again[:2] == found
  assert again[2] == found[0] | {'name': 'c.txt'}


def test_a_link_that_points_elsewhere(folder, tmp_path):
  other = tmp_path / 'other.txt'
  other.write_text('new text')
  (folder / 'a.txt').rename(tmp_path / 'first.txt')
  (folder / 'a.txt').symlink_to(tmp_path / 'first.txt')
  found, known, _ = look(folder)
  (folder / 'a.txt').unlink()
  (folder / 'a.txt').symlink_to(other)
  again, _, num_read = look(folder, known)
  assert num_read == 1 and again[0]['sha256'] != found[0]['sha256']


def test_whole_seconds_say_on_which_disk(folder):
  """Two small disks can be filled with the same nodes in the same second."""
  stat = (folder / 'a.txt').stat()

  def stamp(ctime_ns, device):
    values = {name: getattr(stat, name) for name in dir(stat)}
    values |= {'st_ctime_ns': ctime_ns, 'st_dev': device}
    return content._stamp(type('Stat', (), values))

  assert stamp(5 * 10**9, 1) != stamp(5 * 10**9, 2)
  assert stamp(5 * 10**9 + 1, 1) == stamp(5 * 10**9 + 1, 2)


def test_a_change_while_it_is_read(folder, monkeypatch):
  update = content.hashlib.sha256

  def growing(*arguments):
    with open(folder / 'a.txt', 'a') as file:
      file.write(' and more')
    return update(*arguments)

  monkeypatch.setattr(content.hashlib, 'sha256', growing)
  with pytest.raises(InputError, match='a.txt: has changed while it was being'):
    look(folder)


@pytest.mark.parametrize('after', [0, HOUR])
def test_a_change_after_it_was_read(folder, after):
  now = time.time_ns() + int(after * 1e9)
  contents = content.Contents({}, now)
  contents.identify(open_inputs(str(folder)).describe())
  contents.require_unchanged()
  os.utime(folder / 'b.txt')
  contents.require_unchanged()  # read again, and found the same
  stat = (folder / 'b.txt').stat()
  (folder / 'b.txt').write_text('six text')
  os.utime(folder / 'b.txt', ns=(stat.st_atime_ns, stat.st_mtime_ns))
  with pytest.raises(InputError, match='b.txt: has changed.*nothing was writt'):
    contents.require_unchanged()


def test_a_file_that_is_gone_at_the_end(folder):
  contents = content.Contents({}, time.time_ns())
  contents.identify(open_inputs(str(folder)).describe())
  (folder / 'b.txt').unlink()
  with pytest.raises(InputError, match='b.txt: cannot be read .No such file'):
    contents.require_unchanged()


@pytest.mark.parametrize('text', ['', '[]', '{"a": 1}', '{"\ud800', '[' * 9999])
def test_a_damaged_record_costs_time_alone(folder, tmp_path, text):
  (tmp_path / content.STAMPS_NAME).write_text(text, errors='replace')
  lock = tmp_path / 'lock'
  lock.touch()
  contents = content.open_contents(tmp_path / content.STAMPS_NAME, lock)
  contents.identify(open_inputs(str(folder)).describe())
  assert contents.num_read == 2


def test_thousands_of_files_are_quick(tmp_path):
  for number in range(3000):
    (tmp_path / f'{number}.txt').write_text(f'text {number}')
  _, known, _ = look(tmp_path)
  started = time.monotonic()
  assert look(tmp_path, known)[2] == 0
  assert time.monotonic() - started < 2
