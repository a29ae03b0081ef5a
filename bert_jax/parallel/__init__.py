"""Devices: the mesh, and which axis of an array lies on which of its axes."""
