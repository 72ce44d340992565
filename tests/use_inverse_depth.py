"""Uses the task that CONTRIBUTING.md adds; run by test_contributing.py in a copy of the tree that has it.

Arguments: the root of that tree, and a folder for pools.
"""

import sys
from pathlib import Path

import torch

import pixwizard
from pixwizard.comfyui_pixwizard.answer import choose_task
from pixwizard.comfyui_pixwizard.tasks import get_task
from pixwizard.training.data.rendered.builders import BUILDERS, dense
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.render.dead_leaves import dead_leaves

root, pools = map(Path, sys.argv[1:])
assert Path(pixwizard.__file__ or "").parent == root, pixwizard.__file__
generator = torch.Generator().manual_seed(0)

# It is found, and has its settings.
task = choose_task("Draw the inverse depth", None, has_image=True)
assert task is get_task("inverse_depth") and task.guidance == (1.0, 1.0) and task.steps == 2

# Its codec inverts, also with noise, and keeps to a range.
depth = 0.5 + 30 * torch.rand(2, 24, 40, generator=generator)
picture = task.encode(depth)
assert picture.shape == (2, 3, 24, 40) and picture.min() > 0 and picture.max() <= 1
assert torch.allclose(task.decode(picture), depth, rtol=1e-5)
noise = 0.01 * torch.randn(picture.shape, generator=generator)
error = (task.decode(picture + noise) - depth).abs() / depth
assert error[depth < 2].max() < 0.2
assert task.confidence(picture) == 1
assert task.decode(picture, near=1.0, far=2.0).aminmax() == (1.0, 2.0)

# Its pairs show what those of depth show.
rendered = RenderedSources(64, dead_leaves, ScenePool(pools, 2, 64), FigurePool(pools, 1, 64), FacePool(pools, 1, 64))
pairs = BUILDERS["inverse_depth"](rendered, 3, generator.manual_seed(1))
other = dense("depth", rendered, 3, generator.manual_seed(1))
assert torch.equal(pairs.source, other.source) and len(pairs.sentences) == 3
assert torch.allclose(task.decode(pairs.target), get_task("depth").decode(other.target), rtol=0.01)
