"""Description of a task's head in the terms of other libraries.

Tasks and foreign formats both use it, so that neither needs to know the other.
"""

import dataclasses

from bert_jax.models.heads import CLS

TEXTS, WORDS = 'ForSequenceClassification', 'ForTokenClassification'
SPANS, CHOICES = 'ForQuestionAnswering', 'ForMultipleChoice'
# Outputs of a head of SPANS: scores for the first and the last token.
START_AND_END = ('start', 'end')
# The output of a head of CHOICES.
SCORE = ('score',)
# Functions from the one output of a reranker to its score.
SIGMOID, IDENTITY = 'sigmoid', 'identity'
# Names of our heads, by the end of the other library's class name.
HEAD_OF = {
  TEXTS: 'classifier',
  WORDS: 'token_classifier',
  SPANS: 'span_head',
  CHOICES: 'choice_head',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskHead:
  """A head that gives each text, or each token, a vector of outputs.

  Attributes:
    kind: The end of the other library's class name: TEXTS, WORDS, SPANS
      or CHOICES.
    problem_type: Its name for the loss, such as 'regression'; '' for none.
    output_names: The names of the outputs, in order (id2label).
    pooling: Input of a head for whole texts, one of heads.POOLINGS.
    activation: SIGMOID or IDENTITY for a reranker, '' for any other head.
  """

  kind: str = TEXTS
  problem_type: str = ''
  output_names: tuple[str, ...]
  pooling: str = CLS
  activation: str = ''

  @property
  def head(self) -> str:
    """The name of the head's parameters in our models."""
    return HEAD_OF[self.kind]
