"""Config classes that have moved: their names in config.json files of old runs.

A class keeps its row here for as long as runs with the old name are around.
"""

# The name in config.json, without 'bert_jax.' -> where the class is now.
RENAMED: dict[str, str] = {
  'data.reading.stages.Stage': 'data.reading.plan.Stage',
  'experiment.Corpus': 'data.config.Corpus',
  'experiment.DataConfig': 'data.config.DataConfig',
  'train.checkpoint.CheckpointConfig': (
    'train.checkpoint_config.CheckpointConfig'
  ),
}
