"""Devices: the mesh, and the table of array axes to mesh axes."""
