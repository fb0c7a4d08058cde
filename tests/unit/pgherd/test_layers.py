# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core's folders import in one direction, the one that docs/architecture.md draws."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "plugins/module_utils/pgherd"
LAYERS = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_folder_is_drawn() -> None:
    assert sorted(LAYERS) == sorted(path.parent.name for path in CORE.glob("*/__init__.py"))


@pytest.mark.parametrize("path", sorted(CORE.glob("*/**/*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_imports_go_up(path: Path) -> None:
    parts = path.relative_to(CORE).parts
    above = LAYERS[: LAYERS.index(parts[0])]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == len(parts):
            for folder in [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]:
                assert folder not in LAYERS or folder in above, (
                    f"line {node.lineno} imports {folder}/, which stands below"
                )


def imported(path: Path) -> set[Path]:
    """The core's files that one of them imports, wherever in it that stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found |= {base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)}
    return {item for item in found if item.is_file()}


def circles(imports: dict[Path, set[Path]]) -> set[Path]:
    """Those that import themselves by a way over others: what is left when, again and again, all go that import none left."""
    left = dict(imports)
    while ends := [path for path in left if not left[path] & left.keys()]:
        for path in ends:
            del left[path]
    return set(left)


def test_no_file_imports_itself_by_others() -> None:
    assert circles({path: imported(path) for path in CORE.rglob("*.py")}) == set()
    one, two, three = (Path(name) for name in ("one", "two", "three"))
    assert circles({one: {two}, two: {one}, three: set()}) == {one, two}


def named_twice(texts: list[str]) -> set[str]:
    """The classes that more than one of the *texts* of files defines."""
    found = [[node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)] for text in texts]
    every = [name for names in found for name in names]
    return {name for name in every if every.count(name) > 1}


def test_no_class_name_stands_for_two_things() -> None:
    assert named_twice([path.read_text(encoding="utf-8") for path in CORE.rglob("*.py")]) == set()
    assert named_twice(["class One:\n    pass\n", "class One:\n    pass\nclass Two:\n    pass\n"]) == {"One"}


@pytest.mark.parametrize("path", sorted(CORE.glob("places/*/**/*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_places_do_not_know_each_other(path: Path) -> None:
    parts = path.relative_to(CORE).parts
    others = {item.name for item in (CORE / "places").iterdir() if item.is_dir()} - {parts[1]}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == len(parts) - 1:
            assert (node.module or "").split(".")[0] not in others, f"line {node.lineno} knows another place"


# What only a host has, by whatever name: its service manager, its right to be root, its packages, its units.
HOSTS_OWN = re.compile(
    r"\b(systemctl|journalctl|sudo|sudoers|apt|apt-get|dpkg)\b|SystemdServices|postgresql@|\bpgherd-agent\b|\bpgpool2\.service\b"
    r"|\brepmgrd\.service\b|\bbarman-[a-z-]+\.(service|timer)\b|/etc/systemd\b"
)


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CORE.rglob("*.py") if path.relative_to(CORE).parts[:2] != ("places", "host")),
    ids=lambda path: str(path.relative_to(CORE)),
)
def test_only_the_host_knows_what_a_host_has(path: Path) -> None:
    found = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if HOSTS_OWN.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'run(["systemctl", "stop", unit])',
        '"See: journalctl -u x"',
        'SUDO = ("sudo", "--non-interactive")',
        'UNIT = f"postgresql@{version}-main.service"',
        'UNIT = "repmgrd.service"',
        'PATH = "/run/pgherd-agent/command"',
        'UNIT = "pgpool2.service"',
        'TIMER = "barman-backup.timer"',
        "runs = SystemdServices(LocalRunner())",
        'run(["apt-get", "install"])',
    ],
)
def test_that_would_be_seen(line: str) -> None:
    assert HOSTS_OWN.search(line)


@pytest.mark.parametrize("path", sorted(CORE.glob("render/conf_*.py")), ids=lambda path: path.name)
def test_texts_know_nothing_of_what_carries_them(path: Path) -> None:
    imported = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & {"hostfiles", "ports.hostfiles"}
