import json
import shutil
import struct
from pathlib import Path

import pytest

from genoconv.errors import InputError
from genoconv.model.names import BUILTIN_FOLDER
from genoconv.training import plot
from genoconv.training.plot import plot_if_possible, plot_losses

LOG = BUILTIN_FOLDER / "genoconv-mini" / "log.jsonl"


def test_the_same_log_gives_the_same_picture_and_another_one_another(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one", "two", "shorter"):
        (tmp_path / name).mkdir()
        shutil.copy(LOG, tmp_path / name)
    lines = LOG.read_text().splitlines()
    (tmp_path / "shorter" / "log.jsonl").write_text("\n".join([*lines[:20], lines[-1]]) + "\n")
    one, two, shorter = (plot_losses(tmp_path / name).read_bytes() for name in ("one", "two", "shorter"))
    assert one == two != shorter
    assert one.startswith(b"\x89PNG")
    assert struct.unpack(">II", one[16:24]) == (960, 540)


def test_without_matplotlib_there_is_a_line_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(LOG, tmp_path)
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    words = plot_if_possible(tmp_path)
    assert "needs matplotlib" in words
    assert 'pip install "genoconv[plot]"' in words
    assert not (tmp_path / "loss.png").exists()


def test_a_folder_without_steps_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="cannot be read"):
        plot_losses(tmp_path)
    (tmp_path / "log.jsonl").write_text(json.dumps({"event": "begin", "step": 0}) + "\n")
    with pytest.raises(InputError, match="no steps"):
        plot_losses(tmp_path)
