"""WikiExtractor's files: an article is a document, and nothing else is."""

import pytest
from inputs import read_documents

from bert_jax.errors import InputError

BEGIN = '<doc id="{}" url="https://a.b?curid={}" title="{}">\n'


def article(number, title, text):
  return f'{BEGIN.format(number, number, title)}{title}\n\n{text}\n\n</doc>\n'


def test_articles(tmp_path):
  path = tmp_path / 'AA' / 'wiki_00'
  path.parent.mkdir()
  texts = ['A > b.', 'Two\n\nparagraphs <doc> here', 'Three']
  path.write_text(
    '\n'.join(article(n, f'T &gt; "{n}"', t) for n, t in enumerate(texts))
  )
  documents = read_documents(path)[0]
  assert [d.text for d in documents] == [
    f'T &gt; "{n}"\n\n{text}' for n, text in enumerate(texts)
  ]
  assert [d.origin for d in documents] == [
    f'{path}:2',
    f'{path}:9',
    f'{path}:18',
  ]
  assert read_documents(tmp_path)[0] == documents


@pytest.mark.parametrize(
  ('content', 'what'),
  [
    (article(1, 'T', 'a')[:-8], ':1: the article .* has no </doc>'),
    (
      article(1, 'T', 'a').replace('</doc>\n', '') + article(2, 'U', 'b'),
      ':1: the article',
    ),
    (article(1, 'T', 'a') + 'stray\n', ":7: 'stray' is within no <doc"),
  ],
)
def test_what_is_no_article_is_refused(tmp_path, content, what):
  path = tmp_path / 'wiki_00'
  path.write_text(content)
  with pytest.raises(InputError, match=what):
    read_documents(path)


def test_json_is_not_taken_for_articles(tmp_path):
  path = tmp_path / 'wiki_00'
  path.write_text('{"id": "1", "url": "u", "title": "T", "text": "a"}\n')
  assert [d.text for d in read_documents(path)[0]] == ['a']
  with pytest.raises(InputError, match='read it as jsonl:'):
    read_documents(f'wiki:{path}')
