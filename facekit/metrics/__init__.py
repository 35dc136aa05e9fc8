"""Pure functions that score predictions against truth."""
