"""Templates: the machine's own, root folders, and packages that were built in."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.providers.local import BuildFailed, LocalSandboxes, build_template, building
from tests.providers.local.boxes import Boxes
from tests.providers.local.wheels import only_wheels, packages_of_node


@pytest.fixture
def templates(open_path: Path) -> Path:
    """A folder for templates."""
    return open_path / "templates"


@contextmanager
def _boxes(state: Path, templates: Path) -> Iterator[Boxes]:
    local = LocalSandboxes(state_dir=state, templates_dir=templates)
    made = Boxes(local)
    try:
        yield made
    finally:
        made.close()
        local.close()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, and no index."""
    for name, value in only_wheels(tmp_path, "greeting").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "wheels"


def test_the_machines_own_templates(local: LocalSandboxes) -> None:
    """What the machine's programs make, by name."""
    found = {template.name: template.languages for template in local.templates()}
    assert sorted(found) == list(found)
    assert ("bash",) == found["bash"]
    assert ("python", "bash") == found["python"]
    assert ("javascript", "bash") == found.get("node", ("javascript", "bash"))


@pytest.mark.slow
def test_packages_are_built_in(templates: Path, wheels: Path, state: Path) -> None:
    """They can be imported and run, and nobody inside changes them; progress is told step by step."""
    assert wheels.is_dir()
    told: list[tuple[str, int, int]] = []
    build_template(
        templates, "hello", base="python", pip=["greeting"], progress=lambda *step: told.append(step)
    )
    assert [("pip: greeting", 0, 2), ("the template", 1, 2), ("done", 2, 2)] == told
    with _boxes(state, templates) as boxes:
        shown = {template.name: template for template in boxes.local.templates()}["hello"]
        assert ("python with greeting", ("python", "bash")) == (shown.description, shown.languages)
        box = boxes.make(template="hello")
        assert "hello\n" == box.python("import greeting; greeting.main()")
        assert "hello\n" == box.shell("greet")
        assert 0 != box.run("echo > /opt/packages/python/greeting.py").exit_code


@pytest.mark.slow
def test_a_template_is_built_anew_in_its_place(templates: Path, wheels: Path) -> None:
    """The new one is there whole, and nothing else is."""
    assert wheels.is_dir()
    build_template(templates, "hello", base="python", pip=["greeting"])
    build_template(templates, "hello", base="python", description="Nothing")
    assert ["template.toml"] == [path.name for path in (templates / "hello").iterdir()]
    assert ["hello"] == [path.name for path in templates.iterdir()]


@pytest.mark.slow
def test_a_sandbox_keeps_the_packages_that_it_started_with(
    templates: Path, wheels: Path, state: Path
) -> None:
    """Also when its template is built anew; what nobody has any more is gone with a later build."""
    assert wheels.is_dir()
    build_template(templates, "hello", base="python", pip=["greeting"])
    with _boxes(state, templates) as boxes:
        box = boxes.make(template="hello")
        build_template(templates, "hello", base="python")
        build_template(templates, "hello", base="python")
        box.python("import greeting")
        assert 0 != boxes.make(template="hello").run("import greeting", language="python").exit_code
        assert [] == [told for told in boxes.local.capabilities.warnings if "no template" in told]
    build_template(templates, "hello", base="python")
    assert ["hello"] == [path.name for path in templates.iterdir()]


@pytest.mark.slow
def test_a_build_that_fails_leaves_nothing(templates: Path, wheels: Path) -> None:
    """And says what the installer said."""
    assert wheels.is_dir()
    with pytest.raises(BuildFailed, match="missing-of-this-name"):
        build_template(templates, "bad", base="python", pip=["greeting", "missing-of-this-name"])
    assert [] == list(templates.iterdir())


def test_what_a_killed_build_left_is_taken_away_by_the_next(templates: Path) -> None:
    """But for what another one is making at the moment."""
    (templates / ".new-killed" / "template").mkdir(parents=True)

    def meanwhile(step: str, _: int, __: int) -> None:
        if step != "done":
            build_template(templates, "other", base="bash")

    build_template(templates, "hello", base="bash", progress=meanwhile)
    assert ["hello", "other"] == sorted(path.name for path in templates.iterdir())


