"""The pool of scenes: several edits each, all tasks equally frequent, true pairs, kept latents."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.rendered import scene_pool
from pixwizard.training.data.rendered.scene_pool import DENSE, EDITS, ScenePool

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def pool(folder) -> ScenePool:
    return ScenePool(folder, 14, SIDE)


def test_every_edit_is_as_frequent_as_any_other(pool):
    counts = {task: len(records) for task, records in pool.by_edit.items()}
    assert set(counts) == set(EDITS) and max(counts.values()) - min(counts.values()) <= 1
    assert sum(counts.values()) - counts["edit_add"] == len(pool.edited) == 28
    rows = [record.row for task, records in pool.by_edit.items() if task != "edit_add" for record in records]
    assert sorted(rows) == list(range(28))
    scenes = [record.scene for task, records in pool.by_edit.items() if task != "edit_add" for record in records]
    assert all(scenes.count(i) == 2 for i in range(14))


def test_records_hold_the_words_of_their_tasks(pool):
    for task, records in pool.by_edit.items():
        for record in records:
            sentence = TASKS[task].instruction(torch.Generator().manual_seed(0), **record.words)
            assert all(word.lower() in sentence.lower() for word in record.words.values())


def test_pairs_differ_by_the_edit(pool):
    for task, records in pool.by_edit.items():
        source, result = pool.edit_pairs(records)
        assert source.shape == result.shape == (len(records), 3, SIDE, SIDE)
        assert source.min() >= 0 and source.max() <= 1
        change = ((source - result).abs().amax(1) > 0.03).float().mean((1, 2))
        assert (change > 0.003).all()
        if task not in ("edit_global", "edit_background"):
            assert change.median() < 0.35
        given = pool.picture(torch.tensor([record.scene for record in records]))
        assert torch.equal(result if task == "edit_add" else source, given)


def test_an_addition_is_a_removal_turned_round(pool):
    removed, added = pool.by_edit["edit_remove"], pool.by_edit["edit_add"]
    assert [(r.scene, r.row) for r in removed] == [(r.scene, r.row) for r in added]
    assert all(r.swapped for r in added) and not any(r.swapped for r in removed)
    for one, other in zip(pool.edit_pairs(removed), reversed(pool.edit_pairs(added)), strict=True):
        assert torch.equal(one, other)


def test_latents_of_edits_follow_their_pictures_and_are_made_once(pool):
    asked = []

    def encode(pictures):
        assert pictures.min() >= 0 and pictures.max() <= 1
        asked.append(len(pictures))
        return torch.nn.functional.pixel_unshuffle(pictures, 8)

    chosen = pool.by_edit["edit_add"][:1] + pool.by_edit["edit_replace"][:2] + pool.by_edit["edit_add"][:1]
    for name, rows, pictures in (
        ("image", torch.tensor([r.scene for r in chosen]), pool.image),
        ("edited", torch.tensor([r.row for r in chosen]), pool.edited),
    ):
        asked.clear()
        latents = pool.latents(name, rows, encode)
        assert sum(asked) == len(set(rows.tolist()))
        shown = torch.nn.functional.pixel_shuffle(latents, 8)
        assert torch.allclose(shown, pictures[rows].float() / 255, atol=1e-3)
        asked.clear()
        assert torch.equal(pool.latents(name, rows, encode), latents) and not asked
    for task in DENSE:
        found = pool.latents(task, torch.tensor([13, 2, 13]), encode)
        assert torch.allclose(found, encode(pool.coded[task][[13, 2, 13]].float() / 255), atol=1e-3)


def test_a_pool_is_read_again_and_its_name_tells_what_is_in_it(folder, pool, monkeypatch):
    monkeypatch.setattr(scene_pool, "_build", lambda *_: pytest.fail("rendered again"))
    again = ScenePool(folder, 14, SIDE)
    assert again.by_edit == pool.by_edit and torch.equal(again.edited, pool.edited)
    assert [path.name for path in folder.iterdir()] == ["scenes-v4-train-0-14-64-2-2.safetensors"]


def test_a_pool_is_a_function_of_its_seed(pool, tmp_path):
    same = ScenePool(tmp_path, 14, SIDE)
    assert same.by_edit == pool.by_edit and torch.equal(same.edited, pool.edited)
    other = ScenePool(tmp_path, 7, SIDE, seed=3, edits_per_scene=3)
    assert len(other.edited) == 21 and other.captions[:7] != pool.captions[:7]


def test_a_pool_refuses_more_edits_than_there_are_kinds(tmp_path):
    with pytest.raises(ValueError, match=r"edits_per_scene must be 1 to 7 .*, found 8"):
        ScenePool(tmp_path, 2, SIDE, edits_per_scene=8)


def test_a_pool_in_parts_holds_what_its_parts_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_pool, "PART", 5)
    whole = ScenePool(tmp_path, 12, SIDE)  # rendered by as many processes as there are cores
    assert len(whole) == len(whole.captions) == len(whole.referrals) == 12 and len(whole.edited) == 24
    assert sorted(p.name.split("-")[3:5] for p in tmp_path.iterdir()) == [["0", "5"], ["10", "2"], ["5", "5"]]
    begun = ScenePool(tmp_path, 10, SIDE)  # a beginning of the same parts
    assert torch.equal(begun.image, whole.image[:10]) and begun.referrals == whole.referrals[:10]
    for task, records in whole.by_edit.items():
        source, result = whole.edit_pairs(records)
        given = whole.picture(torch.tensor([record.scene for record in records]))
        assert torch.equal(result if task == "edit_add" else source, given)
        assert {record.scene for record in records} <= set(range(12))
    # Numbers of scenes and edits go on from part to part: a solid that changed is where the picture changed.
    records = [r for r in whole.by_edit["edit_recolor"] if r.scene >= 5]
    source, result = whole.edit_pairs(records)
    for record, before, after in zip(records, source, result, strict=True):
        changed = (before - after).abs().amax(0) > 0.1
        named = whole.instance[record.scene] == record.instance
        assert (changed & named).sum() > 0.5 * changed.sum()
