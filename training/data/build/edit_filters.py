"""The filters of edit data, with this project's own models; `pixwizard data judge-filters` says how good they are.

With a CLIP, a depth network and a detector for photographs the bounds are others: see docs/filters.md.
"""

from __future__ import annotations

from .recipe import BuildRecipe, Filter, Input, Relabel

# Edits that change a thing's shape, or take it away; that leave every surface where it was; of most of the picture.
MOVING = ("edit_remove", "edit_add", "edit_replace", "edit_local")
FLAT = ("edit_recolor", "edit_texture", "edit_text")
WHOLE = ("edit_background", "edit_global", "edit_style")

EDIT_FILTERS = (
    Filter("gap", at_least=0.0005),
    Filter("extent", at_most=0.45, tasks=(*MOVING, *FLAT)),
    Filter("extent", at_least=0.12, tasks=WHOLE),
    Filter("structure", at_least=0.35),
    Filter("depth", at_most=0.2, model="nano", tasks=MOVING),
    Filter("depth", at_most=0.06, model="nano", tasks=FLAT),
    Filter("presence", at_least=0.2, model="scenes"),
    Filter("clip_direction", at_least=-0.25, model="begun"),
    Filter("clip_image", at_least=-0.45, model="begun"),
    Filter("aesthetic_gap", at_most=6.5, model="begun"),
)
EDIT_RELABEL = Relabel("nano", tasks=(*MOVING, *FLAT, *WHOLE))


def edit_recipe() -> BuildRecipe:
    """A recipe of these filters, for judging: its inputs are none that exist."""
    return BuildRecipe("none", (Input("folder", "none"),), relabel=EDIT_RELABEL, filters=EDIT_FILTERS)
