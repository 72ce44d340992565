"""The loader: pairs cut together, every task, resumed bit for bit, broken shards, buckets, the cache."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.pictures.buckets import bucket_sizes
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.annotators import ANNOTATORS
from pixwizard.training.data.feed.bucketing import assign
from pixwizard.training.data.feed.cache import FeatureCache, config_hash
from pixwizard.training.data.feed.collection import Collection
from pixwizard.training.data.feed.crops import Cut, unit
from pixwizard.training.data.feed.loader import BrokenData, Loader
from pixwizard.training.data.feed.plan import Plan
from pixwizard.training.degradations import DEGRADATIONS

pytest.importorskip("pyarrow")
from pixwizard.training.data.build.build import build
from pixwizard.training.data.build.recipe import read_recipe

CENTERS = (64,)
CLEAN = (*DEGRADATIONS, *ANNOTATORS, *(f"{name}_to_image" for name in ANNOTATORS), "text_to_image")


def coordinates(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture whose colours tell where a pixel is: red grows to the right, green downwards, blue is the seed."""
    x, y = np.meshgrid(np.linspace(20, 235, width), np.linspace(20, 235, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 40 + seed % 160)], -1).round().astype(np.uint8))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean pictures with captions, and pairs whose source is the target with blue added, at half the size."""
    folder = tmp_path_factory.mktemp("built")
    sizes, items = [(120, 80), (80, 120), (100, 100), (150, 70)], []
    for number in range(24):
        name = f"{number:02}"
        target = coordinates(*sizes[number % 4], number)
        for place in ("clean", "pairs"):
            (folder / place).mkdir(exist_ok=True)
            target.save(folder / place / f"{name}.png")
        (folder / "clean" / f"{name}.txt").write_text(f"a gradient number {number}")
        source = np.array(target.resize((target.width // 2, target.height // 2), Image.Resampling.BOX))
        source[..., 2] += 50
        Image.fromarray(source).save(folder / "pairs" / f"{name}-in.png")
        prompts: Any = [f"Make {number} less blue.", f"Take blue from {number}."] if number % 2 else "Less blue."
        items.append({"input_path": f"{name}-in.png", "target_path": f"{name}.png", "prompt": prompts})
    (folder / "pairs" / "pairs.json").write_text(json.dumps(items))
    told = {
        "output": "out",
        "smallest": 32,
        "shard": 10,
        "inputs": [
            {"kind": "folder", "path": "clean"},
            {"kind": "annotations", "path": "pairs/pairs.json", "task": "edit_recolor"},
        ],
    }
    (folder / "recipe.json").write_text(json.dumps(told))
    build(read_recipe(folder / "recipe.json"))
    return folder / "out"


def loader(built: Path, *tasks: str, crop: Any = "random", seed: int = 0, **more: Any) -> Loader:
    collection = Collection(built)
    items = [collection.items(task, CENTERS, crop=crop) for task in tasks]
    return Loader(Plan([item.source for item in items], seed, group=8), items, **({"batch_size": 4} | more))


def taken(given: Loader, count: int) -> list[dict[str, Any]]:
    return [next(given) for _ in range(count)]


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )


# -- pairs ---------------------------------------------------------------------------------------------------------


def test_source_and_target_are_cut_by_one_box(built: Path) -> None:
    """Red and green are the place of a pixel: they must agree to the rounding of two resolutions, about 1/4 pixel."""
    spread = set()
    for batch in taken(loader(built, "edit_recolor"), 30):
        assert batch["image"].shape == batch["target"].shape and batch["image"].shape[1] == 3
        difference = (batch["image"] - batch["target"])[:, :2, 4:-4, 4:-4]
        assert difference.abs().max() < 0.02
        assert (batch["image"] - batch["target"])[:, 2].mean() == pytest.approx(50 / 255, abs=0.01)
        spread |= {round(float(value), 3) for value in batch["target"][:, 0, 0, 0]}
    assert len(spread) > 8, "boxes are not drawn at random"


def test_a_box_shifted_by_one_pixel_would_be_seen(built: Path) -> None:
    """The test above can fail: one pixel of 64 moves the colours by 0.013, a few by more than it allows."""
    picture = coordinates(120, 80)
    generator = torch.Generator().manual_seed(0)
    first = Cut.of((120, 80), (64, 64), "random", generator)
    second = Cut.of((120, 80), (64, 64), "random", generator)
    assert (unit(first(picture)) - unit(second(picture)))[0].abs().max() > 0.02


@pytest.mark.parametrize("shape", [(120, 80), (80, 121), (64, 64), (300, 100)])
def test_a_cut_keeps_the_aspect_and_stays_inside(shape: tuple[int, int]) -> None:
    for seed in range(20):
        cut = Cut.of(shape, (96, 48), "random", torch.Generator().manual_seed(seed))
        assert 0 <= cut.left < cut.right <= 1 + 1e-9 and 0 <= cut.top < cut.bottom <= 1 + 1e-9
        aspect = (cut.right - cut.left) * shape[0] / ((cut.bottom - cut.top) * shape[1])
        assert aspect == pytest.approx(2.0)
        assert max(cut.right - cut.left, cut.bottom - cut.top) == pytest.approx(1.0)


def test_lists_of_prompts_are_all_trained_on(built: Path) -> None:
    """The released code adds a string to the list, and takes another item instead."""
    seen = {sentence for batch in taken(loader(built, "edit_recolor"), 60) for sentence in batch["instruction"]}
    assert "Less blue." in seen
    assert all(f"Make {n} less blue." in seen and f"Take blue from {n}." in seen for n in range(1, 24, 2))


@pytest.mark.parametrize("task", CLEAN)
def test_every_task_of_clean_pictures_is_made(built: Path, task: str) -> None:
    batch = next(loader(built, task, batch_size=2))
    assert batch["image"].shape == batch["target"].shape
    for name in ("image", "target"):
        assert batch[name].dtype == torch.float32 and batch[name].min() >= 0 and batch[name].max() <= 1
    assert batch["task"] == [task] * len(batch["item"]) and all(batch["instruction"])
    assert batch["t2i"].tolist() == [task == "text_to_image"] * len(batch["item"])
    if TASKS[task].words:
        assert all("gradient number" in sentence for sentence in batch["instruction"])
    if task != "text_to_image":
        assert not torch.equal(batch["image"], batch["target"])


def test_blank_canvases_are_black_and_white(built: Path) -> None:
    batches = taken(loader(built, "text_to_image"), 10)
    shades = {float(value) for batch in batches for value in batch["image"].amax((1, 2, 3))}
    assert shades == {0.0, 1.0}
    assert all(torch.equal(b["image"].amax((1, 2, 3)), b["image"].amin((1, 2, 3))) for b in batches)


def test_a_task_without_samples_is_refused(built: Path) -> None:
    with pytest.raises(ValueError, match="nothing for task depth, which needs clean pictures with a stored depth map"):
        Collection(built).items("depth", CENTERS)


def test_degradations_differ_from_pass_to_pass(built: Path) -> None:
    found: dict[int, list[torch.Tensor]] = {}
    for batch in taken(loader(built, "denoise", crop="center"), 14):
        for item, image in zip(batch["item"].tolist(), batch["image"], strict=True):
            found.setdefault(item, []).append(image)
    twice = [images for images in found.values() if len(images) > 1]
    assert twice and not any(torch.equal(images[0], images[1]) for images in twice)


# -- resuming ------------------------------------------------------------------------------------------------------


def test_a_resumed_loader_gives_the_same_batches_bit_for_bit(built: Path) -> None:
    tasks = ("denoise", "edit_recolor", "text_to_image", "sketch")
    whole = loader(built, *tasks)
    taken(whole, 5)
    state = json.loads(json.dumps(whole.state_dict()))
    wanted = taken(whole, 6)
    again = loader(built, *tasks)
    again.load_state_dict(state)
    assert all(same(a, b) for a, b in zip(wanted, taken(again, 6), strict=True))


def test_workers_give_the_same_and_their_reading_ahead_is_not_in_the_state(built: Path) -> None:
    tasks = ("denoise", "edit_recolor")
    here, ahead = loader(built, *tasks), loader(built, *tasks, workers=2)
    for _ in range(7):
        assert same(next(here), next(ahead))
    assert here.state_dict() == ahead.state_dict()
    again = loader(built, *tasks, workers=1)
    again.load_state_dict(ahead.state_dict())
    assert same(next(here), next(again))


def test_other_ranks_go_on_with_what_is_left(built: Path) -> None:
    """Samples are the same whoever makes them."""
    alone = {}
    for batch in taken(loader(built, "denoise", "edit_recolor", batch_size=2), 48):
        for number, key in enumerate(zip(batch["item"].tolist(), batch["turn"].tolist(), strict=True)):
            alone[key] = (batch["image"][number], batch["instruction"][number], int(batch["seed"][number]))
    first = [loader(built, "denoise", "edit_recolor", rank=rank, world=3) for rank in range(3)]
    batches = [next(one) for _ in range(2) for one in first]
    state = first[1].state_dict()
    assert all(one.state_dict() == state for one in first)
    second = [loader(built, "denoise", "edit_recolor", rank=rank, world=2) for rank in range(2)]
    for one in second:
        one.load_state_dict(state)
    batches += [next(one) for _ in range(3) for one in second]
    seen = [key for b in batches for key in zip(b["item"].tolist(), b["turn"].tolist(), strict=True)]
    assert len(seen) == len(set(seen)) and set(seen) <= set(alone)
    for batch in batches:
        for number, key in enumerate(zip(batch["item"].tolist(), batch["turn"].tolist(), strict=True)):
            image, sentence, seed = alone[key]
            assert torch.equal(batch["image"][number], image)
            assert batch["instruction"][number] == sentence and int(batch["seed"][number]) == seed


# -- broken --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_stops_in_one_line_and_nothing_takes_its_place(
    built: Path, tmp_path: Path, workers: int
) -> None:
    copied = tmp_path / "out"
    (copied / "shards").mkdir(parents=True)
    for path in built.rglob("*.*"):
        os.link(path, copied / path.relative_to(built)) if path.parent.name != "orders" else None
    shards = list((copied / "shards").glob("*.tar"))
    for path in shards:
        data = bytearray(path.read_bytes())
        data[700] ^= 1  # in the first picture, behind a header of 512 bytes
        path.unlink()
        path.write_bytes(data)
    with pytest.raises(BrokenData, match=r"shard .*\.tar is not as it was built: restore it") as caught:
        taken(loader(copied, "denoise", workers=workers, batch_size=1), 60)
    assert "\n" not in str(caught.value) and "sample" in str(caught.value)
    for path in shards:
        path.unlink()
    with pytest.raises(BrokenData, match="cannot be read"):
        taken(loader(copied, "denoise", workers=workers), 10)


def test_no_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished build"):
        Collection(tmp_path)


# -- buckets -------------------------------------------------------------------------------------------------------


def random_sizes(count: int, seed: int = 0) -> np.ndarray:
    """Any shorter side from 400 to 1600 and any aspect from 1:2 to 2:1."""
    generator = np.random.default_rng(seed)
    side, aspect = generator.uniform(400, 1600, count), np.exp(generator.uniform(-np.log(2), np.log(2), count))
    shape = np.where(aspect[:, None] > 1, np.stack([side * aspect, side], 1), np.stack([side, side / aspect], 1))
    return shape.round().astype(int)


def cut_off(shape: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Share [n] of each picture that lies outside the crop when it covers its bucket: 0 when the aspects are equal."""
    ratio = (shape[:, 0] / shape[:, 1]) / (size[:, 0] / size[:, 1])
    return 1 - np.minimum(ratio, 1 / ratio)


