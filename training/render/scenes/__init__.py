"""Rendered scenes with exact depth, normals, masks, captions, referring expressions and edits."""

from .editing import EDIT_TASKS as EDIT_TASKS
from .editing import EDITS as EDITS
from .editing import SWAPPED as SWAPPED
from .editing import NoRoom as NoRoom
from .editing import edit as edit
from .editing import task_words as task_words
from .parameters import Scenes as Scenes
from .picture_edits import STYLES as STYLES
from .picture_edits import restyle as restyle
from .picture_edits import style_edit as style_edit
from .picture_edits import text_edit as text_edit
from .picture_edits import write as write
from .renderer import Labels as Labels
from .renderer import Render as Render
from .renderer import labels as labels
from .renderer import render as render
from .sample import sample_scenes as sample_scenes
from .scene_words import caption as caption
from .scene_words import referring as referring
from .scene_words import side as side
from .vocabulary import CLASS_NAMES as CLASS_NAMES
from .vocabulary import COLOR_NAMES as COLOR_NAMES
from .vocabulary import DEPTH_RANGE as DEPTH_RANGE
from .vocabulary import HELD_OUT as HELD_OUT
from .vocabulary import SHAPES as SHAPES
