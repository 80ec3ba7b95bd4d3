"""Looks the installed packages up in the advisory database: `audit.py [COMMAND...]`, by default pip-audit.

Exits with 1 for a known vulnerability, and where pip-audit breaks. Where the database cannot be reached, as on a
machine without a network, it says so in a line that nobody can overlook and exits with 0: that is no finding.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

ACCEPTED: dict[str, str] = {}
"""Findings that are known and do not concern us: the id of the advisory, and why."""

SECONDS = 240
COMMAND = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "-f", "json"]
UNREACHABLE = re.compile(
    r"connection ?(error|refused|reset|aborted|broken)|max retries|timed? ?out|temporary failure in name resolution"
    r"|name or service not known|network is unreachable|proxyerror|sslerror|\b50[0-4] (server error|bad gateway)"
    r"|service unavailable|failed to (connect|resolve)",
    re.IGNORECASE,
)


def main() -> int:
    """The exit status."""
    try:
        done = subprocess.run(sys.argv[1:] or COMMAND, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return unreachable(f"no answer within {SECONDS} s")
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if UNREACHABLE.search(done.stderr):
            return unreachable(last[:200])
        print(f"{done.stderr}\npip-audit broke (status {done.returncode})", file=sys.stderr)
        return 1
    findings = [(package, found) for package in packages for found in package.get("vulns", ())]
    open_findings = [(package, found) for package, found in findings if not names(found) & ACCEPTED.keys()]
    for package, found in open_findings:
        fixed = ", ".join(found.get("fix_versions") or ["no version"])
        print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}", file=sys.stderr)
    if open_findings:
        return 1
    unknown = [package["name"] for package in packages if package.get("skip_reason")]
    if len(unknown) == len(packages):
        return unreachable(f"it knows none of {len(packages)} packages")
    left = f"; {len(unknown)} not looked up: {', '.join(unknown)}" if unknown else ""
    print(f"no known vulnerability in {len(packages) - len(unknown)} packages{left}")
    return 0


def names(found: dict[str, Any]) -> set[str]:
    """An advisory's id and its aliases."""
    return {found["id"], *found.get("aliases", ())}


def unreachable(why: str) -> int:
    """Says that nothing was audited."""
    loud = f"*** NOT AUDITED: the advisory database cannot be reached ({why}). Run `make audit` with a network. ***"
    print(f"\033[1;33m{loud}\033[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else loud, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
