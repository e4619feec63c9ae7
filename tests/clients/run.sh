#!/bin/bash
# Runs every client program against the server that PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE name, and counts.
# ORACLE_HOST, ORACLE_PORT, ORACLE_USER, ORACLE_PASSWORD and ORACLE_DATABASE name a PostgreSQL 15 on the same machine: psql and
# the BI queries are compared with it, and its postgres_fdw is one of the clients. To prove the programs, name it in both.
#
# Needs: apt-get install odbc-postgresql unixodbc-dev libpostgresql-jdbc-java default-jdk-headless nodejs npm postgresql-15,
# a virtual environment with python/requirements.txt (its python in PYTHON), and `npm install` in node/.
cd "$(dirname "$0")" || exit 1
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export FDW_HOST=$ORACLE_HOST FDW_PORT=$ORACLE_PORT FDW_USER=$ORACLE_USER FDW_PASSWORD=$ORACLE_PASSWORD

javac -cp /usr/share/java/postgresql.jar -d "$work" jdbc/*.java || exit 1
jars="/usr/share/java/postgresql.jar:/usr/share/java/scram-client.jar:/usr/share/java/scram-common.jar"
jars="$jars:/usr/share/java/stringprep.jar:/usr/share/java/saslprep.jar:$work"

all() {
  for program in psycopg psycopg2 sqlalchemy asyncpg arrow odbc others; do
    "$python" "python/test_$program.py"
  done
  java -Duser.timezone=UTC -cp "$jars" TestPgjdbc
  node node/test_pg.js
  "$python" psql/test_psql.py
  "$python" bi/test_bi.py
}

all | grep '^{' >"$work/lines"
grep -v '"ok": *true' "$work/lines"
"$python" - "$work/lines" <<'PYTHON'
import collections, json, sys

counts = collections.defaultdict(lambda: [0, 0])
for line in open(sys.argv[1]):
    one = json.loads(line)
    counts[one["client"]][0] += one["ok"]
    counts[one["client"]][1] += 1
for client, (ok, features) in counts.items():
    print(f"{client}: {ok} of {features}")
ok, features = map(sum, zip(*counts.values()))
print(f"{ok} passed, {features - ok} failed")
sys.exit(ok < features)
PYTHON
