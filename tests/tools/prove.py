# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Runs what proves the project, step by step, and says what each step took and which failed.

``prove.py check`` is the part for every edit; ``package`` installs the built collection elsewhere; ``scenarios`` runs
molecule on systemd hosts; ``more`` runs what guards no rule of safety or security, and writes docs/more.md. Where there are
checks too, the scenario without faults runs beside them, which is mostly waiting. Steps after a failed one still run, except
other scenarios after a failed check. Ends with "N passed, M failed": tests where a step runs pytest, otherwise steps. After
scenarios it says where their minutes went.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import minutes

CHECKOUT = Path(__file__).resolve().parents[2]
REPORTS = CHECKOUT / ".cache/reports"
PLAYED = REPORTS / "played.jsonl"  # what each run of a playbook took
PYTHON = sys.executable
TOOLS, LAB = "tests/tools", "tests/lab/lab.py"
ROOM = "room for pods"
PODS, SPACE, SCENE = "kubernetes", "pgherd-test", "tests/lab/kubernetes/scene.py"  # the scenario in pods, its namespace


@dataclass(frozen=True)
class Step:
    """A command that proves something; one that fails is a failure of the step."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a step."""

    name: str
    passed: int
    failed: int
    seconds: float
    phases: list[minutes.Span] = field(default_factory=list)  # of a scenario


def step(name: str, *command: str, **env: str) -> Step:
    """A Step of a command's words, with more in its environment."""
    return Step(name, command, env)


CHECK = (  # the longest first: two at a time
    step("sanity", PYTHON, f"{TOOLS}/sanity.py", "--skip-test", "pylint"),
    step("core without Ansible", f"{TOOLS}/core-alone"),
    step("roles and playbooks", "ansible-lint", "--offline", "--profile", "production"),
    step("unit tests of the rest", PYTHON, "-m", "pytest", "-q", "tests/unit", "--ignore=tests/unit/pgherd"),
    step("ruff", "ruff", "check", "."),
    step("format", "ruff", "format", "--check", "."),
    step("types", "mypy"),
    step("names in tests", "mypy", "--config-file", "tests/mypy.ini"),
    step("yaml", "yamllint", "--strict", "."),
    step("changelog", "antsibull-changelog", "lint"),
    step("docs", PYTHON, f"{TOOLS}/docs.py"),
)
PACKAGE = (step("package", f"{TOOLS}/package"),)
BESIDE = (
    step("images", PYTHON, LAB, "images"),
    step("scenario bookworm", "molecule", "test", "-s", "bookworm"),
)
SCENARIOS = (
    step("scenario faults", "molecule", "test", "-s", "faults", "--destroy=never"),
    step("scenario change", "molecule", "test", "-s", "change"),
)
MORE = (
    step("sanity, pylint", PYTHON, f"{TOOLS}/sanity.py", "--test", "pylint"),
    step("images", PYTHON, LAB, "images"),
    step("scenario default", "molecule", "test", "-s", "default", "--destroy=never"),
    step("more of change", "molecule", "test", "-s", "change", PGHERD_TESTS="more", PGHERD_CHANGED="default"),
    step(
        "more of bookworm",
        *("molecule", "test", "-s", "bookworm"),
        PGHERD_TESTS="more",
        PGHERD_SEQUENCE="[destroy, create, converge, idempotence, verify, destroy]",
    ),
    step(ROOM, PYTHON, LAB, "down", "default"),  # the machine is Kubernetes' then
    step("scenario kubernetes", "molecule", "test", "-s", PODS),
)
# which are also their clusters' names
SCENARIO_NAMES = tuple(sorted({one.command[3] for one in BESIDE + SCENARIOS + MORE if one.command[0] == "molecule"}))


