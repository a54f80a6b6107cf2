"""Losses that run away and memory that ends: noticed, tried again, and the same in a run that was killed in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import scale_session, trainer, trouble
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event, ScaleGoesBack
from sgif.engine.profiling import memory
from sgif.engine.report.make import make_report
from sgif.engine.runs import Run, load_run
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.step import ScaleTrainer
from sgif.engine.storage import RunError, read_json, read_tensors, write_json, write_tensors
from sgif.engine.trainer import train
from sgif.engine.trouble import LOSS_LIMIT, Diverged, LossWatch, UntrainableError, is_out_of_memory, next_try

from .same_run import assert_same_run

MakeConfig = Callable[..., TrainConfig]
Step = Callable[[ScaleTrainer, int], dict[str, Tensor]]


# ---- noticed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2 * LOSS_LIMIT, -2 * LOSS_LIMIT])
def test_one_bad_loss_among_good_ones_is_remembered_and_named(bad: float) -> None:
    watch, value = LossWatch(), torch.tensor(1.0)
    for step in range(5):
        value.fill_(bad if step == 2 else 1.0)  # in place, as a CUDA graph does
        watch.see({"D/image": torch.tensor(-3.0), "G/rec": value})
    with pytest.raises(Diverged, match=r"^G/rec reached (nan|inf|2e\+05)$"):
        watch.check()
    watch.see({"G/rec": torch.tensor(LOSS_LIMIT)})
    watch.check()  # what was said is forgotten


def test_seeing_losses_reads_nothing_back() -> None:
    watch = LossWatch()
    for _ in range(2):
        watch.see({"D/image": torch.empty((), device="meta"), "G/rec": torch.empty((), device="meta")})
    with pytest.raises(NotImplementedError):  # a tensor without numbers: asking for them fails
        watch.check()


def test_a_watch_that_has_seen_nothing_has_nothing_to_say() -> None:
    LossWatch().check()


def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews and the report take longer than a tiny run; here only their places are filled."""
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    monkeypatch.setattr(trainer, "_report", lambda run: ((run.path / "report.html").touch(), ()))


# ---- tried again -----------------------------------------------------------------------------------------------------


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[ScaleTrainer, int, dict[str, Tensor]], None]) -> None:
    """After each training step, `spoil(trainer, iteration, losses)`."""
    plain = ScaleTrainer.train_step

    def step(self: ScaleTrainer, iteration: int) -> dict[str, Tensor]:
        losses = plain(self, iteration)
        spoil(self, iteration, losses)
        return losses

    monkeypatch.setattr(ScaleTrainer, "train_step", step)
    no_pictures(monkeypatch)


def spoil_weights(scale: int, iteration: int, tries: int) -> Callable[..., None]:
    """One weight of the generator becomes NaN behind an iteration of a scale, in its first `tries` tries."""
    seen: dict[int, None] = {}

    def spoil(at: ScaleTrainer, now: int, losses: dict[str, Tensor]) -> None:
        if (at.plan.index, now) == (scale, iteration):
            seen[at.config.seed] = None
            if list(seen).index(at.config.seed) < tries:
                with torch.no_grad():
                    next(at.generator.parameters()).view(-1)[0] = float("nan")
    return spoil


def back(events: list[Event]) -> list[tuple[int, int, int, str]]:
    return [(event.scale, event.iteration, event.back_to, event.change) for event in events
            if isinstance(event, ScaleGoesBack)]


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("tries", "changes"), [
    (1, [(1, 4, 3, "another seed")]),
    (2, [(1, 4, 3, "another seed"), (1, 4, 3, "another seed and a learning rate of 0.00015")]),
    (3, [(1, 4, 3, "another seed"), (1, 4, 3, "another seed and a learning rate of 0.00015"),
         (1, 4, 0, "another seed and a learning rate of 5e-05")])])