@pytest.mark.slow
def test_a_build_that_is_interrupted_leaves_nothing(templates: Path, wheels: Path) -> None:
    """At whichever step."""
    assert wheels.is_dir()

    def interrupt(_: str, done: int, __: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_template(templates, "bad", base="python", pip=["greeting"], progress=interrupt)
    assert [] == list(templates.iterdir())


@pytest.mark.parametrize(
    ("name", "base", "package"),
    [
        ("../up", "python", "greeting"),
        ("python", "python", "greeting"),
        ("a", "cobol", "greeting"),
    ],
)
def test_what_cannot_be_built_is_refused(templates: Path, name: str, base: str, package: str) -> None:
    """Before anything is begun."""
    with pytest.raises(BuildFailed):
        build_template(templates, name, base=base, pip=[package])
    assert not templates.exists()


def test_the_name_of_a_template_that_is_always_there_is_said_to_be_taken(templates: Path) -> None:
    """It is a name like any other."""
    with pytest.raises(BuildFailed, match="python is the name of a template"):
        build_template(templates, "python", base="python")


NO_PACKAGES = [
    "",
    ".",
    "..",
    "./evil",
    "../evil",
    "/tmp/evil",
    "packages/../../../../evil",
    "evil/",
    "~/evil",
    "owner/repository",
    "file:evil",
    "file:///tmp/evil",
    "http://example.com/evil",
    "git+https://example.com/evil",
    "github:owner/evil",
    "greeting @ file:///tmp/evil",
    "greeting@./evil",
    "greeting@../evil",
    "greeting@..",
    "greeting@file:evil",
    "greeting@npm:evil",
    "greeting@http://example.com/evil.tgz",
    "evil.tar.gz",
    "evil.tgz",
    "greeting@evil.tgz",
    "-e .",
    "-r",
    "--index-url=http://example.com",
    "greeting --index-url=http://example.com",
    "greeting\n--pre",
    "greeting; os_name == 'posix'",
]


@pytest.mark.parametrize("package", NO_PACKAGES)
@pytest.mark.parametrize("kind", ["pip", "npm"])
def test_what_is_no_name_of_a_package_is_refused(templates: Path, kind: str, package: str) -> None:
    """It would be taken from this machine or from anywhere, and what builds it would run here."""
    chosen: dict[str, list[str]] = {kind: ["greeting", package]}
    with pytest.raises(BuildFailed, match="no name of a package"):
        build_template(templates, "a", base="python", pip=chosen.get("pip", ()), npm=chosen.get("npm", ()))
    assert not templates.exists()


@pytest.mark.parametrize(
    "package",
    [
        "@scope/name",
        "greeting@1.0",
        "greeting==1 --pre",
        "greeting[",
        "greeting[a]b",
        "evil.whl",
        "evil.zip[a]",
    ],
)
def test_what_is_no_name_of_a_python_package_is_refused(templates: Path, package: str) -> None:
    """What pip would take for something else."""
    with pytest.raises(BuildFailed, match="no name of a package"):
        build_template(templates, "a", base="python", pip=[package])


PYTHON = "numpy|zope.interface|uvicorn[standard]|a[b, c]==1.0|pandas>=2,<3|a ~= 1.4|a==1.*|a!=1rc1|a===1+b.2|a==1!2.0"
NODE = "left-pad|@scope/name|@scope/name@1.2.3|a@latest|a@^1.2|a@~1.2|a@>=1 <2|a@*|socket.io|JSONStream|a@1.0-b+c"


@pytest.mark.parametrize(("kind", "packages"), [("pip", PYTHON.split("|")), ("npm", NODE.split("|"))])
def test_names_versions_and_extras_are_taken(
    templates: Path, monkeypatch: pytest.MonkeyPatch, kind: str, packages: list[str]
) -> None:
    """As pip and npm know them; nothing is downloaded here."""
    asked: list[str] = []
    monkeypatch.setattr(building, "_run", lambda command, _: asked.extend(command))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    chosen: dict[str, list[str]] = {kind: packages}
    build_template(templates, "a", base="python", pip=chosen.get("pip", ()), npm=chosen.get("npm", ()))
    assert packages == [each for each in asked if each in packages]


def test_a_folder_that_takes_no_template_is_told() -> None:
    """As any other reason, and not as an error of whoever builds."""
    with pytest.raises(BuildFailed, match="could not be written"):
        build_template(Path("/proc"), "hello", base="bash")


@pytest.mark.slow
def test_only_wheels_are_installed(templates: Path, wheels: Path, tmp_path: Path) -> None:
    """A source package would run its own code on this machine."""
    source = tmp_path / "evil-1.0"
    source.mkdir()
    ran = tmp_path / "ran"
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w')\n")
    shutil.make_archive(str(wheels / "evil-1.0"), "gztar", tmp_path, "evil-1.0")
    with pytest.raises(BuildFailed):
        build_template(templates, "bad", base="python", pip=["evil"])
    assert not ran.exists()


@pytest.mark.slow
def test_packages_of_node_are_built_in_without_their_scripts(
    templates: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be required; what they would do when installed is not done."""
    package = tmp_path / "greeting"
    package.mkdir()
    ran = tmp_path / "ran"
    (package / "package.json").write_text(
        f'{{"name": "greeting", "version": "1.0.0", "scripts": {{"install": "touch {ran}"}}}}'
    )
    (package / "index.js").write_text("module.exports = () => console.log('hello')\n")
    npm = shutil.which("npm")
    assert npm is not None, "this test needs npm: install Node.js"
    subprocess.run([npm, "pack", "--silent"], cwd=package, check=True, stdout=subprocess.DEVNULL)
    with packages_of_node(package / "greeting-1.0.0.tgz") as registry:
        monkeypatch.setenv("npm_config_registry", registry)
        build_template(templates, "hello", base="node", npm=["greeting@^1.0"])
    assert not ran.exists()
    with _boxes(state, templates) as boxes:
        box = boxes.make(template="hello", memory_mib=512)
        done = box.run("require('greeting')()", language="javascript")
        assert b"hello\n" == done.stdout, done.stderr


def test_a_template_is_there_when_it_lies_in_the_folder(templates: Path, state: Path) -> None:
    """Nothing is restarted; one that cannot be used is said, and one that is taken away is gone."""
    with _boxes(state, templates) as boxes:

        def names() -> set[str]:
            return {template.name for template in boxes.local.templates()}

        before = names()
        build_template(templates, "hello", base="bash")
        assert before | {"hello"} == names()
        assert "hello\n" == boxes.make(template="hello").shell("echo hello")
        (templates / "hello" / "template.toml").write_text('base = "cobol"\n')
        assert before == names()
        assert any("hello" in warning for warning in boxes.local.capabilities.warnings)
        shutil.rmtree(templates / "hello")
        assert not any("hello" in warning for warning in boxes.local.capabilities.warnings)


def test_a_name_that_is_no_text_is_told_as_one(templates: Path, state: Path) -> None:
    """Nothing that a terminal obeys, and nothing that cannot be written."""
    for name in (b"\xff", b"a\x1b[31m"):
        folder = templates / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "template.toml").write_text("base = 'bash'")
    with _boxes(state, templates) as boxes:
        told = [warning for warning in boxes.local.capabilities.warnings if "there is no template" in warning]
    assert 2 == len(told)
    assert all(warning.isprintable() for warning in told)


def test_a_root_folder_of_the_operators(templates: Path, state: Path) -> None:
    """Its programs are seen in place of the machine's, and its environment is set."""
    root = templates / "own" / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motto").write_text("hello\n")
    (root / "usr").symlink_to("/usr")
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    template = 'root = "root"\nlanguages = ["bash"]\ndescription = "Ours"\n[env]\nMOTTO = "be brief"\n'
    (templates / "own" / "template.toml").write_text(template)
    (root / "usr").unlink()
    (root / "usr").mkdir()
    for name in ("bin", "lib", "lib64"):
        if Path("/usr", name).is_dir():
            shutil.copytree(
                Path("/usr", name), root / "usr" / name, symlinks=True, ignore=_only_what_is_needed
            )
    with _boxes(state, templates) as boxes:
        assert () == tuple(w for w in boxes.local.capabilities.warnings if "own" in w)
        box = boxes.make(template="own")
        assert "hello\nbe brief\n" == box.shell("cat /etc/motto; echo $MOTTO")
        assert 0 != box.run("echo > /etc/motto; echo > /motto").exit_code


_NEEDED = (
    "bash",
    "cat",
    "python3",
    "ld-linux",
    "libc.so",
    "libm.so",
    "libtinfo",
    "libz.so",
    "libexpat",
    "libffi",
)


def _only_what_is_needed(folder: str, names: list[str]) -> list[str]:
    """What a root for a shell can do without."""
    if "python3" in folder and "site" not in folder:
        return [name for name in names if name.startswith(("__pycache__", "test", "config-"))]
    inner = Path(folder).name
    if inner in {"bin", "lib64"} or inner.endswith("-linux-gnu"):
        return [name for name in names if not name.startswith(_NEEDED)]
    return [name for name in names if not (name.endswith("-linux-gnu") or name.startswith("python3"))]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "base"),
        ("base = 'cobol'", "base"),
        ("base = [", "no template odd"),
        ("root = 'nothing'", "no root folder"),
        ("base = 'bash'\nenv = 1", "table of texts"),
        ("base = {a = 1}", "base"),
        ("base = 1", "base"),
        ('root = "a\\u0000"', "path of a folder"),
        ("root = '/'\nlanguages = [['bash']]", "languages"),
        ("root = '/'\nlanguages = 'bash'", "languages"),
        ("base = 'bash'\n[env]\nA = \"a\\u0000b\"", "table of texts"),
        ("base = 'bash'\n[env]\n'A=B' = 'a'", "table of texts"),
        ("base = 'bash'\n[env]\n'' = 'a'", "table of texts"),
        ("a = " + "[" * 9_000 + "]" * 9_000, "odd"),
    ],
    ids=lambda value: value[:24],
)
def test_a_template_that_cannot_be_used_is_a_warning(
    templates: Path, state: Path, text: str, why: str
) -> None:
    """It is not offered, and it is said why; the others are."""
    (templates / "odd").mkdir(parents=True)
    (templates / "odd" / "template.toml").write_text(text)
    with _boxes(state, templates) as boxes:
        assert "odd" not in [template.name for template in boxes.local.templates()]
        assert [True] == [why in warning for warning in boxes.local.capabilities.warnings if "odd" in warning]
