"""Pretraining objectives: pure functions on the device."""
