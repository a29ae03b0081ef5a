"""Corpora and documents in object storage, gs:// and s3://."""
