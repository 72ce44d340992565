"""The task predictor: wordings, features, a small training, the file, what a pipeline makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pixwizard.comfyui_pixwizard.files.components import load_task_reader
from pixwizard.comfyui_pixwizard.files.predictor_file import PREDICTOR_FILE, load_predictor, save_predictor
from pixwizard.comfyui_pixwizard.task_reader import TaskReader
from pixwizard.comfyui_pixwizard.tasks import guess_task
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import canonical
from pixwizard.comfyui_pixwizard.tasks.language.sentence_features import features
from pixwizard.comfyui_pixwizard.tasks.predictor import BUCKETS, TaskPredictor
from pixwizard.comfyui_pixwizard.tasks.task import fill
from pixwizard.training.evaluate.following import UNSEEN
from pixwizard.training.recipes.predictor_recipe import PredictorRecipe, Sentences, vectors_of
from pixwizard.training.wordings.wordings import Writer, missing, parsed, tidy, wordings

FREE = [
    (task, text) for task, text in json.loads((Path(__file__).parents[1] / "data/guess_sentences.json").read_text())
]
# What asks for no task of the registry.
NOTHINGS = [
    "What's for lunch?", "My grandmother lives in Ohio.", "The train leaves at nine.", "Can you recommend a dentist?",
    "Bananas are rich in potassium.", "How do I cook rice?", "The stock market fell again.", "Let's dance.",
    "She plays the violin beautifully.", "Explain quantum mechanics.", "He fell off his bike.", "Call me later.",
]  # fmt: skip


class Blank:
    """A task encoder that says nothing, so that the words alone decide."""

    features = 8

    def encode(self, texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), self.features)

    def parameters(self) -> object:
        return iter([torch.zeros(1)])


@pytest.fixture(scope="module")
def predictor() -> TaskPredictor:
    return PredictorRecipe(sentences=12000, epochs=3).trained(Blank())  # type: ignore[arg-type]


def share(predictor: TaskPredictor, asked: list[tuple[str, str]]) -> float:
    found = TaskReader(predictor, Blank())([text for _, text in asked])
    return sum(task == name for (task, _), name in zip(asked, found, strict=True)) / len(asked)


def unseen(seed: int) -> list[tuple[str, str]]:
    drawn = Sentences(seed)
    return [(task, fill(text, drawn.words(task))) for task, texts in UNSEEN.items() for text in texts]


def test_every_task_has_wordings_that_can_be_drawn() -> None:
    assert not missing()
    writer = Writer(0)
    for task, (rows, _) in wordings().items():
        assert len(rows) >= 14 or task == "text_to_image", task
        for _ in range(40):
            text = writer.ask(task)
            assert text and not set("<>()|") - set(">") & set(text), text
    assert Writer(3).ask("depth") == Writer(3).ask("depth")
    assert tidy("a  elephant , please") == "an elephant, please"
    for broken in ("(a|b", "a)", "a|b"):
        with pytest.raises(ValueError, match="a wording closes"):
            parsed(broken)


def test_nothing_that_judges_is_learned_from() -> None:
    judged = {canonical(text) for _, text in FREE if len(canonical(text)) > 4}
    judged |= {canonical(text) for texts in UNSEEN.values() for text in texts}
    writer, learned = Writer(1), set()
    for task in wordings():
        learned |= {canonical(writer.ask(task)) for _ in range(60)}
    assert len(judged & learned) <= 2, judged & learned


def test_features_of_a_sentence() -> None:
    known = {"remov", "dog", "th", "from", "picture"}
    one, other = (features(text, known, BUCKETS) for text in ("Remove the dog", "Remove the zebra"))
    assert len(set(one.buckets) & set(other.buckets)) >= 6
    assert sum(weight**2 for weight in one.weights) == pytest.approx(6, abs=1)
    assert features("", known, BUCKETS).buckets
    assert features("Remove the dog", known, BUCKETS, {2}).buckets != one.buckets


def test_a_small_training_finds_tasks_in_other_words(predictor: TaskPredictor) -> None:
    assert share(predictor, FREE) >= 0.85 > 0.5
    assert share(predictor, unseen(2)) >= 0.5, "sentences that share no pattern with the templates; chance is 0.02"
    found = TaskReader(predictor, Blank())(NOTHINGS)
    assert sum(name is None for name in found) >= len(NOTHINGS) - 4, found
    assert TaskReader(predictor, Blank())(["", "???"]) == [None, None] and TaskReader(predictor, Blank())([]) == []


def test_direction_is_told_apart(predictor: TaskPredictor) -> None:
    asked = [
        ("depth", "depth map of this photo"), ("depth_to_image", "photo of this depth map"),
        ("depth", "picture to depth map"), ("depth_to_image", "depth map to picture"),
        ("normal", "from this photo, the normals"), ("normal_to_image", "from these normals, a photo"),
        ("pose", "skeleton of the person"), ("pose_to_image", "a person from this skeleton"),
    ]  # fmt: skip
    assert share(predictor, asked) >= 7 / 8


def test_without_a_picture_tasks_that_need_none_come_first(predictor: TaskPredictor) -> None:
    read = TaskReader(predictor, Blank())
    assert read(["Draw a red ball."], has_image=False) == ["text_to_image"]
    assert read(["Remove the noise from this picture."], has_image=False) == ["denoise"]


def test_the_file_keeps_it(predictor: TaskPredictor, tmp_path: Path) -> None:
    save_predictor(predictor, tmp_path / "p.safetensors", provenance={"recipe": "test"})
    again = load_predictor(tmp_path / "p.safetensors")
    texts = [text for _, text in FREE[:40]]
    vectors = vectors_of(Blank(), texts)  # type: ignore[arg-type]
    torch.testing.assert_close(
        again.probabilities(texts, vectors), predictor.probabilities(texts, vectors), atol=5e-3, rtol=0
    )
    assert (tmp_path / "p.safetensors").stat().st_size < 3_000_000
    with pytest.raises(ValueError, match="task vectors must be"):
        again.probabilities(texts, torch.zeros(len(texts), 9))
    with pytest.raises(ValueError, match="must read task vectors of width 9 for this model, found 8"):
        TaskReader(again, type("Other", (), {"features": 9})())
    other = TaskPredictor(["denoise", "no_such_task"], ["x"], 8, 64, 4, 4)
    save_predictor(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="should know tasks of this version, found 'no_such_task'"):
        load_predictor(tmp_path / "other.safetensors")


def test_mistakes_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--sentences is at least 94 and --epochs 1, found 3 and 4"):
        PredictorRecipe(sentences=3).trained(Blank())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a model is 'nano' or a folder"):
        PredictorRecipe(model=str(tmp_path)).run()


def test_without_a_predictor_tasks_are_guessed() -> None:
    assert TaskReader()(["Remove the noise", "hello world"]) == [guess_task("Remove the noise"), None]


def test_a_models_folder_has_its_predictor(
    fresh_tiny: Callable[[], object], predictor: TaskPredictor, tmp_path: Path
) -> None:
    from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline

    plain = fresh_tiny()
    assert isinstance(plain, PixWizardPipeline)
    own = TaskPredictor(predictor.names, predictor.words, plain.task_encoder.features)
    plain.task_predictor = own.eval()
    plain.save_pretrained(tmp_path)
    loaded = PixWizardPipeline.from_pretrained(tmp_path)
    asked = ["Remove the noise", "Estimate the depth"]
    assert (tmp_path / PREDICTOR_FILE).is_file() and loaded.task_predictor is not None
    assert loaded.predict_task(asked) == load_task_reader(tmp_path)(asked)
    assert load_task_reader("nano").predictor is None or load_task_reader("nano")(asked) == ["denoise", "depth"]
