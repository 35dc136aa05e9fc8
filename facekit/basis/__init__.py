"""Building morphable models: template, registered heads, statistics."""
