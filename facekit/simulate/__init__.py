"""Portraits and captures with exact truth."""
