"""`pixwizard data build --ray`: the same shards, made by the workers of a Ray cluster.

Only paths and words travel: workers read the inputs and write the output themselves, so all machines must see the same
folders and have this package installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ....runtime.ray_cluster import connected, require_ray
from .annotate import Tools
from .recipe import BuildRecipe
from .shards import Work, batched, build_shard

# Shards that are handed over together: their candidates are in the memory of the driver for so long.
AHEAD = 2000


class Maker:
    """An actor of Ray Data: holds annotators and scores, makes the shard of each row {"work"}."""

    def __init__(self, recipe: BuildRecipe):
        torch.set_num_threads(1)
        self.recipe, self.tools = recipe, Tools(recipe)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        try:
            build_shard(row["work"], self.recipe, self.tools)
        except ValueError as error:
            return {"name": row["work"].name, "error": str(error)}
        return {"name": row["work"].name, "error": ""}


def build_on_ray(missing: Iterator[Work], recipe: BuildRecipe, workers: int, address: str) -> Iterator[str]:
    """Names of shards as they are done.

    Args:
        address: of a running cluster, as ray.init takes it; "local" starts one on this machine and stops it again.

    Raises:
        ValueError: no Ray, no cluster, or a shard that cannot be made.
    """
    ray = require_ray()
    networks = torch.cuda.is_available() and (recipe.annotators or recipe.filters)
    with connected(ray, address):
        for group in batched(missing, AHEAD):
            data = ray.data.from_items([{"work": work} for work in group], override_num_blocks=len(group)).map(
                Maker,
                fn_constructor_args=(recipe,),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(group))),
                num_cpus=1,
                num_gpus=1 if networks else 0,
            )
            try:
                for row in data.iter_rows():
                    if row["error"]:
                        raise ValueError(row["error"])
                    yield row["name"]
            except ray.exceptions.RayError as error:
                last = str(error).strip().splitlines()[-1].strip()[:300]
                raise ValueError(
                    f"the workers at {address} stopped, found: {last}; run the same command again to go on"
                ) from error
