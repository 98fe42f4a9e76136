#!/usr/bin/env python3
"""The contract against the real vecinod: every RPC that the server has by reflection, and every error that the .proto
files document, has a test here or a reason why not. See registry.py for how a case is written, README.md for the rest.

conformance_test.py [--list] [PART OF A CASE'S NAME]...
"""

import argparse
import copy
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import client_support  # noqa: E402

try:
    import grpc  # noqa: F401
except ImportError as error:
    client_support.skip(f"{error}; set VECINO_TEST_PYTHON to a Python with tests/requirements.txt")

import bad_input  # noqa: E402
import cases_collections  # noqa: E402, F401
import cases_documents  # noqa: E402, F401
import cases_migrations  # noqa: E402, F401
import cases_search  # noqa: E402, F401
import cases_snapshots  # noqa: E402, F401
import contract  # noqa: E402
import registry  # noqa: E402
import strain  # noqa: E402
import world  # noqa: E402


def gaps(methods, documented, cases):
    """What is missing, as lines: RPCs without a test, documented errors with neither test nor reason, errors that a test
    provokes and no comment names, reasons that are out of date."""
    provoked = {(case.rpc, case.code) for case in cases if case.code != bad_input.ANY}
    tested = {(case.rpc, case.code) for case in cases if not case.general}
    missing = [f"{rpc} has no test: write one with @covers(\"{rpc}\")" for rpc in sorted(methods) if (rpc, None) not in tested]
    missing += [f"a test covers {rpc}, which the server does not have" for rpc in sorted({c.rpc for c in cases} - set(methods))]
    known = set(documented.own)
    missing += [f"the server has {rpc}, which no .proto file has" for rpc in sorted(set(methods) - known)]
    missing += [f"{rpc} is in the .proto files and not in the server" for rpc in sorted(known - set(methods))]
    for rpc in sorted(set(methods) & known):
        wanted = {code for code in documented.own[rpc] if (rpc, code) not in tested}
        wanted |= {code for code in documented.service[rpc] if (rpc, code) not in provoked}
        missing += [f"{rpc} documents {code}: write a case of it, or excuse() it with a reason"
                    for code in sorted(wanted) if not registry.excused(rpc, code)]  # fmt: skip
        missing += [f"{rpc} fails with {code} in a test, which neither its comment nor its service's names"
                    for code in sorted(code for of, code in provoked if of == rpc and code)
                    if code not in documented.named[rpc]]  # fmt: skip
    for (rpc, code), reason in registry.EXCEPTIONS.items():
        if (rpc, code) in tested:
            missing.append(f"{rpc} {code} is excused ({reason}) and has a test")
        elif not rpc.endswith("/*") and code not in documented.own.get(rpc, set()) | documented.service.get(rpc, set()):
            missing.append(f"{rpc} {code} is excused ({reason}) and not documented")
    return missing


def check_gaps(methods, documented, cases):
    """That gaps() sees an RPC without a test, an error without one, and one that no comment names."""
    rpc = "vecino.v1.DocumentService/CreateDocument"
    for code, expected in ((None, f"{rpc} has no test"), ("ALREADY_EXISTS", f"{rpc} documents ALREADY_EXISTS")):
        found = gaps(methods, documented, [case for case in cases if (case.rpc, case.code) != (rpc, code)])
        assert any(line.startswith(expected) for line in found), f"a missing test of {rpc} {code} is not noticed"
    found = gaps(methods, documented, [*cases, registry.Case(rpc, "DATA_LOSS", "an error that is not documented", None)])
    assert any(line.startswith(f"{rpc} fails with DATA_LOSS") for line in found), "an error that no comment names is not noticed"
    general = [case for case in cases if (case.rpc, case.code) != (rpc, "INVALID_ARGUMENT") or case.general]
    found = gaps(methods, documented, general)
    assert any(line.startswith(f"{rpc} documents INVALID_ARGUMENT") for line in found), "what every method gets stands for a test"
    new = "vecino.v1.DocumentService/NewMethod"
    more = copy.deepcopy(documented)
    more.own[new], more.service[new], more.named[new] = {"DATA_LOSS"}, set(), {"DATA_LOSS"}
    found = gaps({*methods, new}, more, cases)
    assert len([line for line in found if new in line]) == 2, "a new RPC without tests is not noticed"


def run(cases, argument, wanted):
    """Runs each case with `argument`; returns how many passed, the names of those that failed, and how many were left
    out: for want of a model, or as known to fail."""
    passed, failed, left_out = 0, [], 0
    for case in cases:
        if wanted and not any(part in str(case) for part in wanted):
            continue
        if case.needs_model and not argument.models:
            left_out += 1
            continue
        try:
            case.run(argument)
        except Exception as error:
            if str(case) in registry.KNOWN:
                print(f"KNOWN {case}: {registry.KNOWN[str(case)]}", flush=True)
                left_out += 1
                continue
            failed.append(str(case))
            place = traceback.extract_tb(error.__traceback__)[1:]
            where = " < ".join(f"{pathlib.Path(one.filename).name}:{one.lineno}" for one in reversed(place[-3:]))
            print(f"FAILED {case}\n    {type(error).__name__}: {str(error)[:1500]}\n    at {where}", flush=True)
        else:
            if str(case) in registry.KNOWN:
                failed.append(str(case))
                print(f"FAILED {case}\n    it passes: take it out of the known bugs", flush=True)
            else:
                passed += 1
    return passed, failed, left_out


def main():
    parser = argparse.ArgumentParser(description="every RPC and every documented error")
    parser.add_argument("--list", action="store_true", help="print all cases and what is excused, run nothing")
    parser.add_argument("part", nargs="*", help="run only cases with this in their name")
    options = parser.parse_args()
    begin = time.monotonic()
    documented = contract.Documented(client_support.SOURCE / "proto")
    models = client_support.model_root()
    if not models:
        print("no model (VECINO_MODEL_ROOT): cases that need one are left out", flush=True)
    with client_support.Workspace(models) as workspace:
        made = world.World(workspace.server, models)
        cases = registry.CASES + bad_input.cases(made.contract)
        strained = strain.cases(made.contract)
        missing = gaps(made.contract.methods, documented, cases + strained)
        check_gaps(made.contract.methods, documented, cases + strained)
        if options.list:
            for case in cases + strained:
                print(case)
            for (rpc, code), reason in registry.EXCEPTIONS.items():
                print(f"excused: {rpc} {code}: {reason}")
        for line in missing:
            print(f"MISSING {line}", flush=True)
        if options.list:
            return 1 if missing else 0
        passed, failed, left_out = run(cases, made, options.part)
        if workspace.server.process.poll() is not None:
            failed.append("the server is still there at the end")
            print(f"FAILED the server ended with {workspace.server.process.returncode}; {workspace.server.log_path}")
    more = strain.run(strained, models, options.part, run)
    passed, failed, left_out = passed + more[0], failed + more[1], left_out + more[2]
    pairs = {(case.rpc, case.code) for case in cases + strained if case.code not in (None, bad_input.ANY)}
    print(
        f"{len(made.contract.methods)} RPCs, {len(pairs)} pairs of RPC and error, {len(registry.EXCEPTIONS)} excused; "
        f"{passed} cases passed, {len(failed)} failed, {left_out} left out, {len(missing)} missing "
        f"({time.monotonic() - begin:.0f} s)"
    )
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
