"""`genoconv models`: which models there are, where they are, and what is in them."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import options

if TYPE_CHECKING:
    from genoconv.model.describe import ModelDescription
    from genoconv.model.names import ModelSummary

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, download, convert and describe models.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        show_default=False,
        help="A name from `genoconv models list`, a folder or file, or a hub repository; NAME@REVISION for a commit.",
    ),
]


@app.command("list")
def list_command(as_json: options.Json = False) -> None:
    """List the built-in and the public models, and which of them are on this machine."""
    from genoconv.model.names import DEFAULT_MODEL, list_models

    models = list_models()
    if as_json:
        print(json.dumps([asdict(model) | {"default": model.name == DEFAULT_MODEL} for model in models], indent=2))
        return
    print(_row("name", "context", "width", "layers", "size", "where"))
    for model in models:
        print(
            _row(
                model.name,
                f"{model.l_max:,}",
                str(model.d_model),
                str(model.n_layer),
                f"{model.megabytes:,.1f} MB",
                _where(model),
            )
        )


@app.command()
def pull(
    name: Name,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit [default: the pinned one].")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Download a public model into the Hugging Face cache, check it, and print its folder.

    Do this where there is a network, for machines without one. HF_HOME says where the cache is.
    """
    from genoconv.model.names import pull

    print(pull(name, revision=revision, report=None if quiet else _tell, progress=not quiet).path)


@app.command()
def path(name: Name) -> None:
    """Print the folder or file of a model, and nothing else; a public model is downloaded first if need be."""
    from genoconv.model.names import resolve

    print(resolve(name, report=_tell).path)


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", show_default=False, help="What --model takes: Lightning .ckpt, standalone or -hf weights."
        ),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", show_default=False, help="Folder for config.json and model.safetensors.")
    ],
    half: Annotated[
        bool, typer.Option("--half", help="Store projections and MLPs in float16: smaller, and numbers may change.")
    ] = False,
    force: options.Force = False,
) -> None:
    """Write any checkpoint that can be loaded as config.json and model.safetensors, under the public -hf names.

    The result is read back and compared with the source before it is put in its place.
    """
    from genoconv.model.convert import convert
    from genoconv.model.names import resolve

    written = convert(resolve(source, report=_tell).path, destination, overwrite=force, half=half)
    _tell(f"wrote {written}, equal to its source" + (" but for the rounding to float16" if half else ""))


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """Show a model's configuration, size, checksum, source and card.

    A public model that is not on this machine is described by what is published about it; nothing is downloaded.
    """
    from genoconv.model.describe import describe

    description = describe(name, report=_tell)
    if as_json:
        print(json.dumps(description.to_json(), indent=2))
        return
    for label, value in _lines(description):
        print(f"{label:<12} {value}")
    if description.config is not None:
        print("config")
        for field, value in description.config.items():
            print(f"  {field} = {json.dumps(value)}")
    if description.card is not None:
        print(f"\n{description.card.rstrip()}")


def _lines(description: "ModelDescription") -> list[tuple[str, str]]:
    """The facts about a model that have one line each."""
    size = None if description.bytes is None else f"{description.bytes:,} bytes"
    parameters = None if description.parameters is None else f"{description.parameters:,}"
    absent = (
        None
        if description.available
        else f"not on this machine; to download it: genoconv models pull {description.name}"
    )
    facts = [
        ("name", description.name),
        ("kind", description.kind),
        ("weights", str(description.weights) if description.available else absent),
        ("size", size),
        ("sha256", description.sha256),
        ("repository", description.repository),
        ("revision", description.revision),
        ("context", f"{description.l_max:,} tokens (longest trained input)"),
        ("width", str(description.d_model)),
        ("layers", str(description.n_layer)),
        ("parameters", parameters),
    ]
    return [(label, value) for label, value in facts if value is not None]


def _row(name: str, context: str, width: str, layers: str, size: str, where: str) -> str:
    """One line of the table of models."""
    return f"{name:<24} {context:>9} {width:>6} {layers:>7} {size:>9}  {where}"


def _where(model: "ModelSummary") -> str:
    """Where a model is, in a word or two."""
    from genoconv.model.names import DEFAULT_MODEL

    if model.kind == "built-in":
        return "built in, the default" if model.name == DEFAULT_MODEL else "built in"
    return "in the cache" if model.available else "to download"


def _tell(line: str) -> None:
    """Words go to stderr."""
    print(line, file=sys.stderr)
