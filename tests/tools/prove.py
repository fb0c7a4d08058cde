# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Runs what proves the project, step by step, and says what each step took and which failed.

``prove.py check`` is the part for every edit; ``package`` installs the built collection elsewhere; ``scenarios`` runs
molecule on systemd hosts. Steps after a failed one still run, except scenarios after a failed check. Ends with
"N passed, M failed": tests where a step runs pytest, otherwise steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

CHECKOUT = Path(__file__).resolve().parents[2]
REPORTS = CHECKOUT / ".cache/reports"
PYTHON = sys.executable
TOOLS, LAB = "tests/tools", "tests/lab/lab.py"


@dataclass(frozen=True)
class Step:
    """A command that proves something; one that fails is a failure of the step."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What became of a step."""

    name: str
    passed: int
    failed: int
    seconds: float


def step(name: str, *command: str) -> Step:
    """A Step of a command's words."""
    return Step(name, command)


CHECK = (  # the longest first: two at a time
    step("sanity", PYTHON, f"{TOOLS}/sanity.py"),
    step("roles and playbooks", "ansible-lint", "--offline", "--profile", "production"),
    step("ruff", "ruff", "check", "."),
    step("format", "ruff", "format", "--check", "."),
    step("types", "mypy"),
    step("yaml", "yamllint", "--strict", "."),
    step("unit tests", PYTHON, "-m", "pytest", "-q", "tests/unit"),
    step("core without Ansible", f"{TOOLS}/core-alone"),
    step("changelog", "antsibull-changelog", "lint"),
    step("docs", PYTHON, f"{TOOLS}/docs.py"),
)
PACKAGE = (step("package", f"{TOOLS}/package"),)
SCENARIOS = (
    step("images", PYTHON, LAB, "images"),
    step("scenario default", "molecule", "test", "-s", "default", "--destroy=never"),
    step("scenario change", "molecule", "test", "-s", "change"),
    step("scenario bookworm", "molecule", "test", "-s", "bookworm"),
    step("scenario faults", "molecule", "test", "-s", "faults"),
)
# which are also their clusters' names
SCENARIO_NAMES = tuple(one.command[3] for one in SCENARIOS if one.command[:3] == ("molecule", "test", "-s"))


def run(one: Step, together: bool = False) -> Result:
    """Run a step. Its output is shown as it comes or, when others run together with it, whole at its end."""
    title = f"== {one.name}: {' '.join(Path(word).name for word in one.command)}"
    report = REPORTS / f"{one.name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    env = {**os.environ, "PYTEST_ADDOPTS": f"--junitxml={report}", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
    print(f"{title} ..." if together else f"\n{title}", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        one.command,
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if together else None,
        stderr=subprocess.STDOUT if together else None,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    passed, failed = count(report) if report.exists() else (0, 0)
    if done.returncode:
        failed = failed or 1
    else:
        passed = passed or 1
    verdict = f"== {one.name}: {f'FAILED, exit code {done.returncode}' if done.returncode else 'ok'}, {seconds:.1f} s"
    print(f"\n{title}\n{done.stdout.rstrip()}\n{verdict}\n" if together else verdict, flush=True)
    return Result(one.name, passed, failed, seconds)


def count(report: Path) -> tuple[int, int]:
    """Passed and failed tests of a pytest report."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failed, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return total - failed - skipped, failed


def prove(parts: list[str]) -> list[Result]:
    """Run the named parts in order; returns what became of each step."""
    results: list[Result] = []
    if "check" in parts:
        with ThreadPoolExecutor(2) as pool:
            results += pool.map(lambda one: run(one, together=True), CHECK)
    if "package" in parts:
        results += map(run, PACKAGE)
    if "scenarios" in parts:
        if any(result.failed for result in results):
            print("\n== scenarios: not run, a check failed before", flush=True)
            return results
        clear()
        try:
            results += map(run, SCENARIOS)
        finally:
            clear()
    return results


def clear() -> None:
    """Remove the scenarios' hosts, and what molecule remembers of them: it believes in hosts that are long gone, even of
    another checkout at the same place."""
    for name in SCENARIO_NAMES:
        subprocess.run([PYTHON, LAB, "down", name], cwd=CHECKOUT, check=False)
        subprocess.run(["molecule", "reset", "-s", name], cwd=CHECKOUT, check=False, capture_output=True)


def main() -> int:
    """Run what is asked for, then a summary; exit code 1 when a step failed."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = prove(sys.argv[1:] or ["check"])
    print()
    for one in results:
        verdict = "FAILED" if one.failed else "ok"
        print(f"{verdict:6}  {one.name:22} {one.seconds:7.1f} s  {one.passed} passed, {one.failed} failed")
    failed = sum(one.failed for one in results)
    summary = f"{sum(one.passed for one in results)} passed, {failed} failed"
    (REPORTS / "summary").write_text(summary + "\n", encoding="utf-8")
    print(f"\n{summary}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
