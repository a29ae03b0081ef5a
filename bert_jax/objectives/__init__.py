"""What a model is trained to do: pure functions on the device."""
