"""`tally sandbox build-template`: packages for local sandboxes, installed once on the server's machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.problems import Problem
from tallystick.cli.progress import Progress, bars
from tallystick.cli.rendering import facts

PackagesOption = list[str] | None


def register(noun: Noun) -> None:
    """Put the command under the group of sandboxes."""
    noun.command("build-template")(build_template)


def build_template(
    session: Session,
    name: Annotated[str, typer.Argument(help="What sandboxes will ask for, such as pandas.")],
    *,
    base: Annotated[str, typer.Option("--base", help="What it starts from: bash, python or node.")],
    pip: Annotated[
        PackagesOption,
        typer.Option(
            "--pip", metavar="PACKAGE", help="A Python package that has a wheel; may be given several times."
        ),
    ] = None,
    npm: Annotated[
        PackagesOption,
        typer.Option("--npm", metavar="PACKAGE", help="A package of npm's; may be given several times."),
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What it is good for.")] = "",
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates", metavar="FOLDER", help="Where templates lie; TALLY_SANDBOX_TEMPLATES if absent."
        ),
    ] = None,
) -> Output:
    """Build a template for local sandboxes, on the server's machine; the server has it at once."""
    from tallystick.cli.local import read_config
    from tallystick.providers.local import BuildFailed
    from tallystick.providers.local import build_template as build

    folder = templates or read_config().sandbox_templates
    if folder is None:
        raise Problem(
            "no_folder",
            "it is not known where templates lie",
            advice="Set TALLY_SANDBOX_TEMPLATES, which the server reads as well, or give --templates.",
        )
    try:
        with bars(session) as progress:
            place = build(
                Path(folder),
                name,
                base=base,
                pip=pip or (),
                npm=npm or (),
                description=description,
                progress=_one_after_the_other(progress),
            )
    except BuildFailed as failed:
        raise Problem("not_built", f"the template was not built: {failed}") from failed
    packages = [*(pip or ()), *(npm or ())]
    data = {"template": name, "base": base, "packages": packages, "folder": str(place)}
    shown = data | {"packages": ", ".join(packages) or "none"}
    return Output(data, lambda out: out.print(facts(shown.items())))


def _one_after_the_other(progress: Progress) -> Callable[[str, int, int], None]:
    """Steps as bars: one is done when the next begins, and nobody knows how long an installer takes."""
    begun: list[str] = []

    def step(name: str, done: int, total: int) -> None:
        if begun:
            progress(begun[-1], 1, 1)
        if done < total:
            begun.append(name)
            progress(name, 0, None)

    return step
