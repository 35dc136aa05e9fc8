"""Boxes and landmarks: one small adapter per backend behind one interface."""

from facekit.detect.registry import Detector, open_detector

__all__ = ["Detector", "open_detector"]
