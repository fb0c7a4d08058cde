# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Checks of what a reader meets: links lead somewhere, every module has its page, meta/runtime.yml names them all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from sanity import CHECKOUT, files

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Anchors of a Markdown page, by the rule of the usual code hosts."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _dead_links() -> Iterator[str]:
    for name in sorted(name for name in files() if name.suffix == ".md"):
        page = CHECKOUT / name
        for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            path, _hash, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            if not target.exists():
                yield f"{name}: {link} leads nowhere"
            elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
                yield f"{name}: {link}: no such heading in {target.name}"


def _modules() -> list[str]:
    paths = sorted((CHECKOUT / "plugins/modules").glob("*.py"))
    return [path.stem for path in paths if Path("plugins/modules") / path.name in files()]


def _undocumented(modules: list[str]) -> Iterator[str]:
    names = [f"pgherd.cluster.{module}" for module in modules]
    done = subprocess.run(["ansible-doc", "--json", *names], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"ansible-doc: {done.stderr.strip()}"
        return
    pages = json.loads(done.stdout)
    for name in names:
        page = pages.get(name, {})
        for part in ("doc", "examples", "return"):
            if not page.get(part):
                yield f"{name}: ansible-doc shows no {part}"


def _ungrouped(modules: list[str]) -> Iterator[str]:
    runtime = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text(encoding="utf-8"))
    grouped = set(runtime["action_groups"]["all"])
    for module in sorted(grouped ^ set(modules)):
        said = "is in no action group" if module in modules else "is in an action group but does not exist"
        yield f"meta/runtime.yml: {module} {said}"


def main() -> int:
    """Print every finding; exit code 1 when there is one."""
    modules = _modules()
    findings = [*_dead_links(), *_undocumented(modules), *_ungrouped(modules)]
    print("\n".join(findings) or f"links, {len(modules)} modules and meta/runtime.yml are in order")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
