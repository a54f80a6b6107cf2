import errno
import os
import signal
import sys
import time

import pytest
import torch

from sgif import engine
from sgif.cli.main import main
from sgif.engine import ClipError, ConfigError, RunError


def raising(error):
    def fails(*args, **settings):
        raise error
    return fails


def outcome(capsys, *words):
    code = main(list(words))
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("error", "sentence"), [
    (ClipError("a.gif has only one frame: give a clip"), "a.gif has only one frame: give a clip"),
    (ConfigError("device 'cuda:7' is not there"), "device 'cuda:7' is not there"),
    (RunError("runs/a is not a run folder"), "runs/a is not a run folder"),
    (RunError("two\nlines"), "two lines"),
    (ValueError("frames is 3, expected 4"), "frames is 3, expected 4"),
    (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "permission denied: runs/a"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a.gif/b"), "not a directory: a.gif/b"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/a/x"),
     "no space left on the disk: runs/a/x; make room and run the same command again"),
    (OSError(errno.EDQUOT, "Quota exceeded"), "no space left on the disk; make room and run the same command again"),
    (MemoryError(), "out of memory: try --checkpointing, fewer --frames-per-step or a smaller --max-size or --size"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
     "out of memory: try --checkpointing, fewer --frames-per-step or a smaller --max-size or --size"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
     "out of memory: try --checkpointing, fewer --frames-per-step or a smaller --max-size or --size"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None)
def test_what_a_user_can_mend_is_one_sentence_and_exit_code_2(error, sentence, fake_train, capsys):
    fake_train(raising(error))
    assert outcome(capsys, "train", "a.gif", "--quiet") == (2, f"sgif: {sentence}\n")


def test_a_bug_says_that_it_is_one_and_where_to_look(fake_train, capsys):
    fake_train(raising(KeyError("rec")))
    code, said = outcome(capsys, "train", "a.gif", "--quiet")
    assert (code, said) == (1, "sgif: this is a bug: KeyError: 'rec' (--debug shows where)\n")


def test_debug_lets_the_traceback_through(fake_train):
    fake_train(raising(RunError("damaged")))
    with pytest.raises(RunError, match="damaged"):
        main(["train", "a.gif", "--quiet", "--debug"])


@pytest.mark.parametrize("words", [
    ("train", "there_is_no.gif"),
    ("train", "there_is_no.gif", "--max-size", "4"),
    ("train", "there_is_no.gif", "--frames-per-step", "2:4"),
    ("train", "there_is_no.gif", "--background", "nothing"),
    ("sample", "there_is_no_run"),
    ("info", "there_is_no_run"),
], ids=" ".join)
def test_the_engine_s_own_refusals_are_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = outcome(capsys, *words)
    assert code == 2
    assert said.startswith("sgif: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


@pytest.mark.parametrize("words", [
    (), ("paint",), ("train",), ("train", "a.gif", "--iterations", "many"), ("train", "a.gif", "--iter", "5"),
    ("train", "a.gif", "--crop", "1,2"), ("sample",), ("sample", "run", "-n", "0"),
    ("sample", "run", "--format", "bmp"), ("sample", "run", "--size", "9x9", "--scale", "2"), ("info", "run", "extra"),
], ids=" ".join)
def test_a_usage_error_is_one_line_and_exit_code_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(list(words))
    said = capsys.readouterr().err
    assert said.startswith("sgif")
    assert len(said.splitlines()) == 1
    assert "--help" in said


def test_an_unknown_option_points_to_its_command_s_help(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "a.gif", "--nope"])
    assert capsys.readouterr().err == "sgif train: unrecognized arguments: --nope (help: sgif train --help)\n"


def test_a_reader_that_leaves_early_is_no_error(fake_run, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert main(["info", "run", "--json"]) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [
    ("info", "run"), ("sample", "run"), ("edit", "run", "a.gif"), ("animate", "run", "a.png"), ("report", "run"),
    ("verify", "run"), ("eval", "a.gif", "b.gif"), ("profile", "a.gif"), ("bench",), ("bench", "compare", "a", "b"),
    ("reproduce", "table1", "a.gif"), ("train", "a.gif"), ("superres", "a.gif"),
], ids=" ".join)
@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)])
def test_a_signal_outside_the_training_loop_is_one_sentence(words, number, name, code, monkeypatch, capsys, tmp_path):
    def interrupted(*args, **settings):
        os.kill(os.getpid(), number)
        pytest.fail("still running")

    before = signal.getsignal(number)
    for function in ("load_run", "read_clip", "make_report", "verify_run", "load_features"):
        monkeypatch.setattr(engine, function, interrupted)
    monkeypatch.setattr("sgif.bench.suites.run_suite", interrupted)
    monkeypatch.setattr("sgif.bench.compare.load_pairs", interrupted)
    monkeypatch.chdir(tmp_path)
    ended, said = outcome(capsys, *words)
    assert (ended, said.splitlines()[-1]) == (code, f"sgif: stopped by {name}; no file is left half written")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_an_import_that_would_swallow_it(number, monkeypatch, capsys, tmp_path):
    (tmp_path / "swallows_signals.py").write_text(
        f"import os, time\ntry:\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(0.15)\nexcept BaseException:\n"
        "    whole = False\nelse:\n    whole = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    def load_run(path):
        import swallows_signals

        assert swallows_signals.whole
        time.sleep(5)
        pytest.fail("still running")

    monkeypatch.setattr(engine, "load_run", load_run)
    assert outcome(capsys, "info", "run")[0] == 128 + number
    assert sys.modules.pop("swallows_signals").whole


def test_a_signal_that_waits_ends_training_before_it_begins(fake_train, monkeypatch, capsys, tmp_path):
    (tmp_path / "signals_at_once.py").write_text(f"import os\nos.kill(os.getpid(), {int(signal.SIGINT)})\n")
    monkeypatch.syspath_prepend(tmp_path)

    def read_clip(path, **window):
        import signals_at_once  # noqa: F401
        return clip

    clip = engine.read_clip("a.gif")
    fake_train(lambda *_, **__: pytest.fail("training began"))
    monkeypatch.setattr(engine, "read_clip", read_clip)
    assert outcome(capsys, "train", "a.gif", "--quiet", "--preset", "draft") == (
        130, "sgif: stopped by Ctrl-C; no file is left half written\n")
    sys.modules.pop("signals_at_once")


def test_a_signal_that_is_ignored_on_purpose_stays_ignored(monkeypatch, capsys):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr(engine, "load_run", lambda path: os.kill(os.getpid(), signal.SIGINT) or raising(
            RunError("it went on"))())
        assert outcome(capsys, "info", "run") == (2, "sgif: it went on\n")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["gif", "mp4", "webp", "png"])
def test_a_signal_while_a_clip_is_written_leaves_the_whole_ones(number, form, fake_run, monkeypatch, capsys):
    whole = fake_run.sample_frames

    def frames(index, **asked):
        parts = whole(index, **asked)
        yield next(parts)
        if index == 1:
            os.kill(os.getpid(), number)
        yield from parts

    monkeypatch.setattr(fake_run, "sample_frames", frames)
    assert main(["sample", "run", "-n", "3", "--format", form]) == 128 + number
    (first,) = (fake_run.path / "samples").iterdir()
    assert capsys.readouterr().out == f"{first}\n"
