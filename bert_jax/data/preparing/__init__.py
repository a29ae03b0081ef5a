"""Text to token rows on disk: what `bert-jax prepare` does."""
