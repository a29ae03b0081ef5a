"""The encoder, its heads, and the boundary to plain arrays."""
