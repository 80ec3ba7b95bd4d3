"""The audit fails for a finding, and for nothing that a machine without a network lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"
FINE = {"name": "fine", "version": "1.0", "vulns": []}
SKIPPED = {"name": "private", "skip_reason": "Dependency not found on PyPI and could not be audited: private (1.0)"}
FOUND = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"], "description": "bad"}
BAD = {"name": "bad", "version": "1.0", "vulns": [FOUND]}


def audit(output: str, error: str = "", status: int = 0) -> tuple[int, str, str]:
    program = f"import sys; sys.stdout.write({output!r}); sys.stderr.write({error!r}); sys.exit({status})"
    done = subprocess.run(
        [sys.executable, str(AUDIT), sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_finding_fails() -> None:
    status, _, error = audit(report(FINE, BAD, SKIPPED), "Found 1 known vulnerability", 1)
    assert status == 1
    assert error.splitlines() == ["bad 1.0: GHSA-1, fixed in 1.1"]


def test_no_finding_passes_and_says_what_was_not_looked_up() -> None:
    status, output, error = audit(report(FINE, SKIPPED))
    assert (status, error) == (0, "")
    assert output == "no known vulnerability in 1 packages; 1 not looked up: private\n"


@pytest.mark.parametrize(
    ("output", "error", "status"),
    [
        ("", "requests.exceptions.ConnectionError: HTTPSConnectionPool(...): Max retries exceeded with url: /x\n", 1),
        ("", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed: Connection refused\n", 1),
        ("", "urllib3.exceptions.NameResolutionError: Temporary failure in name resolution\n", 1),
        ("", "ERROR:pip_audit._cli:Tried to connect to PyPI but timed out\n", 1),
        (report(SKIPPED, SKIPPED), "No known vulnerabilities found\n", 0),  # a mirror that has no advisories
    ],
)
def test_a_database_that_is_out_of_reach_is_said_loudly(output: str, error: str, status: int) -> None:
    code, said, loud = audit(output, error, status)
    assert (code, said) == (0, "")
    assert "*** NOT AUDITED: the advisory database cannot be reached" in loud


def test_a_broken_audit_fails() -> None:
    for output in ("", "[]", "not json"):
        status, _, error = audit(output, "Traceback ...\nTypeError: something else\n", 1)
        assert status == 1
        assert "pip-audit broke" in error


def test_check_runs_it() -> None:
    makefile = (AUDIT.parents[1] / "Makefile").read_text()
    recipe = makefile.split("\ncheck:")[1].split("\n\n")[0]
    assert ".ci/audit.py" in recipe
