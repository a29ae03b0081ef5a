"""Exact match, F1 and thresholds: by hand, and as the official scripts have it.

The functions of evaluate-v2.0.py stand here as published, to compare with.
"""

import collections
import re
import string

import numpy as np
import pytest

from bert_jax.tasks import answer_scores


def normalize_answer(s):
  def remove_articles(text):
    return re.sub(re.compile(r'\b(a|an|the)\b', re.UNICODE), ' ', text)

  def remove_punc(text):
    return ''.join(ch for ch in text if ch not in set(string.punctuation))

  return ' '.join(remove_articles(remove_punc(s.lower())).split())


def compute_f1(a_gold, a_pred):
  gold_toks = normalize_answer(a_gold).split()
  pred_toks = normalize_answer(a_pred).split()
  common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
  num_same = sum(common.values())
  if len(gold_toks) == 0 or len(pred_toks) == 0:
    return int(gold_toks == pred_toks)
  if num_same == 0:
    return 0
  precision = 1.0 * num_same / len(pred_toks)
  recall = 1.0 * num_same / len(gold_toks)
  return (2 * precision * recall) / (precision + recall)


def find_best_thresh(preds, scores, na_probs, qid_to_has_ans):
  num_no_ans = sum(1 for k in qid_to_has_ans if not qid_to_has_ans[k])
  cur_score = num_no_ans
  best_score = cur_score
  best_thresh = 0.0
  qid_list = sorted(na_probs, key=lambda k: na_probs[k])
  for qid in qid_list:
    if qid_to_has_ans[qid]:
      diff = scores[qid]
    else:
      diff = -1 if preds[qid] else 0
    cur_score += diff
    if cur_score > best_score:
      best_score = cur_score
      best_thresh = na_probs[qid]
  return best_score / len(scores), best_thresh


@pytest.mark.parametrize(
  ('answer', 'right', 'exact', 'f1'),
  [
    ('The  Normans.', 'normans', 1, 1),
    ('an apple a day', 'apple day', 1, 1),
    # An article within a word stays, and so does one with an apostrophe in it.
    ('another theme', 'other me', 0, 0),
    ("Norman's", 'Normans', 1, 1),
    ('10th and 11th centuries', 'in the 10th and 11th centuries', 0, 8 / 9),
    ('Denmark', 'Denmark, Iceland and Norway', 0, 0.4),
    ('red red', 'red', 0, 2 / 3),
    ('北京', '北京', 1, 1),
    ('北京', '在北京', 0, 0),
    # Punctuation is that of ASCII alone.
    ('北京。', '北京', 0, 0),
    ('', '', 1, 1),
    ('the', '', 1, 1),
    ('', 'Paris', 0, 0),
    ('CAFÉ\u00a0bar', 'café bar', 1, 1),
  ],
)
def test_by_hand(answer, right, exact, f1):
  assert answer_scores.exact(answer, right) == exact
  assert answer_scores.f1(answer, right) == pytest.approx(f1)


WORDS = ['Old', 'house,', 'of', 'king', 'an-d', 'x.', 'é', '北']
ARTICLES = ['the', 'a']


def sampled(rng, count, words):

  def text(least):
    return ' '.join(rng.choice(words, rng.integers(least, 5)))

  right = [[text(1) for _ in range(rng.integers(0, 4))] for _ in range(count)]
  return [text(1) for _ in range(count)], right


def test_random_predictions_score_as_in_the_script():
  rng = np.random.default_rng(0)
  answers, right = sampled(rng, 300, WORDS + ARTICLES)
  answers[::7] = [''] * len(answers[::7])
  figures = answer_scores.figures(answers, right)
  gold = [[a for a in one if normalize_answer(a)] or [''] for one in right]
  exact = np.array(
    [
      max(int(normalize_answer(a) == normalize_answer(p)) for a in one)
      for p, one in zip(answers, gold, strict=True)
    ]
  )
  f1 = np.array(
    [
      max(compute_f1(a, p) for a in one)
      for p, one in zip(answers, gold, strict=True)
    ]
  )
  has_answer = np.array([bool(one) for one in right])
  assert 0 < f1.mean() < 1 and 0 < exact.mean() < f1.mean()
  for name, scores in (('exact', exact), ('f1', f1)):
    assert figures[name] == pytest.approx(scores.mean())
    for kind, mask in (('has_answer', has_answer), ('no_answer', ~has_answer)):
      assert figures[f'{kind}_{name}'] == pytest.approx(scores[mask].mean())


@pytest.mark.parametrize('shift', [-2, 0, 2])
def test_the_best_threshold_scores_as_in_the_script(shift):
  rng = np.random.default_rng(1)
  # An answer that is nothing once normalized is counted otherwise by the script
  # here than in its figures.
  answers, right = sampled(rng, 200, WORDS)
  has_answer = np.array([bool(one) for one in right])
  differences = rng.normal(size=200) + shift * has_answer
  answers[3] = ''
  f1 = answer_scores.scores(answer_scores.f1, answers, right)
  best = answer_scores.best_threshold(
    f1, differences, has_answer, np.array([not one for one in answers])
  )
  ids = range(200)
  expected, threshold = find_best_thresh(
    *(dict(zip(ids, answers, strict=True)), dict(zip(ids, f1, strict=True))),
    *(
      dict(zip(ids, values.tolist(), strict=True))
      for values in (differences, has_answer)
    ),
  )
  assert best.score == pytest.approx(expected)
  # The threshold gives the score that it promises.
  given = [
    '' if difference > best.threshold else answer
    for answer, difference in zip(answers, differences, strict=True)
  ]
  assert answer_scores.figures(given, right)['f1'] == pytest.approx(expected)
  if threshold:
    assert best.threshold >= threshold
    assert np.sum(differences <= best.threshold) == np.sum(
      differences <= threshold
    )


def test_nothing_is_answered_where_that_is_best():
  best = answer_scores.best_threshold(
    np.zeros(2),
    np.array([0.5, -3.0]),
    np.array([True, False]),
    np.zeros(2, bool),
  )
  assert best.score == 0.5 and best.threshold < -3


def test_questions_of_one_difference_are_answered_together():
  """The script would stop between them, at a score that nothing reaches."""
  best = answer_scores.best_threshold(
    np.array([1.0, 1.0, 0.0]),
    np.array([2.0, 1.0, 1.0]),
    np.array([True, True, False]),
    np.zeros(3, bool),
  )
  assert best == (2 / 3, 2.5)
