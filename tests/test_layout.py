"""The tree itself: import names, import directions, and what may be imported where."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import genoconv

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "genoconv"

ALLOWED = {
    "errors": set(),
    "kernels": {"kernels"},
    "inputs": {"errors", "inputs"},
    "model": {"errors", "model", "kernels"},
    "outputs": {"errors", "outputs", "kernels"},
    "runs": {"errors", "runs", "inputs", "model", "outputs", "kernels"},
    "training": {"errors", "training", "inputs", "model", "kernels", "runs"},
    "evaluation": {"errors", "evaluation", "inputs", "model", "outputs", "training"},
    "measuring": {"errors", "measuring", "inputs", "model", "runs", "kernels", "embed"},
    "embed": {"errors", "inputs", "model", "outputs", "runs", "kernels"},
    "merge": {"errors", "outputs", "runs"},
    "plot": {"errors", "outputs"},
}
"""Which part may import which: downward only. The command line may import everything."""

OWNERS = {
    "h5py": "outputs/",
    "pyfaidx": "inputs/",
    "Bio": "inputs/",
    "typer": "cli/",
    "triton": "kernels/",
    "huggingface_hub": "model/",
    "safetensors": "model/",
}
"""Third-party libraries that only one part of the tree may import."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in (PACKAGE, ROOT / "kernels", ROOT / "cli"):
        for path in sorted(folder.rglob("*.py")):
            if folder is PACKAGE and path.relative_to(PACKAGE).parts[0] in ("kernels", "cli"):
                continue  # reached through the links as well
            name = path.relative_to(ROOT if folder is not PACKAGE else PACKAGE).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_links_give_the_import_names() -> None:
    for name in ("kernels", "cli"):
        link = PACKAGE / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
        assert (link / "__init__.py").is_file()


def test_imports_run_downward_only() -> None:
    wrong = []
    for name, tree in modules():
        part = name.split("/")[0].removesuffix(".py")
        for target in imported(tree):
            if target.startswith("genoconv.") and part in ALLOWED:
                other = target.split(".")[1]
                if other not in ALLOWED[part] and other not in ("__version__",):
                    wrong.append(f"{name} imports {target}")
    assert not wrong


def test_each_library_has_one_home() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        for target in imported(tree)
        for library, home in OWNERS.items()
        if target.split(".")[0] == library and not name.startswith(home) and name != "runs/progress.py"
    ]
    assert not wrong


@pytest.mark.parametrize("command", [["--help"], ["embed", "--help"], ["bench", "--help"], ["--version"]], ids=str)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    heavy = ("torch", "triton", "h5py", "Bio", "pyfaidx", "huggingface_hub", "numpy")
    program = (
        f"import sys\nsys.argv = ['genoconv', *{command!r}]\nfrom genoconv.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"found = [name for name in {heavy!r} if name in sys.modules]\nassert not found, found\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr


def test_every_command_explains_itself_and_its_options() -> None:
    from genoconv.cli.app import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__


def test_the_version_is_that_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert genoconv.__version__ in first


def test_the_run_time_dependencies_are_the_few_that_are_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = {"biopython": "Bio"}
    used = {target.split(".")[0] for _, tree in modules() for target in imported(tree)}
    for requirement in project["dependencies"]:
        name = requirement.split(">")[0].split(";")[0].strip()
        assert distributions.get(name, name) in used, f"{name} is required but imported nowhere"
