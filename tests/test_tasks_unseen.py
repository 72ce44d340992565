"""The test-only instructions: complete, plain, and far from everything that training draws."""

import re
from functools import cache
from typing import NamedTuple

import pytest
import torch

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.language.grammar import SYNONYMS
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import canonical, paraphrase
from pixwizard.comfyui_pixwizard.tasks.task import fill
from pixwizard.training.evaluate.following import UNSEEN
from pixwizard.training.wordings.wordings import Writer

# Words without much meaning: two sentences may have them in common.
FUNCTION_TEXT = (
    "a the this that these it its is are be was were has have had do does of to in on at by for from with and but or "
    "so as if i me my you we not no there here what which where how all"
)
FUNCTION_WORDS = frozenset(FUNCTION_TEXT.split())
LONGEST = 3


class Overlap(NamedTuple):
    """What an unseen sentence shares with the templates."""

    same: bool  # it is a template of any task but for synonyms and politeness
    opening: bool  # its first two words open a template of its task
    run: int  # most words in a row that a template of its task has too
    content: int  # the same without function words
    known: float  # share of its words that the templates of all tasks and the grammar use


def overlap(task: str, sentence: str) -> Overlap:
    """How near a sentence, its placeholders not filled in, comes to the templates that training draws from."""
    words, own = canonical(sentence), _spelled(task)
    known = _known_words()
    plain = [word for word in words if word[0] != "{"]
    return Overlap(
        same=any(words in _spelled(other) for other in TASKS),
        opening=any(words[:2] == text[:2] for text in own),
        run=max(_common_run(words, text) for text in own),
        content=max(_common_run(_content(words), _content(text)) for text in own),
        known=sum(word in known for word in plain) / max(len(plain), 1),
    )


def gives_away(found: Overlap) -> bool:
    return found.same or found.opening or max(found.run, found.content) > LONGEST


@cache
def _spelled(task: str) -> frozenset[tuple[str, ...]]:
    """A task's templates as words: as they stand, with the reason first, and without the reason."""
    texts = []
    for template in TASKS[task].instructions:
        clause, _, reason = template.partition("; ")
        texts += [clause, f"{clause} {reason}", f"{reason} {clause}"] if reason else [clause]
    return frozenset(map(canonical, texts))


@cache
def _known_words() -> frozenset[str]:
    """Words that the templates and the grammar use."""
    used = {word for task in TASKS for words in _spelled(task) for word in words}
    return frozenset(used | {word for group in SYNONYMS.values() for word in group})


def _content(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in FUNCTION_WORDS)


def _common_run(words: tuple[str, ...], others: tuple[str, ...]) -> int:
    """Length of the longest run of words that both have."""
    best, row = 0, [0] * (len(others) + 1)
    for word in words:
        row = [0, *(row[j] + 1 if word == other else 0 for j, other in enumerate(others))]
        best = max(best, *row)
    return best


SENTENCES = [(task, sentence) for task, sentences in UNSEEN.items() for sentence in sentences]


def test_every_task_has_unseen_sentences_with_its_words() -> None:
    assert set(UNSEEN) == set(TASKS)
    for task, sentences in UNSEEN.items():
        assert len(set(sentences)) >= 4
        for sentence in sentences:
            assert tuple(sorted(set(re.findall(r"{(\w+)}", sentence)))) == TASKS[task].words, sentence
    assert len({sentence for _, sentence in SENTENCES}) == len(SENTENCES), "no two tasks share a sentence"


def test_unseen_sentences_share_no_pattern_with_the_templates() -> None:
    found = {(task, sentence): overlap(task, sentence) for task, sentence in SENTENCES}
    assert not [(*key, each) for key, each in found.items() if gives_away(each)]
    assert min(each.known for each in found.values()) >= 0.6, "plain words"
    assert sum(each.known for each in found.values()) / len(found) >= 0.9


def test_no_template_is_nearly_an_unseen_sentence() -> None:
    for task, sentence in SENTENCES:
        unseen = set(canonical(sentence))
        for template in (*TASKS[task].instructions, *TASKS[task].held_out):
            words = set(canonical(template))
            assert len(words & unseen) / len(words | unseen) < 0.65, (task, template, sentence)


def test_no_wording_of_its_own_is_nearly_an_unseen_sentence() -> None:
    """Those that the network learns from; what the predictor alone learns from comes nearer."""
    writer, near = Writer(0), []
    for task, sentence in SENTENCES:
        if not TASKS[task].words and not any("caption" in form for form in TASKS[task].forms):
            words = canonical(sentence)
            for other in {canonical(writer.ask(task, shared=False)) for _ in range(300)}:
                alike = len(set(words) & set(other)) / len(set(words) | set(other))
                if alike >= 0.65 or max(_common_run(words, other), _common_run(_content(words), _content(other))) > 4:
                    near.append((task, sentence, other))
    assert not near


@pytest.mark.parametrize("task", ["denoise", "edit_recolor", "depth_to_image", "keypoint"])
def test_overlap_sees_through_the_grammar(task: str) -> None:
    """Synonyms and politeness do not hide a template; typos and joins aside, every paraphrase is recognised."""
    generator = torch.Generator().manual_seed(3)
    seen = 0
    for index in range(60):
        template = TASKS[task].instructions[index % len(TASKS[task].instructions)]
        found = overlap(task, paraphrase(template, generator))
        seen += gives_away(found)
    assert seen >= 57


def test_a_leaking_sentence_shows() -> None:
    assert gives_away(overlap("denoise", "Could you get rid of the noise from this photo, please?"))
    assert overlap("denoise", "Erase the noise from this image").same


def test_unseen_sentences_can_be_filled() -> None:
    filled = fill(UNSEEN["edit_replace"][0], {"caption": "The red ball.", "class": "a blue cone"})
    assert filled == "I want a blue cone and not the red ball."
    worn = fill(UNSEEN["keypoint"][1], {"caption": "the nose", "color": "orange"})
    assert worn == "Let the nose wear an orange disc."
