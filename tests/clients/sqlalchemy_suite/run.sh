#!/bin/sh
# Runs SQLAlchemy's dialect suite against the server that PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE name.
# SQLALCHEMY_SOURCE is the unpacked source package of the pinned version:
#   pip download --no-deps --no-binary :all: sqlalchemy==2.0.58 && tar xzf sqlalchemy-2.0.58.tar.gz
# The suite expects a schema test_schema.
cd "$(dirname "$0")" || exit 1
PYTHONPATH="${SQLALCHEMY_SOURCE:?}" exec "${PYTHON:-python3}" -m pytest -q \
  --dburi "postgresql+${SQLALCHEMY_DRIVER:-psycopg}://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/$PGDATABASE" "$@"
