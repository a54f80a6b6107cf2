"""What is compared: one budget for all, and only models that differ."""

import dataclasses

import pytest

from sgif.bench.reproduce.models import ITERATIONS, TITLES, differences, models_of
from sgif.engine.config import FIXED_BY_VARIANTS, VARIANTS, ConfigError, preset_config

BUDGET = {"iterations": (40, 20), "max_size_px": 64, "seed": 3}


@pytest.mark.parametrize("what", ["table1", "ablations"])
@pytest.mark.parametrize("preset", ["paper", "fast", "draft"])
def test_all_models_of_a_table_have_the_same_budget(what, preset):
    models, _ = models_of(what, preset, BUDGET)
    budgets = {tuple(getattr(model.config, field.name) for field in dataclasses.fields(model.config)
                     if field.name not in FIXED_BY_VARIANTS) for model in models}
    assert len(budgets) == 1
    assert models[0].config == preset_config(preset, **BUDGET)


def test_table_1_is_the_model_and_its_baseline():
    models, notes = models_of("table1", "draft", BUDGET)
    assert [model.title for model in models] == ["SinGAN-GIF", "SinGAN (All Frames)"]
    assert models[1].config == preset_config("draft", **BUDGET, **VARIANTS["singan-all-frames"])
    assert notes == []


@pytest.mark.parametrize(("preset", "same"), [("paper", "depthwise 3D generators"), ("draft", "dense 3D generators")])
def test_an_ablation_that_is_the_whole_model_is_told_and_not_trained_again(preset, same):
    models, notes = models_of("ablations", preset, BUDGET)
    assert notes == [f"{same}: that is what SinGAN-GIF is under the preset {preset}"]
    assert len(models) == len(TITLES["ablations"]) - 1
    configs = [model.config for model in models]
    assert all(config not in configs[:i] for i, config in enumerate(configs))


def test_every_ablation_says_what_it_changes():
    models, _ = models_of("ablations", "draft", BUDGET)
    assert {model.key: differences(model, models[0]) for model in models[1:]} == \
        {model.key: dict(VARIANTS[model.key]) for model in models[1:]}


def test_every_variant_has_its_place_in_a_table():
    assert {key for titles in TITLES.values() for key in titles} == {"singan-gif", *VARIANTS, *ITERATIONS}


def test_quality_is_the_model_after_other_iterations_and_nothing_else():
    models, notes = models_of("quality", "draft", {**BUDGET, "video_weight": 1.0})
    assert [model.config.iterations for model in models] == [(40, 20), (10, 5), (20, 10), (80, 40)]
    assert {field for model in models[1:] for field in differences(model, models[0])} == {"iterations"}
    assert notes == []
    few, _ = models_of("quality", "draft", {"iterations": (2, 1)})
    assert few[1].config.iterations == (1, 1)  # never none


def test_a_preset_that_is_a_model_is_refused():
    with pytest.raises(ConfigError, match=r"^preset is singan-all-frames, which is one of the models here; expected a "
                                          r"budget for all of them: paper, fast, draft$"):
        models_of("table1", "singan-all-frames", {})


def test_a_setting_that_tells_models_apart_is_refused():
    with pytest.raises(ConfigError, match=r"^video_weight is given, which tells the models apart"):
        models_of("table1", "draft", {"video_weight": 1.0})
