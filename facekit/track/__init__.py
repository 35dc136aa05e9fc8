"""Faces followed through a video: people, poses, expressions, frame by frame."""
