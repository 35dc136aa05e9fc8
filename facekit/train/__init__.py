"""Training: data, augmentation, tasks, export."""