def padding(shape: np.ndarray, batch: int, center: int) -> float:
    """Share of tokens that are padding when pictures are made as large as a centre's square without cropping.

    Batches are taken in the order of `shape` and padded to their longest picture, as the released training does.
    """
    scale = np.sqrt(center**2 / (shape[:, 0] * shape[:, 1]))
    cells = np.maximum(np.round(shape * scale[:, None] / 16), 1).astype(np.int64).prod(1)
    whole = cells[: len(cells) // batch * batch].reshape(-1, batch)
    return float(1 - whole.sum() / (whole.max(1) * batch).sum())


def test_less_than_three_percent_of_the_pixels_is_lost_with_buckets() -> None:
    """No batch is padded, and what is cut off is little; one size for all, or padding, loses many times as much."""
    shape = random_sizes(5000)
    size = assign(shape, (512, 768, 1024))
    lost = cut_off(shape, size).mean()
    assert lost < 0.03
    assert padding(shape, 8, 768) < 0.5
    squares = cut_off(shape, np.full_like(shape, 768)).mean()
    assert squares > 0.2
    bsds = np.array([(481, 321), (321, 481)])
    assert cut_off(bsds, assign(bsds, (512,))).max() < 0.03


def test_pictures_go_to_the_largest_centre_that_they_fill() -> None:
    shape = np.array([(300, 300), (512, 512), (767, 767), (800, 800), (2000, 1000), (4000, 1000)])
    size = assign(shape, (1024, 512, 768))
    area = np.sqrt(size.prod(1))
    assert np.allclose(area, [512, 512, 512, 768, 1024, 1024], rtol=0.06)
    for (width, height), chosen in zip(shape, size, strict=True):
        ratios = [cut_off(np.array([(width, height)]), np.array([other]))[0] for other in bucket_sizes(1024)]
        if area.max() == 1024:
            assert cut_off(np.array([(width, height)]), chosen[None])[0] <= min(ratios) + 0.02


# -- cache ---------------------------------------------------------------------------------------------------------


def test_latents_are_encoded_once_and_found_in_the_second_epoch(built: Path, tmp_path: Path) -> None:
    """A counting stand-in for the autoencoder: means of 8 x 8 pixels."""
    calls = 0

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += len(pictures)
        return torch.nn.functional.avg_pool2d(pictures, 8)

    def epoch(cache: FeatureCache, given: Loader) -> list[torch.Tensor]:
        found = []
        for batch in taken(given, 8):
            for side, name in enumerate(("image", "target")):
                keys = [pair[side] for pair in batch["key"]]
                found += cache.get(keys, lambda at, pictures=batch[name]: encode(pictures[at]))
            words = [f"sentence {sentence}" for sentence in batch["instruction"]]
            cache.get(words, lambda at: [torch.zeros(3) for _ in at])
        cache.flush()
        return found

    config = config_hash(autoencoder="a", dtype="float32")
    given = loader(built, "edit_recolor", crop="center")
    first = epoch(FeatureCache(tmp_path, config, entries=7), given)
    assert calls > 40
    calls, cache = 0, FeatureCache(tmp_path, config, entries=7)
    again = epoch(cache, loader(built, "edit_recolor", crop="center"))
    assert calls == 0 and cache.misses == 0 and cache.hits > 40
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = FeatureCache(tmp_path, config_hash(autoencoder="b", dtype="float32"))
    assert len(other) == 0


def test_what_changes_from_draw_to_draw_is_never_kept(built: Path) -> None:
    for task, crop, kept in (
        ("denoise", "random", [(False, False)]),
        ("denoise", "center", [(False, True)]),
        ("edit_recolor", "center", [(True, True)]),
        ("canny", "center", [(True, False)]),
    ):
        batch = next(loader(built, task, crop=crop))
        assert {(bool(image), bool(target)) for image, target in batch["key"]} == set(kept), task


def test_a_damaged_cache_says_so(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "c")
    cache.get(["k"], lambda at: [torch.ones(2)])
    cache.flush()
    next((tmp_path / "c").glob("*.safetensors")).write_bytes(b"broken")
    with pytest.raises(ValueError, match="damaged: remove it"):
        FeatureCache(tmp_path, "c")


def test_maps_are_cut_with_their_picture(tmp_path: Path) -> None:
    """Stored maps, here from a stand-in for annotators, follow the picture and decode to what they were."""
    from pixwizard.training.data.feed.pairs_from_stored import Record, make

    picture, width, height = coordinates(120, 80), 120, 80
    depth = np.linspace(0, 65535, width).round().astype(np.uint16)[None].repeat(height, 0)
    classes = (np.arange(width) // 40 + 1).astype(np.uint8)[None].repeat(height, 0)
    stored = {"target": picture, "depth": Image.fromarray(depth), "segmentation": Image.fromarray(classes)}
    data = {}
    for role, image in stored.items():
        out = io.BytesIO()
        image.save(out, "PNG")
        data[role] = out.getvalue()

    class Parts:
        def part(self, row: dict[str, Any], role: str) -> bytes | None:
            return data.get(role)

    facts = {"depth": {"kind": "metric", "low": 1.0, "high": 5.0}}
    row = dict(width=width, height=height, instructions=[], captions=["a ramp"], hash="0" * 64, shard="s")
    row |= {"parts": [{"name": f"{role}.png"} for role in data], "facts": json.dumps(facts)}
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        sample = make(Record(Parts(), row), "depth", (64, 64), "random", generator)
        red = (sample.image[0] * 255 - 20) / 215  # where each pixel was, 0 to 1
        metres = TASKS["depth"].decode(sample.target)
        assert (metres - (1 + 4 * red)).abs()[2:-2, 2:-2].max() < 0.08
        sample = make(Record(Parts(), row), "segmentation_to_image", (64, 64), "random", generator)
        red = (sample.target[0] * 255 - 20) / 215 * (width - 1)
        found = TASKS["segmentation"].decode(sample.image)
        inside = (red % 40 - 20).abs() < 17
        assert torch.equal(found[inside], (red // 40 + 1).long()[inside])
    row["facts"] = json.dumps({"depth": {"kind": "inverse"}})
    near = make(Record(Parts(), row), "depth", (64, 64), "center", torch.Generator()).target
    assert near[:, 32, 63].mean() < near[:, 32, 0].mean(), "inverse depth: what is near is dark"
