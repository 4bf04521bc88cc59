"""The rules for workflow managers in the README, run by Snakemake where it is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def readme_block(language: str, word: str) -> str:
    """The first block of the README in a language that holds a word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return next(str(block) for block in blocks if word in block)


def test_the_snakemake_rules_of_the_readme_embed_and_merge(tmp_path: Path) -> None:
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        pytest.skip("Snakemake is not installed (pip install snakemake)")
    (tmp_path / "Snakefile").write_text(readme_block("python", "rule embed"))
    (tmp_path / "genes.fa").write_text("".join(f">r{index}\n{'ACGT' * (index + 1)}\n" for index in range(10)))
    tool = tmp_path / "bin" / "genoconv"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m genoconv "$@"\n')
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    finished = subprocess.run(
        [snakemake, "--cores", "1"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    verified = subprocess.run([tool, "verify", tmp_path / "genes.h5"], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout
