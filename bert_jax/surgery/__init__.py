"""Another model from a trained one: (params, config) -> (params, config)."""
