"""Rendering with gradients, for torch: nothing outside this package and training imports torch."""
