"""Adapters written here give the same outputs in `peft`, and the reverse.

Marked `interop`: needs torch, transformers and peft; .ci/run runs it.
"""

import jax
import numpy as np
import pytest
from adapters import FAMILIES, save_base, write_adapter

from bert_jax.interop import family as families
from bert_jax.models.heads import text_vector
from bert_jax.models.masks import RowLayout
from bert_jax.pretrained import open_pretrained

pytestmark = pytest.mark.interop

IDS = np.random.default_rng(0).integers(5, 40, (3, 20)).astype(np.int32)
# Linear layers by the family: of attention and of the feed-forward network.
LINEAR = {
  'modernbert': ['Wqkv', 'Wi', 'attn.Wo', 'mlp.Wo'],
  'distilbert': ['q_lin', 'out_lin', 'lin1'],
  'albert': ['query', 'ffn', 'embedding_hidden_mapping_in'],
}


def ours(folder):
  """Logits f32 [B, C] of what opens there."""
  source = open_pretrained(str(folder))
  params = source.load_params()
  heads = [name for name in params if name != 'encoder']
  head = source.task_head
  model = families.build(source.model, heads, len(head.output_names))
  layout = RowLayout(
    segment_ids=np.ones_like(IDS),
    position_ids=np.broadcast_to(np.arange(20, dtype=np.int32), IDS.shape),
    token_type_ids=np.zeros_like(IDS),
  )

  def logits(params):
    module = model.bind(params)
    hidden = module.encoder(IDS, layout)
    vector = text_vector(hidden, layout.segment_ids, head.pooling)
    if 'pooler' in params:
      vector = module.pooler(vector)
    return module.classifier(vector)

  return np.asarray(jax.jit(logits)(params))


def theirs(model):
  import torch

  model.eval()
  with torch.no_grad():
    return model(
      input_ids=torch.from_numpy(IDS).long(),
      attention_mask=torch.ones(IDS.shape, dtype=torch.long),
    ).logits.numpy()


def load_base(folder):
  import transformers

  transformers.logging.set_verbosity_error()
  return transformers.AutoModelForSequenceClassification.from_pretrained(
    folder, num_labels=3
  )


@pytest.mark.parametrize(
  'targets', [('query', 'value'), ('all_linear',)], ids=len
)
@pytest.mark.parametrize('family', FAMILIES)
def test_ours_in_theirs(tmp_path, small_tokenizer, family, targets):
  import peft
  from safetensors.numpy import load_file

  base = save_base(tmp_path / 'base', family, small_tokenizer)
  write_adapter(tmp_path / 'adapter', base, targets=targets)
  model = peft.PeftModel.from_pretrained(
    load_base(tmp_path / 'base'), tmp_path / 'adapter'
  )
  np.testing.assert_allclose(
    theirs(model), ours(tmp_path / 'adapter'), atol=1e-5
  )
  # Nothing is missing or left over: saved again, it is the same file.
  model.save_pretrained(tmp_path / 'again')
  files = [
    load_file(tmp_path / name / 'adapter_model.safetensors')
    for name in ('adapter', 'again')
  ]
  assert files[0].keys() == files[1].keys()
  for name, array in files[0].items():
    np.testing.assert_array_equal(array, files[1][name])


@pytest.mark.parametrize('use_rslora', [False, True])
@pytest.mark.parametrize('family', FAMILIES)
def test_theirs_in_ours(tmp_path, small_tokenizer, family, use_rslora):
  import peft
  import torch

  save_base(tmp_path / 'base', family, small_tokenizer)
  names = LINEAR.get(family, ['query', 'value', 'intermediate.dense'])
  model = peft.get_peft_model(
    load_base(tmp_path / 'base'),
    peft.LoraConfig(
      task_type='SEQ_CLS',
      r=4,
      lora_alpha=6,
      use_rslora=use_rslora,
      rank_pattern={names[0]: 2},
      alpha_pattern={names[0]: 7},
      target_modules=names,
      modules_to_save=['pooler', 'head', 'classifier'],
    ),
  )
  torch.manual_seed(0)
  for name, parameter in model.named_parameters():
    if 'lora_' in name or 'modules_to_save' in name:
      torch.nn.init.normal_(parameter, std=0.3)
  model.peft_config['default'].base_model_name_or_path = str(tmp_path / 'base')
  model.save_pretrained(tmp_path / 'adapter')
  np.testing.assert_allclose(
    ours(tmp_path / 'adapter'), theirs(model), atol=1e-5
  )
