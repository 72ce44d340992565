"""Drawn portraits for face restoration."""

from .portrait import draw_faces as draw_faces
