"""The kinds of small inputs that once went wrong, and what is right for each.

| file | what | right |
|---|---|---|
| unknown_forms | a file of no known form | its records, or refused |
| folders_with_more_than_data | README, settings | the data, the rest named |
| unused_flags | a flag that changes nothing | refused |
| bytes_that_are_no_text | another encoding, an archive | refused |
| line_ends | lines that end in CR alone | each is a line |
| records_fuzz | any bytes in a file of records | as others read, or refused |
| added_tokens | entries added after training | the ids of transformers |
| tokenizer_options | what a folder asks for | done, or refused by name |
| case_and_accents | one capital in a vocabulary | the whole decides, said |
| unknown_tokens | text of another case or language | printed, or refused |
| changed_inputs | other text under an old corpus | refused, the file named |
| changed_examples | other labels under old figures | refused, the field named |
| malformed_tables | rows of another width, a name twice | refused, by line |
| unseen_headers | a header read as an example | refused, both ways on said |
| values_of_another_type | a list, an object, null | refused, by line |
| classes_nobody_meant | odd classes, numbers as text | counts, by size |
| outputs_in_order | a blank record | a result for each record |
| labels_of_others | config and weights disagree | the weights decide, said |
| wrapped_names | prefixes, adapters | read, or named with what to do |
| folders_of_others | files and fields beside weights | read, refused or noted |
| folder_of_the_wrong_kind | a verb given another folder | said what it is |
| remote_paths | gs:// where a disk is needed | refused before any work |
| caller_process | importing changes the process | nothing is changed |
"""

import ast
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).parent
LISTED = re.findall(r'^\| (\w+) \|', __doc__ or '', re.MULTILINE)[1:]


def test_every_kind_is_in_the_table():
  files = {path.name.removesuffix('_test.py') for path in FOLDER.glob('*.py')}
  assert sorted(LISTED) == sorted(files - {'kinds'})


@pytest.mark.parametrize('name', LISTED)
def test_a_kind_says_in_its_docstring_what_it_is(name):
  tree = ast.parse((FOLDER / f'{name}_test.py').read_text())
  assert len(ast.get_docstring(tree) or '') > 60
