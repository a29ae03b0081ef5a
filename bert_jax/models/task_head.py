"""What an encoder with a task's head is called by other libraries.

The tasks and the formats of others meet in it: neither knows the other.
"""

import dataclasses

from bert_jax.models.heads import CLS

TEXTS, WORDS = 'ForSequenceClassification', 'ForTokenClassification'
# The head of ours in a class of theirs with this end of its name.
HEAD_OF = {TEXTS: 'classifier', WORDS: 'token_classifier'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskHead:
  """A head that gives each text, or each word, a vector of outputs.

  Attributes:
    kind: The end of their class's name: TEXTS or WORDS.
    problem_type: Their word for the loss, such as 'regression'; '': none.
    output_names: What each output is called, in their order (id2label).
    pooling: What a head of whole texts sees of them, of heads.POOLINGS.
  """

  kind: str = TEXTS
  problem_type: str = ''
  output_names: tuple[str, ...]
  pooling: str = CLS

  @property
  def head(self) -> str:
    """The name of its parameters."""
    return HEAD_OF[self.kind]
