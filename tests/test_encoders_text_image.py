"""Gemma and CLIP encoders against plain transformers calls, the goldens and their rules."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pixwizard.comfyui_pixwizard.encoders import clip
from pixwizard.comfyui_pixwizard.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from pixwizard.comfyui_pixwizard.encoders.folder import wrap_tokenizer
from pixwizard.comfyui_pixwizard.encoders.gemma import GemmaTextEncoder
from pixwizard.comfyui_pixwizard.encoders.transformers_models import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    GemmaConfig,
    GemmaModel,
    PreTrainedTokenizerFast,
)

TEXTS = ["", "remove the noise", "a red sphere on a green field, " * 3, "word " * 400]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["remove the noise from the photo", "a red sphere on a green field"] * 3, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def gemma(bpe: Tokenizer) -> GemmaTextEncoder:
    torch.manual_seed(0)
    config = GemmaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
    )
    return GemmaTextEncoder(GemmaModel(config).eval(), wrap_tokenizer(bpe, append_eos=False))


@pytest.fixture(scope="module")
def clip_text(bpe: Tokenizer) -> ClipTextEncoder:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        projection_dim=24,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=1,
        eos_token_id=7,  # wrong on purpose, as OpenAI's is: the tokenizer's counts
        pad_token_id=0,
    )
    return ClipTextEncoder(CLIPTextModelWithProjection(config).eval(), wrap_tokenizer(bpe, append_eos=True))


@pytest.fixture(scope="module")
def clip_vision() -> ClipVisionEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=42,
        patch_size=14,
    )
    return ClipVisionEncoder(CLIPVisionModel(config).eval())


def test_gemma_features_are_the_released_hidden_state(gemma: GemmaTextEncoder) -> None:
    features, mask = gemma.encode(TEXTS)
    ids, _ = gemma.tokenize(TEXTS)
    everything = gemma.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    assert len(everything) == 4
    assert torch.equal(features, everything[-2])


def test_gemma_skips_its_last_block(gemma: GemmaTextEncoder) -> None:
    encoder = copy.deepcopy(gemma)
    before = encoder.encode(TEXTS)[0]
    for parameter in [*encoder.model.layers[-1].parameters(), *encoder.model.norm.parameters()]:
        parameter.data.fill_(float("nan"))
    assert torch.equal(encoder.encode(TEXTS)[0], before)
    encoder.model.layers[0].mlp.up_proj.weight.data.mul_(2)  # a deep copy's weights are the ones that run
    assert not torch.equal(encoder.encode(TEXTS)[0], before)


def test_gemma_padding_truncation_and_bos(gemma: GemmaTextEncoder) -> None:
    ids, mask = gemma.tokenize(TEXTS)
    assert ids.shape == mask.shape == (4, 256)
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1)[0] == 1 and mask.sum(dim=1)[3] == 256
    assert (ids[:, 0] == gemma.tokenizer.bos_token_id).all()
    assert not (ids == gemma.tokenizer.eos_token_id).any()
    assert bool((mask.int().diff(dim=1) <= 0).all()), "padding is on the right"
    assert gemma.tokenize([""])[0].shape == (1, 8)
    assert gemma.tokenize(["remove the noise"])[0].shape[1] % 8 == 0


def test_gemma_features_do_not_depend_on_the_batch(gemma: GemmaTextEncoder) -> None:
    features, mask = gemma.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        alone, own = gemma.encode([text])
        torch.testing.assert_close(alone[0][own[0]], features[row][mask[row]], atol=2e-5, rtol=0)


def test_tokenizers_without_their_special_tokens_are_refused(
    bpe: Tokenizer, gemma: GemmaTextEncoder, clip_text
) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    with pytest.raises(ValueError, match=r"makes \[BOS\] of the empty text, found \[\]"):
        GemmaTextEncoder(gemma.model, bare)
    with pytest.raises(ValueError, match=r"makes \[BOS, EOS\]"):
        ClipTextEncoder(clip_text.model, gemma.tokenizer)
    with pytest.raises(ValueError, match="found an empty list"):
        gemma.encode([])


def test_clip_text_is_the_projected_first_eos(clip_text: ClipTextEncoder) -> None:
    padded = clip_text.tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt", padding_side="right"
    )["input_ids"]
    hidden = clip_text.model(input_ids=padded).last_hidden_state
    for row in range(len(TEXTS)):
        eos = padded[row].tolist().index(clip_text.tokenizer.eos_token_id)
        expected = clip_text.model.text_projection(hidden[row, eos])
        torch.testing.assert_close(clip_text.encode(TEXTS)[row], expected, atol=1e-5, rtol=0)
    assert clip_text.encode(TEXTS).shape == (4, clip_text.features)
    assert padded.shape[1] == 77 and (padded[3] == clip_text.tokenizer.eos_token_id).nonzero().item() == 76


def test_clip_text_equals_text_embeds(bpe: Tokenizer) -> None:
    config = CLIPTextConfig(
        vocab_size=bpe.get_vocab_size() + 1,
        hidden_size=32,
        projection_dim=24,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=3,
    )
    with_end = Tokenizer.from_str(bpe.to_str())
    with_end.add_special_tokens(["<end>"])
    config.eos_token_id = with_end.token_to_id("<end>")
    config.vocab_size = config.eos_token_id + 1
    encoder = ClipTextEncoder(
        CLIPTextModelWithProjection(config).eval(), wrap_tokenizer(with_end, eos="<end>", append_eos=True)
    )
    expected = encoder.model(input_ids=encoder.tokenize(TEXTS)).text_embeds
    torch.testing.assert_close(encoder.encode(TEXTS), expected, atol=1e-6, rtol=0)


def test_clip_vision_is_the_last_block_without_class_token(clip_vision: ClipVisionEncoder) -> None:
    image = torch.rand(2, 3, 30, 50) * 2 - 1
    tokens = clip_vision.encode(image)
    states = clip_vision.model(pixel_values=clip.preprocess(image, 42), output_hidden_states=True).hidden_states
    assert tokens.shape == (2, clip_vision.tokens, clip_vision.features) == (2, 9, 32)
    assert torch.equal(tokens, states[-1][:, 1:])
    post_normed = clip_vision.model.post_layernorm(tokens)
    assert (tokens - post_normed).abs().max() > 1e-2, "the post-norm would be visible"


@pytest.mark.parametrize("case", ["up_20x28", "down_512x384", "same_336"])
def test_clip_preprocessing_equals_the_released_one(case: str, golden) -> None:
    file = golden("clip_preprocess")
    image = (file[f"in.{case}"].float() / 255 - 0.5) / 0.5
    result = clip.preprocess(image[None], 336)[0]
    torch.testing.assert_close(result[:, ::7, ::7], file[f"out.{case}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(result.mean()[None], file[f"out.{case}.mean"], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.stack((result.min(), result.max())), file[f"out.{case}.minmax"], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        clip.preprocess(image, 336)


@pytest.mark.parametrize("name", ["gemma", "clip_text", "clip_vision"])
def test_saved_as_half_loads_as_float(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    encoder = request.getfixturevalue(name)
    encoder.save_pretrained(tmp_path, dtype=torch.float16)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
    loaded = type(encoder).from_pretrained(tmp_path)
    assert not loaded.training
    expected = {key: value.half().float() for key, value in encoder.state_dict().items()}
    assert loaded.state_dict().keys() == expected.keys()
    for key, value in loaded.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, expected[key]), key
    if name != "clip_vision":
        assert loaded.tokenizer(TEXTS)["input_ids"] == encoder.tokenizer(TEXTS)["input_ids"]
    assert next(encoder.parameters()).dtype == torch.float32, "saving leaves the encoder as it is"


def test_gradients_reach_every_weight_that_acts(gemma, clip_text, clip_vision) -> None:
    image = torch.rand(1, 3, 20, 20, requires_grad=True)
    cases = [
        (copy.deepcopy(gemma), lambda e: e.encode(TEXTS[:2])[0], ("model.layers.2.", "model.norm.")),
        (copy.deepcopy(clip_text), lambda e: e.encode(TEXTS[:2]), ()),
        (copy.deepcopy(clip_vision), lambda e: e.encode(image), ("model.post_layernorm.",)),
    ]
    for encoder, run, unused in cases:
        weights = torch.linspace(-1, 1, run(encoder).numel())
        (run(encoder).flatten() * weights).sum().backward()
        for name, parameter in encoder.named_parameters():
            if name.startswith(unused) and unused:
                assert parameter.grad is None, name
            else:
                assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_bad_folders_give_one_line(gemma: GemmaTextEncoder, clip_vision: ClipVisionEncoder, tmp_path: Path) -> None:
    def refuse(encoder: Any, folder: Path, match: str) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            encoder.from_pretrained(folder)
        assert "\n" not in str(caught.value)

    refuse(GemmaTextEncoder, tmp_path / "absent", "found none at .*absent.*nothing is ever downloaded")
    refuse(GemmaTextEncoder, tmp_path, "needs a config.json")
    clip_vision.save_pretrained(tmp_path / "vision")
    refuse(GemmaTextEncoder, tmp_path / "vision", "needs model_type gemma, .* has 'clip_vision_model'")
    gemma.save_pretrained(tmp_path / "gemma")
    weights = tmp_path / "gemma" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refuse(GemmaTextEncoder, tmp_path / "gemma", "could not be read")
    weights.unlink()
    refuse(GemmaTextEncoder, tmp_path / "gemma", "needs weights")
    weights.write_bytes(whole)
    (tmp_path / "gemma" / "tokenizer.json").unlink()
    refuse(GemmaTextEncoder, tmp_path / "gemma", "needs a tokenizer.json")
    config = json.loads((tmp_path / "vision" / "config.json").read_text())
    (tmp_path / "vision" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    refuse(ClipVisionEncoder, tmp_path / "vision", "lacks 16 weights")
    (tmp_path / "vision" / "config.json").write_text(json.dumps(config | {"intermediate_size": 65}))
    refuse(ClipVisionEncoder, tmp_path / "vision", "could not be read")
