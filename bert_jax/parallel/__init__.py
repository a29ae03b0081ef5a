"""Devices: the mesh, and which axis of which array lies on which of its axes."""
