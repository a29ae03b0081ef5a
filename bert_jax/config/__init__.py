"""Configs of experiments: converted to and from JSON, compared, overridden."""
