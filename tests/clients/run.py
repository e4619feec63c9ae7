"""Runs all client programs against a fresh Nyala and a fresh PostgreSQL 15, and compares with the expected answers.

`make clients` checks; `make compatibility` (`--update`) writes known_gaps.toml and docs/compatibility.md from the run.
Names of programs as arguments choose some. Nothing is skipped: a missing client fails.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import compatibility
import expectations
import programs
import servers

# The slowest features are shown when they take longer.
SLOW_SECONDS = 5.0


def arguments(names):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which programs: {', '.join(names)}; all if none is named")
    parser.add_argument("--update", action="store_true", help="write the expected answers from this run")
    parser.add_argument("--verbose", action="store_true", help="show the errors of known gaps too")
    parser.add_argument("--outcomes", type=Path, help="a file for all outcomes on Nyala, as lines of JSON")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(names):
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    if chosen.update and chosen.names:
        parser.error("an update needs all programs")
    return chosen


def main():
    with tempfile.TemporaryDirectory(prefix="nyala-clients-java-") as classes:
        every = programs.programs(Path(classes))
        options = arguments([program.name for program in every])
        chosen = [program for program in every if not options.names or program.name in options.names]
        programs.compile_java(classes)
        with servers.postgres() as oracle, servers.nyala() as server:
            postgres, wrong = timed(chosen, oracle, oracle)
            nyala, more = timed(chosen, server, oracle)
            panics = [line for line in server.log.read_text(errors="replace").splitlines() if "panicked" in line]
    wrong += more + [f"Nyala's log: {line}" for line in panics]
    report(nyala, options.verbose)
    if options.outcomes:
        lines = [{"client": client, "feature": feature, **vars(one)} for (client, feature), one in nyala.items()]
        options.outcomes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if options.update:
        # A run that is broken in itself must not become what is expected.
        return finish(wrong + update(nyala, postgres), nyala)
    gaps = expectations.load()
    wrong += expectations.complaints(gaps, nyala, postgres, whole=not options.names)
    if not options.names and not wrong:
        expected = compatibility.page(nyala, postgres, gaps)
        if not compatibility.FILE.exists() or compatibility.FILE.read_text() != expected:
            wrong.append(f"{compatibility.FILE.name} is not what the run found: `make compatibility` writes it")
    return finish(wrong, nyala)


def timed(chosen, server, oracle):
    began = time.monotonic()
    outcomes, wrong = programs.run_all(chosen, server, oracle)
    print(f"{server.name}: {compatibility.passed(outcomes.values())} of {len(outcomes)}, {time.monotonic() - began:.0f} s", flush=True)
    return outcomes, wrong


def update(nyala, postgres):
    gaps = expectations.renewed(expectations.load(), nyala)
    broken = [line for line in expectations.complaints(gaps, nyala, postgres) if "no reason is given" not in line]
    if not broken:
        expectations.save(gaps)
        compatibility.FILE.parent.mkdir(exist_ok=True)
        compatibility.FILE.write_text(compatibility.page(nyala, postgres, gaps))
    for (client, feature), reason in gaps.items():
        if reason == expectations.UNEXPLAINED:
            print(f"give a reason in {expectations.FILE.name}: {client}: {feature}: {nyala[client, feature].error}")
    return broken


def report(nyala, verbose):
    for (client, feature), outcome in nyala.items():
        if outcome.error and verbose:
            print(f"  {client}: {feature}: {outcome.error}")
        if outcome.seconds > SLOW_SECONDS:
            print(f"  slow, {outcome.seconds:.0f} s: {client}: {feature}")


def finish(wrong, nyala):
    for line in wrong:
        print(f"FAILED {line}")
    print(f"{len(nyala) - len(wrong) if len(wrong) < len(nyala) else 0} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.Broken as broken:
        print(f"FAILED {broken}\n0 passed, 1 failed")
        sys.exit(1)
