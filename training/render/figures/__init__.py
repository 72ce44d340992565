"""Rendered people with exact poses, captions and names of joints."""

from .figure_words import joint_expressions as joint_expressions
from .outfit import HELD_OUT as HELD_OUT
from .render import Figures as Figures
from .render import render_figures as render_figures
