"""Configs of experiments: in and out of JSON, and held against each other."""
