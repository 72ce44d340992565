"""The test-only instructions: complete, plain, and far from everything that training draws."""

import re

import pytest
import torch

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import canonical, paraphrase
from pixwizard.training.evaluate import paraphrases
from pixwizard.training.evaluate.paraphrases import LONGEST, UNSEEN, check_unseen, overlap, unseen_instruction

SENTENCES = [(task, sentence) for task, sentences in UNSEEN.items() for sentence in sentences]


def test_every_task_has_unseen_sentences_with_its_words() -> None:
    assert set(UNSEEN) == set(TASKS)
    for task, sentences in UNSEEN.items():
        assert len(set(sentences)) >= 4
        for sentence in sentences:
            assert tuple(sorted(set(re.findall(r"{(\w+)}", sentence)))) == TASKS[task].words, sentence
    assert len({sentence for _, sentence in SENTENCES}) == len(SENTENCES), "no two tasks share a sentence"


def test_unseen_sentences_share_no_pattern_with_the_templates() -> None:
    check_unseen()
    found = {(task, sentence): overlap(task, sentence) for task, sentence in SENTENCES}
    assert all(max(each.run, each.content) <= LONGEST for each in found.values())
    assert min(each.known for each in found.values()) >= 0.6, "plain words"
    assert sum(each.known for each in found.values()) / len(found) >= 0.9


def test_no_template_is_nearly_an_unseen_sentence() -> None:
    for task, sentence in SENTENCES:
        unseen = set(canonical(sentence))
        for template in (*TASKS[task].instructions, *TASKS[task].held_out):
            words = set(canonical(template))
            assert len(words & unseen) / len(words | unseen) < 0.65, (task, template, sentence)


@pytest.mark.parametrize("task", ["denoise", "edit_recolor", "depth_to_image", "keypoint"])
def test_overlap_sees_through_the_grammar(task: str) -> None:
    """Synonyms and politeness do not hide a template; typos and joins aside, every paraphrase is recognised."""
    generator = torch.Generator().manual_seed(3)
    seen = 0
    for index in range(60):
        template = TASKS[task].instructions[index % len(TASKS[task].instructions)]
        found = overlap(task, paraphrase(template, generator))
        seen += found.same or found.opening or max(found.run, found.content) > LONGEST
    assert seen >= 57


def test_a_leaking_sentence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UNSEEN, "denoise", ("Could you get rid of the noise from this photo, please?",))
    with pytest.raises(ValueError, match=r"at most 3 words in a row .* found denoise: .*word it differently"):
        check_unseen()
    assert paraphrases.overlap("denoise", "Erase the noise from this image").same


def test_unseen_instructions_are_filled() -> None:
    filled = unseen_instruction("edit_replace", 4, caption="The red ball.", **{"class": "a blue cone"})
    assert filled == "I want a blue cone and not the red ball."
    assert unseen_instruction("keypoint", 1, caption="the nose", color="orange") == "Let the nose wear an orange disc."
    with pytest.raises(ValueError, match="task edit_remove takes the words caption, found none: pass just these"):
        unseen_instruction("edit_remove", 0)
    with pytest.raises(ValueError, match="the tasks are"):
        unseen_instruction("nothing", 0)
