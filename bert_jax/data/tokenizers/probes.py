"""Texts on which two tokenizers are compared that should be the same."""

from bert_jax.data.tokenizers import base

_TEXTS = (
  "The café's 3.14 naïve TESTS -- don't fail: (a+b)*c == [d]!",
  'unaffable  tokens\twith\nall kinds of   space ',
  'Ein größeres Übermaß, İstanbul, Ελληνικά, Москва, שלום, العربية, हिन्दी',
  '深度学习 日本語のテキスト 한국어 ไทย 🙂 ½ ﬁ ™ ① Å',
  'C1=CC=C(C=C1)C(=O)O def f(x): return x**2  # https://a.org/b?c=d&e_f',
  '``quoted\'\' "text" — …',
  'a' * 120,
  '',
  'ÉCOLE école e\u0301cole Señor SEÑOR ǅ Straße STRASSE ŒUVRE',
  'zero\u200bwidth soft\xadhyphen nbsp\xa0here \ufeffbom \u2028line',
  'が ガ ぱ क्षेत्र tiếng Việt 👩\u200d👩\u200d👧 🇩🇪 \U0001d53c\U00020000',
)
_ENTRIES = 1000


def texts(tokenizer: base.Tokenizer) -> list[str]:
  """Text of many scripts, every added token in several places, and entries.

  The entries are some thousand of the vocabulary, evenly spaced, so that
  scripts of its own are among them. None has a special token written out: it is
  ordinary text here, and the special token for transformers.
  """
  table = tokenizer.table
  step = max(1, table.vocab_size // _ENTRIES)
  entries = [tokenizer.decode([i]) for i in table.ordinary_ids[::step]]
  found = [*_TEXTS, ' '.join(entries), *entries]
  for token in tokenizer.tokenizer_json().get('added_tokens') or []:
    content = token['content']
    found += [
      content,
      f'before {content} after',
      f'glued{content}glued {content.upper()} {content.lower()}',
      f'É{content}é  {content}{content}, ({content}).',
    ]
  special = [tokenizer.token(int(i)) for i in table.special_ids]
  return [text for text in found if not any(map(text.__contains__, special))]
