"""Surgery on trained models: (params, config) -> (params, config)."""
