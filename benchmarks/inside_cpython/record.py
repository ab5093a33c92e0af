"""CPython's own test runner, with every outcome written down.

Runs *inside the interpreter under test*, in place of ``python -m test``; so it
uses nothing but the standard library, and nothing of this project.

    python record.py OUTCOMES.jsonl [what `python -m test` takes]

Each outcome is one line of JSON: the test's id, the outcome, and the traceback
or the reason.  The runner's own ``--junit-xml`` is not used because it loses
the failures of subtests and of ``setUpClass``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

try:
    from test.libregrtest import testresult
except ImportError:  # before 3.11.5
    from test.support import testresult

if TYPE_CHECKING:
    import unittest

    Result = unittest.TextTestResult
else:
    Result = testresult.RegressionTestResult


class RecordingResult(Result):
    """The runner's result class, which also writes each outcome to a file."""

    # Opened by number and written at once: a test that forks or crashes can
    # neither write a line twice nor lose one.
    output = -1

    def _record(self, test: Any, outcome: str, detail: str = "") -> None:
        # A subtest counts for the test it is part of: its own id may hold
        # addresses and temporary paths.
        test = getattr(test, "test_case", test)
        name = test.id() if hasattr(test, "id") else str(test)
        line = json.dumps({"id": name, "outcome": outcome, "detail": detail})
        os.write(self.output, line.encode() + b"\n")

    def addSuccess(self, test: Any) -> None:
        self._record(test, "passed")
        super().addSuccess(test)

    def addError(self, test: Any, err: Any) -> None:
        self._record(test, "error", _text(err))
        super().addError(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._record(test, "failed", _text(err))
        super().addFailure(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self._record(test, "skipped", str(reason))
        super().addSkip(test, reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._record(test, "failed as expected", _text(err))
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._record(test, "passed unexpectedly")
        super().addUnexpectedSuccess(test)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._record(test, "failed" if failed else "error", f"{subtest}\n{_text(err)}")
        super().addSubTest(test, subtest, err)


def _text(err: Any) -> str:
    return "".join(traceback.format_exception(*err))


def main() -> None:
    """Run CPython's test runner with the recording result class in place."""
    RecordingResult.output = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    testresult.RegressionTestResult = RecordingResult
    del sys.argv[1]

    from test.libregrtest.main import main as run  # after the class is in place

    run()


if __name__ == "__main__":
    main()
