"""Rendered scenes with exact depth, normals, masks, captions, referring expressions and edit pairs."""

from .editing import EDITS as EDITS
from .editing import edit as edit
from .parameters import Scenes as Scenes
from .renderer import Labels as Labels
from .renderer import Render as Render
from .renderer import labels as labels
from .renderer import render as render
from .sample import sample_scenes as sample_scenes
from .vocabulary import CLASS_NAMES as CLASS_NAMES
from .vocabulary import COLOR_NAMES as COLOR_NAMES
from .vocabulary import DEPTH_RANGE as DEPTH_RANGE
from .vocabulary import HELD_OUT as HELD_OUT
from .vocabulary import SHAPES as SHAPES
from .words import caption as caption
from .words import referring as referring
