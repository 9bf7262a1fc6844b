"""Fine-tuning as compiled programs: recipes, stages, seeds, the training of a group."""
