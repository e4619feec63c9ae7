"""psql's commands: what they print is compared with what they print on a real PostgreSQL.

PGHOST, PGPORT … name the server under test; ORACLE_HOST, ORACLE_PORT, ORACLE_USER, ORACLE_PASSWORD and ORACLE_DATABASE
the PostgreSQL to compare with. Owners and sizes are made equal before comparing."""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from features import feature, main  # noqa: E402

SCRIPTS = {
    "\\d": "SET search_path = ps;\n\\d",
    "\\d+": "SET search_path = ps;\n\\d+",
    "\\d table": "\\d ps.orders",
    "\\d+ table": "\\d+ ps.orders",
    "\\d view": "\\d ps.big",
    "\\d+ view": "\\d+ ps.big",
    "\\d referencing table": "\\d ps.lines",
    "\\d referenced table": "SET search_path = ps;\n\\d orders\n\\d+ lines",
    "\\d materialized view": "\\d ps.by_customer",
    "\\d index": "\\d ps.orders_by_total",
    "\\d of a catalog": "\\d pg_catalog.pg_namespace",
    "\\dt": "\\dt ps.*",
    "\\dt+": "\\dt+ ps.*",
    "\\dv": "\\dv ps.*",
    "\\dv+": "\\dv+ ps.*",
    "\\di": "\\di ps.*",
    "\\di+": "\\di+ ps.*",
    "\\ds": "\\ds ps.*",
    "\\dm": "\\dm ps.*",
    "\\dE": "\\dE ps.*",
    "\\dn": "\\dn ps",
    "\\dn+": "\\dn+ ps",
    "\\df": "\\df pg_catalog.upper",
    "\\df+": "\\df+ ps.*",
    "\\da": "\\da pg_catalog.count",
    "\\do": "\\do pg_catalog.||",
    "\\dT": "\\dT pg_catalog.int4",
    "\\dT+": "\\dT+ pg_catalog.jsonb",
    "\\dD": "\\dD ps.*",
    "\\dC": "\\dC int4",
    "\\dO": "\\dO pg_catalog.C",
    "\\dc": "\\dc ps.*",
    "\\dd": "\\dd ps.*",
    "\\ddp": "\\ddp",
    "\\dp": "\\dp ps.*",
    "\\z": "\\z ps.orders",
    "\\du": "\\du nyala",
    "\\dg": "\\dg nyala",
    "\\drds": "\\drds",
    "\\db": "\\db",
    "\\dx": "\\dx nosuch",
    "\\dy": "\\dy",
    "\\des": "\\des",
    "\\det": "\\det",
    "\\deu": "\\deu",
    "\\dew": "\\dew",
    "\\dRp": "\\dRp",
    "\\dRs": "\\dRs",
    "\\dF": "\\dF ps.*",
    "\\dFd": "\\dFd ps.*",
    "\\dFp": "\\dFp ps.*",
    "\\dFt": "\\dFt ps.*",
    "\\dL": "\\dL",
    "\\dA": "\\dA btree",
    "\\dAc": "\\dAc btree int4",
    "\\dAf": "\\dAf btree int4",
    "\\dP": "\\dP ps.*",
    "\\dX": "\\dX ps.*",
    "\\dconfig": "\\dconfig statement_timeout",
    "\\dl": "\\dl",
    "\\l": "\\l nosuch*",
    "\\l of the database": "\\l nyala",
    "\\sv": "\\sv ps.big",
    "\\sf": "\\sf pg_catalog.upper",
    "\\ef of nothing": "\\sf nosuch",
    "\\d of nothing": "\\d nosuch",
    "\\x": "\\x\nSELECT id, customer FROM ps.orders ORDER BY id;",
    "\\gx": "SELECT id, customer FROM ps.orders ORDER BY id LIMIT 1 \\gx",
    "\\gdesc": "SELECT id, customer, total, placed, tags, body, 1 AS one, count(*) OVER () FROM ps.orders \\gdesc",
    "\\gset": "SELECT count(*) AS n, max(customer) AS c FROM ps.orders \\gset\n\\echo :n :c\nSELECT :'c' AS c;",
    "\\gexec": "SELECT format('SELECT %L AS a', x) FROM (VALUES ('p'), ('q')) AS t (x) \\gexec",
    "\\crosstabview": "SELECT customer, to_char(placed, 'YYYY-MM') AS m, sum(total) FROM ps.orders GROUP BY 1, 2 ORDER BY 1, 2 \\crosstabview",
    "\\errverbose": "SELECT 1/0;\n\\errverbose",
    "\\errverbose of a unique violation": "INSERT INTO ps.orders (id, customer) VALUES (1, 'x');\n\\errverbose",
    "\\timing": "\\timing on\nSELECT 1 AS a;",
    "\\copy to": "\\copy (SELECT id, customer, total FROM ps.orders ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)",
    "\\copy from": "CREATE TABLE ps.copied (a int, b text);\n\\copy ps.copied FROM STDIN WITH (FORMAT csv)\n1,x\n2,\"y,z\"\n\\.\nSELECT * FROM ps.copied ORDER BY a;\nDROP TABLE ps.copied;",
    "\\copy of a table to a file": "\\copy ps.orders (id, customer) TO '/dev/null'",
    "\\conninfo": "\\echo :DBNAME :USER :SERVER_VERSION_NUM_MAJOR",
    "\\encoding": "\\encoding",
    "\\set AUTOCOMMIT off": "\\set AUTOCOMMIT off\nINSERT INTO ps.orders (id, customer) VALUES (77, 'x');\nROLLBACK;\nSELECT count(*) FROM ps.orders;",
    "\\set ON_ERROR_ROLLBACK": "\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1/0;\nSELECT 2 AS two;\nCOMMIT;",
    "\\set FETCH_COUNT": "\\set FETCH_COUNT 2\nSELECT id FROM ps.orders ORDER BY id;",
    "\\if of a value": "SELECT count(*) = 3 AS yes FROM ps.orders \\gset\n\\if :yes\n\\echo three\n\\endif",
    "\\dt with \\a \\t": "\\a\\t\n\\dt ps.*",
    "\\? tab completion query of tables": "SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r','p') AND (c.relname) LIKE 'ord%' AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000;",
}
PSQL = os.environ.get("PSQL", "psql")


