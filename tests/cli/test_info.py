import json

from sgif.cli.main import main


def shown(capsys, *words):
    assert main(["info", "run", *words]) == 0
    return capsys.readouterr().out


def test_info_tells_clip_settings_and_every_scale(fake_run, capsys):
    lines = shown(capsys).splitlines()
    assert "clip       my clip.gif, 4 frames, 0.3 s" in lines
    assert "sizes      25x42 34x56 51x89" in lines
    assert "preset     draft --amp --num-3d-scales all --iterations 2 --lr 0.001" in lines
    assert "trained    3 of 3 scales in 3:36" in lines
    assert [line.split() for line in lines if line.split()[1:2] == ["51x89"]] == [
        ["2", "51x89", "3D", "2", "0.1", "27.3", "1.2"]]
    assert "partial" not in "".join(lines)


def test_info_of_a_partial_run_gives_the_command_that_goes_on(fake_run, capsys):
    fake_run.scales_done = 1
    assert shown(capsys).splitlines()[-1] == (
        f"           sgif train 'my clip.gif' -o {fake_run.path}"
        " --frames 4 --preset draft --amp --num-3d-scales all --iterations 2 --lr 0.001")


def test_info_of_a_run_without_a_finished_scale_has_no_table(fake_run, capsys):
    fake_run.scales_done = 0
    assert "PSNR" not in shown(capsys)


def test_info_json_is_what_the_run_describes(fake_run, capsys):
    assert json.loads(shown(capsys, "--json")) == fake_run.describe()