def run(one: Step, together: bool = False) -> Result:
    """Run a step. Its output is shown as it comes or, when others run together with it, whole at its end."""
    title = f"== {one.name}: {' '.join(Path(word).name for word in one.command)}"
    where = report(one.name)
    where.unlink(missing_ok=True)
    env = {**os.environ, **one.env, "PYTEST_ADDOPTS": f"--junitxml={where}", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
    if one.command[0] == "molecule":
        env |= minutes.environment(PLAYED)
    print(f"{title} ..." if together else f"\n{title}", flush=True)
    started, said, phases = time.monotonic(), [], minutes.Phases()

    def take(line: str) -> None:
        phases.see(time.time(), line)
        said.append(line) if together else print(line, end="", flush=True)

    code = follow(one.command, env, take)
    seconds = time.monotonic() - started
    passed, failed = count(where) if where.exists() else (0, 0)
    if code:
        failed = failed or 1
    else:
        passed = passed or 1
    verdict = f"== {one.name}: {f'FAILED, exit code {code}' if code else 'ok'}, {seconds:.1f} s"
    print(f"\n{title}\n{''.join(said).rstrip()}\n{verdict}\n" if together else verdict, flush=True)
    return Result(one.name, passed, failed, seconds, phases.spans)


def follow(command: tuple[str, ...], env: dict[str, str], take: Callable[[str], None]) -> int:
    """Run a command and give each line that it prints to *take*; its exit code. What it leaves running is not waited for."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    reader = threading.Thread(target=lambda: [take(line) for line in process.stdout or ()], daemon=True)
    reader.start()
    code = process.wait()
    reader.join(2)  # seconds, for what it said last
    return code


def report(name: str) -> Path:
    """Where pytest leaves what became of the tests of the step of that name."""
    return REPORTS / f"{name.replace(' ', '-')}.xml"


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
    quick = [*(CHECK if "check" in parts else ()), *(PACKAGE if "package" in parts else ())]
    pods = "more" in parts
    if pods or "scenarios" in parts:
        clear(pods)
    try:
        with ThreadPoolExecutor(2) as two, ThreadPoolExecutor(1) as hosts:
            beside = [hosts.submit(run, one) for one in BESIDE if "scenarios" in parts]
            results = list(two.map(lambda one: run(one, together=True), quick))
        failed = any(result.failed for result in results)
        results += [one.result() for one in beside]
        for part, steps in (("scenarios", SCENARIOS), ("more", MORE)):
            if part not in parts:
                continue
            if failed:
                print(f"\n== {part}: not run, a check failed before", flush=True)
                continue
            found = list(map(run, steps))
            if part == "more":
                record(found)
            results += found
    finally:
        if pods or "scenarios" in parts:
            clear(pods)
    return results


def record(results: list[Result]) -> None:
    """Write into docs/more.md what became of the steps of ``more``."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    rows = [(one.name, one.passed, one.failed, one.seconds) for one in results if one.name not in ("images", ROOM)]
    page = CHECKOUT / "docs/more.md"
    page.write_text(
        minutes.recorded(page.read_text("utf-8"), date.today(), said.stdout.strip(), rows), encoding="utf-8"
    )


def clear(pods: bool = False) -> None:
    """Remove the scenarios' hosts, and *pods* where that is asked, and what molecule remembers of them: it believes in hosts
    that are long gone, even of another checkout at the same place."""
    if pods:
        subprocess.run([PYTHON, SCENE, "down", PODS, SPACE], cwd=CHECKOUT, check=False)
    for name in SCENARIO_NAMES:
        subprocess.run([PYTHON, LAB, "down", name], cwd=CHECKOUT, check=False)
        subprocess.run(["molecule", "reset", "-s", name], cwd=CHECKOUT, check=False, capture_output=True)


def where_the_minutes_went(results: list[Result]) -> str:
    """A table of the scenarios among *results*, and their slowest tests; nothing where none ran."""
    scenarios = {one.name.removeprefix("scenario "): (one.seconds, one.phases) for one in results if one.phases}
    slowest = minutes.slowest(report(one.name) for one in results if one.phases)
    lines = [f"{seconds:7.1f} s  {test}" for seconds, test in slowest]
    return "\n".join(["", minutes.table(scenarios, minutes.runs(PLAYED)), "", *lines]) if scenarios else ""


def main() -> int:
    """Run what is asked for, then a summary; exit code 1 when a step failed."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    PLAYED.unlink(missing_ok=True)
    results = prove(sys.argv[1:] or ["check"])
    print()
    for one in results:
        verdict = "FAILED" if one.failed else "ok"
        print(f"{verdict:6}  {one.name:22} {one.seconds:7.1f} s  {one.passed} passed, {one.failed} failed")
    print(where_the_minutes_went(results))
    failed = sum(one.failed for one in results)
    summary = f"{sum(one.passed for one in results)} passed, {failed} failed"
    (REPORTS / "summary").write_text(summary + "\n", encoding="utf-8")
    print(f"\n{summary}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
