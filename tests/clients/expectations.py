"""The expected answers: `known_gaps.toml` lists each feature that does not work on Nyala yet, with its reason.

A run is right when exactly the listed features fail. So the list is complete, and it can only get shorter unnoticed
by nobody: a new failure is a regression, and an entry whose feature passes has to go.
"""

import json
import tomllib
from pathlib import Path

FILE = Path(__file__).resolve().parent / "known_gaps.toml"
UNEXPLAINED = "unexplained"
HEAD = """\
# What does not work on Nyala yet, by client and feature, each with the reason. `make clients` fails when another feature
# fails, and when a listed one passes. `make compatibility` rewrites this file from a run: it keeps the reasons of entries
# that stay, and marks new ones "unexplained", which `make clients` refuses.
"""


def load(path=FILE):
    """Reasons by client and feature."""
    tables = tomllib.loads(path.read_text()) if path.exists() else {}
    return {(client, feature): reason for client, table in tables.items() for feature, reason in table.items()}


def save(gaps, path=FILE):
    path.write_text(text(gaps))


def text(gaps):
    """The file: a table per client, in the order of the run."""
    lines, last = [HEAD.rstrip()], None
    for (client, feature), reason in gaps.items():
        if client != last:
            lines += ["", f"[{quoted(client)}]"]
            last = client
        lines.append(f"{quoted(feature)} = {quoted(reason)}")
    return "\n".join(lines) + "\n"


def quoted(value):
    """JSON's strings are strings of TOML too."""
    return json.dumps(value, ensure_ascii=False)


def renewed(gaps, nyala):
    """The list as a run would have it: known reasons are kept."""
    return {key: gaps.get(key, UNEXPLAINED) for key, outcome in nyala.items() if outcome.error}


def complaints(gaps, nyala, postgres, whole=True):
    """What is wrong with a run; `whole` says that all programs ran."""
    found = []
    for (client, feature), outcome in postgres.items():
        if outcome.error:
            found.append(f"PostgreSQL itself fails: {client}: {feature}: {outcome.error}")
    for client, feature in postgres.keys() - nyala.keys():
        found.append(f"no outcome on Nyala: {client}: {feature}")
    for client, feature in nyala.keys() - postgres.keys():
        found.append(f"not proven on PostgreSQL: {client}: {feature}")
    for (client, feature), outcome in nyala.items():
        reason = gaps.get((client, feature))
        if outcome.error and reason is None:
            found.append(f"regression: {client}: {feature}: {outcome.error}")
        if outcome.error and reason == UNEXPLAINED:
            found.append(f"no reason is given in {FILE.name}: {client}: {feature}: {outcome.error}")
        if not outcome.error and reason is not None:
            found.append(f"this works now, take it out of {FILE.name} (`make compatibility`): {client}: {feature}")
    if whole:
        for client, feature in gaps.keys() - nyala.keys():
            found.append(f"{FILE.name} lists what no program tries: {client}: {feature}")
    return found
