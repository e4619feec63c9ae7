#!/usr/bin/env bash
# Does a server work? Logs in over SCRAM and takes a hybrid table once through its life.
#
#     docker/smoke.sh              builds the image, starts it on scratch data, tries it, removes it
#     docker/smoke.sh HOST PORT    tries a server that runs; PGPASSWORD is its superuser's password
set -euo pipefail

WAIT_SECONDS_MAX=60

fail() {
    echo "smoke: $1" >&2
    exit 1
}

# One statement, its rows as plain text.
sql() {
    psql -X -q -t -A -v ON_ERROR_STOP=1 -h "$HOST" -p "$PORT" -U nyala "$@"
}

expect() {
    local what="$1" wanted="$2" got="$3"
    [ "$got" = "$wanted" ] || fail "$what: expected $wanted, got $got"
    echo "smoke: $what: $got"
}

wait_until_ready() {
    local deadline=$((SECONDS + WAIT_SECONDS_MAX))
    until pg_isready -q -h "$HOST" -p "$PORT"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "no answer from $HOST:$PORT in $WAIT_SECONDS_MAX s"
        sleep 0.5
    done
}

try_server() {
    wait_until_ready
    if PGPASSWORD="not-$PGPASSWORD" sql -c 'SELECT 1' nyala >/dev/null 2>&1; then
        fail "a wrong password is let in"
    fi
    echo "smoke: a wrong password is refused"
    local database="smoke_$$"
    sql -c "CREATE DATABASE $database" nyala
    trap 'sql -c "DROP DATABASE IF EXISTS smoke_$$" nyala' EXIT
    sql "$database" <<'SQL'
CREATE TABLE orders (id bigint PRIMARY KEY, delivered date, body jsonb)
  WITH (closed_when = 'delivered IS NOT NULL');
INSERT INTO orders VALUES
  (1, '2026-09-01', '{"items": 3}'), (2, '2026-09-02', '{"items": 1}'), (3, NULL, '{"items": 5}');
CALL nyala.housekeeping('orders');
UPDATE orders SET body = json_merge_patch(body, '{"items": 4}') WHERE id = 1;
SQL
    expect "all rows" 3 "$(sql -c 'SELECT count(*) FROM orders' "$database")"
    expect "an updated closed row" 4 \
        "$(sql -c "SELECT body ->> 'items' FROM orders WHERE id = 1" "$database")"
    expect "open rows" "1,3" \
        "$(sql -c 'SELECT id FROM orders$open ORDER BY id' "$database" | paste -s -d,)"
    echo "smoke: ok"
}

case $# in
2)
    HOST="$1" PORT="$2"
    [ -n "${PGPASSWORD:-}" ] || fail "PGPASSWORD is not set"
    export PGPASSWORD
    try_server
    ;;
0)
    cd "$(dirname "$0")"
    HOST=127.0.0.1 PORT="${NYALA_PORT:-5433}"
    PGPASSWORD="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
    NYALA_PASSWORD_FILE="$(mktemp)"
    export PGPASSWORD NYALA_PASSWORD_FILE NYALA_PORT="$PORT"
    compose=(docker compose --project-name "nyala-smoke-$$" --file compose.yaml)
    trap '"${compose[@]}" down --volumes; rm -f "$NYALA_PASSWORD_FILE"' EXIT
    # The server's user in the container reads it by its own number.
    chmod 0644 "$NYALA_PASSWORD_FILE"
    echo "$PGPASSWORD" >"$NYALA_PASSWORD_FILE"
    "${compose[@]}" up --build --detach
    (try_server)
    ;;
*)
    fail "usage: docker/smoke.sh [HOST PORT]"
    ;;
esac
