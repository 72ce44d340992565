"""Tables, patches, times, size buckets and parameter lists equal the released ones."""

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.flow import sample_times, times_from_draws
from pixwizard.comfyui_pixwizard.network_inputs import pad_tables
from pixwizard.comfyui_pixwizard.pictures.buckets import bucket_sizes
from pixwizard.comfyui_pixwizard.rope import rope_table, scale_factors

SIGN = torch.tensor([-1.0, 1.0])


def test_rope(golden):
    g = golden("rope")
    assert len(g.arguments["cases"]) == 10
    for name, case in g.arguments["cases"].items():
        factors = scale_factors(
            case.get("scale_factor", 1.0), case.get("scale_watershed", 1.0), case.get("timestep", 1.0)
        )
        cos, sin = rope_table(case["end"], case["end"], case["dim"], *factors)
        for found, wanted in ((cos, g[f"{name}.real"]), (sin * SIGN.repeat(case["dim"] // 2), g[f"{name}.imag"])):
            found = found.unflatten(0, (case["end"], case["end"]))
            torch.testing.assert_close(found[..., 0::2], wanted, rtol=0, atol=1e-6)
            torch.testing.assert_close(found[..., 1::2], wanted, rtol=0, atol=1e-6)


@torch.no_grad()
def test_patches(golden, golden_model):
    g, model = golden("units"), golden_model()
    pairs = list(zip(g.listed("patchify.x"), g.listed("patchify.cond"), strict=True))
    tokens, mask = model.embed([x for x, _ in pairs], [source for _, source in pairs])
    cos, _ = pad_tables([rope_table(x.shape[1] // 2, x.shape[2] // 2, model.config.head_dim) for x, _ in pairs])
    # The inputs count up to 1095 and tokens reach 684: one rounding there is 6e-5, and CPUs sum in different orders.
    wanted = g["patchify.embed"]
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))
    assert torch.equal(mask, g["patchify.mask"].bool())
    torch.testing.assert_close(cos[..., 0::2], g["patchify.freqs_real"], rtol=0, atol=1e-6)
    for i, (wanted, (x, _)) in enumerate(zip(g.listed("unpatchify.out"), pairs, strict=True)):
        found = model.unpatchify(g["unpatchify.tokens"][i : i + 1], tuple(x.shape[1:]))[0]
        assert torch.equal(found, wanted[:4])


@torch.no_grad()
def test_time_embedding(golden, golden_model):
    g, embedder = golden("units"), golden_model().t_embedder
    torch.testing.assert_close(embedder.sinusoid(g["timestep.t"]), g["timestep.sinusoid256"], rtol=0, atol=1e-6)
    torch.testing.assert_close(embedder(g["timestep.t"]), g["timestep.t_emb"], rtol=0, atol=1e-6)


def test_training_times(golden):
    g = golden("snr")
    assert len(g.arguments["cases"]) == 4
    for kind in g.arguments["cases"]:
        assert torch.equal(times_from_draws(g[f"{kind}.base"], kind), g[f"{kind}.t"])
        drawn = sample_times(4096, kind, torch.Generator().manual_seed(0))
        wanted = g[f"{kind}.t"]
        assert drawn.shape == (4096,) and abs(float(drawn.mean() - wanted.mean())) < 0.1


def test_size_buckets(golden_json):
    wanted = golden_json("crop_sizes")
    for center, sizes in wanted["crop_sizes_wxh"].items():
        assert bucket_sizes(int(center)) == tuple(map(tuple, sizes))


def test_parameters_of_the_2b_model(golden_json):
    manifest = golden_json("manifest_2b_gqa")
    with torch.device("meta"):
        state = PixWizardTransformer(PixWizardConfig.preset("2b")).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == {
        entry["name"]: entry["shape"] for entry in manifest["entries"]
    }
    assert len(state) == manifest["n_entries"] == 1003
    assert sum(value.numel() for value in state.values()) == manifest["total_parameters"] == 2_011_441_976


def test_lumina_start_fits(golden_json):
    """docs/mathematics.md section 14: a Lumina-Next file lacks 440 of our entries, has 4 others, one narrower."""
    manifest = golden_json("manifest_lumina_next_2b")
    lumina = {entry["name"]: entry["shape"] for entry in manifest["entries"]}
    with torch.device("meta"):
        ours = {k: list(v.shape) for k, v in PixWizardTransformer(PixWizardConfig.preset("2b")).state_dict().items()}
    assert len(ours.keys() - lumina.keys()) == 440
    assert {name.split(".")[0] for name in lumina.keys() - ours.keys()} == {"cap_embedder"}
    different = [name for name in lumina.keys() & ours.keys() if lumina[name] != ours[name]]
    assert different == ["x_embedder.weight"]


@pytest.mark.parametrize("kind", ["unifrom", "uniform_0.2", "shift", "shift_x", "lognorm_1", ""])
def test_unknown_times(kind):
    with pytest.raises(ValueError, match="t sampler must be"):
        sample_times(4, kind)
