# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""README.md says what is so: its picture, figures, commands, ports and requirements. docs/README.md names every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = re.findall(r"^\| \*\*([\d.]+ \S+)\*\*(.*)\[\w+\]\((docs/\w+\.md)\) \|$", PAGE, re.MULTILINE)


def test_the_picture_is_the_one_that_is_drawn() -> None:
    golden = (ROOT / "tests/unit/pgherd/golden/node_stopped.txt").read_text(encoding="utf-8")
    assert f"```text\n{golden}```" in PAGE


def test_there_are_four_figures() -> None:
    assert len(FIGURES) == 4


@pytest.mark.parametrize(("figure", "row", "page"), FIGURES, ids=[figure for figure, _row, _page in FIGURES])
def test_figures_are_those_of_their_page(figure: str, row: str, page: str) -> None:
    """Every number of the row stands on the page that the row names, so that none outlives its measurement."""
    text = (ROOT / page).read_text(encoding="utf-8")
    told = [
        figure if "%" in figure else figure.split()[0],
        *re.findall(r"(?<![\w.=])\d[\d ]*(?:\.\d+)?(?![\w.])", row.split("`")[0]),
    ]
    missing = [number for number in map(str.strip, told) if number != "0" and not re.search(rf"\b{number}(?!\d)", text)]
    assert missing == []


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = [*re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S), *re.findall(r"`([^`\n]+)`", PAGE)]
    named = set(re.findall(r"^make (?:-s )?([a-z-]+)", "\n".join(code), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_playbook_is_there_and_named() -> None:
    there = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - {"reachable", "health"}
    assert set(re.findall(r"ansible-playbook -i inventory.yml pgherd\.cluster\.(\w+)", PAGE)) == there


def test_the_tarball_has_the_version() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    assert set(re.findall(r"pgherd-cluster-([\d.]+)\.tar\.gz", PAGE)) == {version}


def test_ports_are_the_defaults() -> None:
    defaults = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
    ports = {str(defaults[f"cluster_{name}_port"]) for name in ("pgpool", "agent", "peer")} | {
        str(defaults["cluster_port"])
    }
    table = PAGE.split("| port | open on | for |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| (\d+) \|", table, re.MULTILINE)) == ports | {"22"}
    assert f"control port {defaults['cluster_pcp_port']} " in PAGE


def test_requirements_are_those_that_are_declared() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| control machine |"))
    ansible = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    needed = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["dependencies"]["community.postgresql"]
    python = re.findall(r"^(\w+)>=(\S+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    said = [
        ("ansible-core", ansible),
        ("`community.postgresql`", needed),
        *((f"`{name}`", least) for name, least in python),
    ]
    for name, least in said:
        assert f"{name} {re.sub(r'^>=|[.]0$', '', least)} or later" in row


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.*")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w.-]+?)(?:#[\w-]+)?\)", index))