def psql(script, environment):
    done = subprocess.run(
        [PSQL, "-X", "-P", "pager=off"], input=script, text=True, capture_output=True, timeout=25,
        env={**os.environ, "PGCLIENTENCODING": "UTF8", "LC_ALL": "C.UTF-8", **environment},
    )  # fmt: skip
    return same(done.stdout + done.stderr)


def same(text):
    """What differs between any two servers: sizes, times, where an error was raised."""
    text = re.sub(r"Time: [0-9.]+ ms( \(.*\))?", "Time: T", text)
    text = re.sub(r"LOCATION: .*\n", "", text)
    text = re.sub(r"\b\d+ (bytes|kB|MB)\b", "SIZE", text)
    # How wide a column is depends on the other rows.
    lines = [re.sub(r"-{2,}", "--", re.sub(r" +", " ", line)).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def oracle():
    names = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD", "DATABASE": "PGDATABASE"}
    return {there: os.environ[f"ORACLE_{here}"] for here, there in names.items()}


def compare(script):
    found, expected = psql(script, {}), psql(script, oracle())
    if found != expected:
        difference = difflib.unified_diff(expected, found, "PostgreSQL", "found", lineterm="", n=0)
        raise AssertionError("\n" + "\n".join(list(difference)[2:]))


for _name, _script in SCRIPTS.items():
    feature(_name)(lambda script=_script: compare(script))

if __name__ == "__main__":
    setup = (HERE / "setup.sql").read_text()
    psql(setup, {})
    psql(setup, oracle())
    main("psql")
