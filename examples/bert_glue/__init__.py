"""What the fine-tuning scripts share: BERT, tasks, training, records of runs."""