def test_a_scale_that_diverges_goes_back_and_is_learned(tries: int, changes: list[Any], clip: Clip,
                                                        tiny_config: MakeConfig, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(monkeypatch, spoil_weights(1, 3, tries))
    events: list[Event] = []
    run = train(clip, tmp_path / "run", tiny_config(), on_event=events.append)
    assert back(events) == changes
    assert run.finished
    retries = run.scale_record(1)["retries"]
    assert [retry["from_iteration"] for retry in retries] == [change[2] for change in changes]
    assert len({0, *(retry["seed"] for retry in retries)}) == tries + 1
    assert "retries" not in run.scale_record(0)
    assert "retries" not in run.scale_record(2)
    log = rows(run.path)
    assert [row["iteration"] for row in log] == [2, 4, 6] * 3
    assert [(row["scale"], row["iteration"], row["retry"]) for row in log if "retry" in row] == [
        (1, iteration, tries) for iteration in (2, 4, 6) if iteration > changes[-1][2]]
    assert all(torch.isfinite(stage_part).all() for stage_part in run.sample(1))


def test_the_report_says_it(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(monkeypatch, spoil_weights(0, 3, 2))
    train(clip, tmp_path / "run", tiny_config(max_size_px=12))
    assert ("scale 0 diverged 2 times and went on from iteration 3 with another seed and a learning rate of 0.00015"
            in make_report([tmp_path / "run"]).notes)


def test_a_scale_that_cannot_be_trained_ends_the_run_with_what_is_done(clip: Clip, tiny_config: MakeConfig,
                                                                       tiny_run: Any, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(monkeypatch, spoil_weights(1, 3, 99))
    for _ in range(2):  # the same command again says the same
        with pytest.raises(UntrainableError) as refused:
            train(clip, tmp_path / "run", tiny_config())
        assert str(refused.value) == (
            "scale 1 cannot be trained: generator.tail_bias has numbers that are not finite, after 4 tries with other "
            f"seeds and, at the end, a learning rate of 5e-05; what is done is kept in {tmp_path / 'run'}: train into "
            "another folder with a smaller --lr than 0.0005")
    run = load_run(tmp_path / "run")
    assert run.scales_done == 1
    first = "scale_00/generator.safetensors"
    assert (run.path / first).read_bytes() == (tiny_run.run.path / first).read_bytes()
    assert run.sample(1).shape == (1, 3, 6, 8, 11)


def test_a_huge_loss_is_noticed_though_the_next_ones_are_fine(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(at: ScaleTrainer, iteration: int, losses: dict[str, Tensor]) -> None:
        if (at.plan.index, iteration, at.config.seed) == (0, 12, 0):
            losses["D/video"].fill_(1e9)

    spoiled(monkeypatch, spoil)
    events: list[Event] = []
    train(clip, tmp_path / "run", tiny_config(iterations=20, log_every=100, max_size_px=12), on_event=events.append)
    assert back(events) == [(0, 14, 12, "another seed")]
    (event,) = (event for event in events if isinstance(event, ScaleGoesBack))
    assert event.why == "D/video reached 1e+09"


@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_where_it_goes_back_to_does_not_depend_on_when_it_is_noticed(log_every: int, unbroken: Run, clip: Clip,
                                                                     tiny_config: MakeConfig, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped on the way, logged and saved at other moments, the run ends in the same bits."""
    spoiled(monkeypatch, spoil_weights(0, 13, 2))
    asked, path = iter(range(1000)), tmp_path / "run"
    config = tiny_config(iterations=20, max_size_px=12, log_every=log_every, save_seconds=0.0 if log_every > 1 else 1e6)
    stops = 0
    while not (path / "scale_00").exists():
        with suppress(TrainingStopped):
            train(clip, path, config, should_stop=lambda: next(asked) % 3 == 2)
        stops += 1
    assert stops > 6
    for name in ("generator", "image_critic", "video_critic"):
        files = [run / "scale_00" / f"{name}.safetensors" for run in (path, unbroken.path)]
        assert files[0].read_bytes() == files[1].read_bytes()
    records = [load_run(run).scale_record(0)["retries"] for run in (path, unbroken.path)]
    assert records[0] == records[1]
    assert len(records[0]) == 2


@pytest.fixture(scope="module")
def unbroken(clip: Clip, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twice in trouble, and never stopped."""
    with pytest.MonkeyPatch.context() as patch:
        spoiled(patch, spoil_weights(0, 13, 2))
        return train(clip, tmp_path_factory.mktemp("unbroken") / "run", tiny_config(iterations=20, max_size_px=12))


def test_no_state_that_is_not_finite_is_ever_saved(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def look(path: Path, tensors: dict[str, Tensor], **place: Any) -> str:
        assert all(tensor.isfinite().all() for tensor in tensors.values()), f"{path} at {place}"
        saved.append(place.get("iteration", -1))
        return write_tensors(path, tensors, **place)

    monkeypatch.setattr(scale_session, "write_tensors", look)
    for iteration in (0, 4, 5):  # 5: the last one
        with monkeypatch.context() as patch:
            spoiled(patch, spoil_weights(0, iteration, 3))
            train(clip, tmp_path / f"run{iteration}", tiny_config(max_size_px=12, save_seconds=0.0))
    assert len(saved) > 3 * 5


def test_tries_are_counted_and_their_seeds_differ_by_scale() -> None:
    tries = [next_try(7, 1e-3, scale, number, 40) for scale in (0, 1) for number in (1, 2, 3)]
    assert [one and one["from_iteration"] for one in tries] == [40, 40, 0] * 2
    assert [one and one["lr"] for one in tries] == pytest.approx([1e-3, 3e-4, 1e-4] * 2)
    assert len({one and one["seed"] for one in tries}) == 6
    assert next_try(7, 1e-3, 0, 4, 40) is None
    assert trouble.are_retries(tries[:3])


@pytest.mark.parametrize("retries", [5, [{}], [{"from_iteration": -1, "seed": 1, "lr": 1e-4}],
                                     [{"from_iteration": 1, "seed": 1, "lr": float("nan")}],
                                     [{"from_iteration": 1, "seed": "1", "lr": 1e-4}]])
def test_tries_that_make_no_sense_are_refused_by_name(retries: Any, run_copy: Run) -> None:
    path = run_copy.path / "scale_01" / "scale.json"
    write_json(path, {**read_json(path), "retries": retries})
    with pytest.raises(RunError, match=r"/scale\.json: retries is .*, expected further tries of the scale"):
        run_copy.scale_info()


@pytest.mark.parametrize(("place", "sentence"), [
    ({"retries": [{}]}, "not say how its scale is tried"), ({"good_iteration": 3}, "not say how its scale is tried"),
    ({"frames_per_step": 5}, "not say how its scale is tried"),
    ({"frames_per_step": "2"}, "not say how its scale is tried"),
    ({}, "tensor adam.critics.0.exp_avg is missing"),
    ({"good_iteration": 2}, "tensor adam.critics.0.exp_avg is missing")])
def test_a_state_that_makes_no_sense_is_refused_by_name(place: dict[str, Any], sentence: str, clip: Clip,
                                                        tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        train(clip, tmp_path / "run", tiny_config(), should_stop=lambda: True)
    write_tensors(tmp_path / "run" / "state.safetensors", {}, scale=0, iteration=2, **place)
    with pytest.raises(RunError, match=sentence):
        train(clip, tmp_path / "run", tiny_config())


# ---- memory ----------------------------------------------------------------------------------------------------------


def short_of_memory(monkeypatch: pytest.MonkeyPatch, short: Callable[[ScaleTrainer, int], bool],
                    error: Exception | None = None) -> None:
    """Steps fail to allocate where `short(trainer, iteration)`; half of each is done before."""
    plain = ScaleTrainer.generator_step
    iterations: list[int] = []
    step = ScaleTrainer.train_step

    def train_step(self: ScaleTrainer, iteration: int) -> dict[str, Tensor]:
        iterations.append(iteration)
        return step(self, iteration)

    def generator_step(self: ScaleTrainer, *args: Any) -> dict[str, Tensor]:
        if short(self, iterations[-1]):
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, *args)

    monkeypatch.setattr(ScaleTrainer, "train_step", train_step)
    monkeypatch.setattr(ScaleTrainer, "generator_step", generator_step)
    no_pictures(monkeypatch)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to")],
    ids=["gpu", "python", "cpu"])
def test_a_step_that_finds_no_memory_is_done_again_with_checkpointing_in_the_same_bits(
        error: Exception, clip: Clip, tiny_config: MakeConfig, tiny_run: Any, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, lambda at, iteration: at.plan.index > 0 and not at.config.checkpointing, error)
    events: list[Event] = []
    train(clip, tmp_path / "run", tiny_config(), on_event=events.append)
    assert back(events) == [(1, 0, 0, "checkpointing, which changes no bit")]  # and not again at scale 2
    assert_same_run(tmp_path / "run", tiny_run.run.path)


def test_memory_that_ends_in_the_middle_of_a_scale_loses_no_bit_either(clip: Clip, tiny_config: MakeConfig,
                                                                       tiny_run: Any, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, lambda at, iteration: iteration == 4 and not at.config.checkpointing)
    events: list[Event] = []
    train(clip, tmp_path / "run", tiny_config(), on_event=events.append)
    assert back(events) == [(0, 4, 4, "checkpointing, which changes no bit")]
    assert_same_run(tmp_path / "run", tiny_run.run.path)


def needs_two_frames(at: ScaleTrainer, iteration: int) -> bool:
    """From the fourth iteration of scale 1 on, more than two frames a step are too many."""
    return at.plan.index == 1 and at.plan.frames_per_step > 2 and iteration >= 3


def test_without_fit_it_ends_with_a_sentence_and_the_last_good_state(clip: Clip, tiny_config: MakeConfig,
                                                                     tiny_run: Any, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        short_of_memory(patch, needs_two_frames)
        patch.setattr(memory, "settings_that_fit", lambda *_: iter([("--amp", 1 << 20)]))  # each is a forecast more
        with pytest.raises(UntrainableError) as ended:
            train(clip, tmp_path / "run", tiny_config())
    sentence = str(ended.value)
    assert sentence.startswith("out of memory in scale 1 (10x13, 4 frames a step): ")
    for part in ("were forecast", "were taken at most", "are free on cpu", "the same command with --fit goes on",
                 "a new run would fit with --amp",
                 f"what was learned is kept in {tmp_path / 'run'}"):
        assert part in sentence
    assert read_tensors(tmp_path / "run" / "state.safetensors")[1]["iteration"] == 3
    train(clip, tmp_path / "run", tiny_config())  # elsewhere there is more
    for name in (file.relative_to(tiny_run.run.path) for file in tiny_run.run.path.rglob("generator.safetensors")):
        assert (tmp_path / "run" / name).read_bytes() == (tiny_run.run.path / name).read_bytes()


def test_with_fit_a_scale_learns_from_fewer_frames_also_when_killed_in_between(clip: Clip, tiny_config: MakeConfig,
                                                                               tmp_path: Path,
                                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    with monkeypatch.context() as patch:
        short_of_memory(patch, needs_two_frames)
        run = train(clip, tmp_path / "run", tiny_config(fit=True), on_event=events.append)
        assert back(events) == [(1, 3, 3, "checkpointing, which changes no bit"),
                                (1, 3, 0, "2 frames a step instead of 4")]
        assert [record.get("frames_per_step") for record in run.scale_info()] == [None, 2, None]
        assert "scale 1 learned from 2 frames a step instead of 4, for memory" in make_report([run.path]).notes

        def stop(event: Event) -> None:
            if isinstance(event, ScaleGoesBack) and event.back_to == 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(clip, tmp_path / "killed", tiny_config(fit=True), on_event=stop)
    no_pictures(monkeypatch)
    train(clip, tmp_path / "killed", tiny_config())  # where there is more memory, and without --fit
    assert_same_run(tmp_path / "killed", run.path)


def test_another_error_of_torch_s_is_not_taken_for_memory(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_out_of_memory(RuntimeError("expected scalar type"))
    behind = RuntimeError("operation failed due to a previous error during capture")
    behind.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(behind)
    short_of_memory(monkeypatch, lambda at, iteration: True, RuntimeError("expected scalar type"))
    with pytest.raises(RuntimeError, match="expected scalar type"):
        train(clip, tmp_path / "run", tiny_config())
