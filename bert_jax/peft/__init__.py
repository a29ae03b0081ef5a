"""Parameter-efficient fine-tuning: one file for each method."""
