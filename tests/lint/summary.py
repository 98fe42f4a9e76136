#!/usr/bin/env python3
"""Adds up the results of deploy/test: every GoogleTest case, every Python test case, every other test once.

Usage: summary.py RESULTS_DIR, which holds NAME.xml (ctest's JUnit) and *.broken, *.skipped or `stopped` notes.
Prints the failures and the skips with their reasons, then `N passed, N failed` (and `, N skipped`).
Exit status 0 only when something passed and nothing failed."""
import pathlib
import re
import sys
import xml.etree.ElementTree


def count(output, ok):
    """(passed, failed, skipped) cases in the output of one executable."""
    passed = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) tests?\.", output, re.M)))
    failed = sum(map(int, re.findall(r"^\[  FAILED  \] (\d+) tests?, listed below", output, re.M)))
    skipped = sum(map(int, re.findall(r"^\[  SKIPPED \] (\d+) tests?, listed below", output, re.M)))
    for total, notes in re.findall(r"^Ran (\d+) tests? in [^\n]*\s+(?:OK|FAILED)(?: \(([^\n]*)\))?", output, re.M):
        notes = dict(re.findall(r"(failures|errors|skipped)=(\d+)", notes))
        bad, skip = int(notes.get("failures", 0)) + int(notes.get("errors", 0)), int(notes.get("skipped", 0))
        passed, failed, skipped = passed + int(total) - bad - skip, failed + bad, skipped + skip
    if passed + failed + skipped == 0 or (not ok and failed == 0):
        passed, failed = passed + (1 if ok else 0), failed + (0 if ok else 1)
    return passed, failed, skipped


def sanitizer_reports(output, lines=40):
    """The sanitizers' reports in the output, each cut to so many lines: what a log's end would not show."""
    pattern = r"^(?:WARNING: ThreadSanitizer|==\d+==ERROR: |.*: runtime error: ).*(?:\n.*){0,%d}" % (lines - 1)
    return re.findall(pattern, output, re.M)


def main():
    results = pathlib.Path(sys.argv[1])
    passed = failed = skipped = 0
    for note in sorted(results.glob("*.broken")) + sorted(results.glob("stopped")):
        failed += 1
        print(f"FAILED {note.name}: {note.read_text().strip()}")
    for note in sorted(results.glob("*.skipped")):
        skipped += 1
        print(f"skipped {note.stem}: {note.read_text().strip()}")
    for report in sorted(results.glob("*.xml")):
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            output = case.findtext("system-out") or "".join(case.itertext())
            skip = case.find("skipped")
            if skip is not None and "SKIP_RETURN_CODE" in skip.get("message", ""):
                skipped += 1
                print(f"skipped {report.stem}/{case.get('name')}: {output.strip()[-300:] or 'no reason given'}")
                continue
            if case.get("status") in ("disabled", "notrun"):
                failed += 1
                print(f"NOT RUN {report.stem}/{case.get('name')}: {output.strip()[-300:]}")
                continue
            ok = case.get("status") == "run"
            p, f, s = count(output, ok)
            passed, failed, skipped = passed + p, failed + f, skipped + s
            if not ok:
                print(f"FAILED {report.stem}/{case.get('name')} ({f} cases)")
                for text in sanitizer_reports(output)[:3]:
                    print(text)
            for line in re.findall(r"^(?:.*[Ss]kipped: .*|.*\.\.\. skipped .*|SKIP: .*)$", output, re.M):
                print(f"skipped in {report.stem}/{case.get('name')}: {line.strip()}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
