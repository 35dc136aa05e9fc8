"""Training machinery that knows nothing about faces."""
