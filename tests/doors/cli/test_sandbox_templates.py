"""`tally sandbox build-template`: it needs no server, and what it built is there for one."""

from pathlib import Path

import pytest

from tallystick.providers.local import LocalSandboxes
from tests.doors.cli.program import Program
from tests.providers.local.wheels import only_wheels

NAME = ["sandbox", "build-template", "hello", "--base", "python"]


@pytest.mark.slow
def test_a_template_is_built(local: Program, tmp_path: Path) -> None:
    """Where the settings say that templates lie; programs are told where, and people what is in it."""
    local.environ |= only_wheels(tmp_path, "greeting")
    local.environ["TALLY_SANDBOX_TEMPLATES"] = str(tmp_path / "templates")
    made = local.ask(*NAME, "--pip", "greeting")
    folder = tmp_path / "templates" / "hello"
    assert {"template": "hello", "base": "python", "packages": ["greeting"], "folder": str(folder)} == made
    assert (folder / "packages" / "python" / "greeting.py").is_file()
    assert "greeting" in local.show(*NAME, "--pip", "greeting")


def test_a_server_that_runs_has_it_at_once(local: Program, tmp_path: Path) -> None:
    """The folder is an option as well."""
    provider = LocalSandboxes(state_dir=tmp_path / "state", templates_dir=tmp_path / "templates")
    try:
        local.ask(*NAME, "--templates", str(tmp_path / "templates"), "--description", "Ours")
        assert "Ours" in {template.description for template in provider.templates()}
    finally:
        provider.close()


def test_what_is_wrong_is_said(local: Program, tmp_path: Path) -> None:
    """Where no folder is known, where a name cannot be one, and where nothing can be written."""
    assert "TALLY_SANDBOX_TEMPLATES" in local.problem(*NAME)["what_to_do"]
    here = ["--templates", str(tmp_path / "templates")]
    refused = local.problem("sandbox", "build-template", "../up", "--base", "python", *here)
    assert ("not_built", True) == (refused["code"], "../up" in refused["detail"])
    (tmp_path / "file").write_text("")
    refused = local.problem(*NAME, "--templates", str(tmp_path / "file" / "templates"))
    assert "folder" in refused["detail"]
