"""DuckDB's postgres extension, a postgres_fdw of a real PostgreSQL, and a notebook run without a screen.

The foreign data wrapper runs in the PostgreSQL that FDW_HOST, FDW_PORT, FDW_USER and FDW_PASSWORD name; its target
is the server under test."""

import os

from features import DATABASE, HOST, PASSWORD, PORT, URI, USER, equal, feature, main


def direct():
    import psycopg

    return psycopg.connect(URI, autocommit=True)


def prepare(name):
    with direct() as connection:
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, n varchar(9), p numeric(9,2), at timestamptz, b bigint)")
        connection.execute(
            f"INSERT INTO {name} SELECT g, 'n' || g, g * 1.25, '2024-01-01 00:00+00', g * 10 FROM generate_series(1, 500) AS g"
        )


# DuckDB


def duck():
    import duckdb
    import duckdb_ext

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    folder = os.path.join(list(duckdb_ext.__path__)[0], "extensions", f"v{duckdb.__version__}", "linux_amd64")
    connection.execute(f"LOAD '{folder}/postgres_scanner.duckdb_extension'")
    connection.execute(f"ATTACH '{URI}' AS pg (TYPE postgres)")
    return connection


@feature("DuckDB: attach and list tables")
def duck_tables():
    prepare("ot_duck")
    found = duck().execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'pg' AND table_name = 'ot_duck'")
    equal(found.fetchall(), [("ot_duck",)])


@feature("DuckDB: scan")
def duck_scan():
    prepare("ot_duck")
    found = duck().execute("SELECT count(*), sum(b), min(n), max(p)::varchar FROM pg.public.ot_duck WHERE id > 10").fetchone()
    equal(found, (490, 1251950, "n100", "625.00"))


@feature("DuckDB: scan without binary COPY")
def duck_scan_text():
    prepare("ot_duck")
    connection = duck()
    connection.execute("SET pg_use_binary_copy = false")
    equal(connection.execute("SELECT count(*), sum(b) FROM pg.public.ot_duck").fetchone(), (500, 1252500))


@feature("DuckDB: postgres_query")
def duck_query():
    equal(duck().execute("SELECT * FROM postgres_query('pg', 'SELECT 42 AS a')").fetchall(), [(42,)])


@feature("DuckDB: create, insert, update, delete")
def duck_write():
    with direct() as connection:
        connection.execute("DROP TABLE IF EXISTS ot_duck_new")
    connection = duck()
    connection.execute("CREATE TABLE pg.public.ot_duck_new (a integer, s varchar)")
    connection.execute("INSERT INTO pg.public.ot_duck_new SELECT range, 'x' || range FROM range(1000)")
    connection.execute("UPDATE pg.public.ot_duck_new SET s = 'y' WHERE a = 5")
    connection.execute("DELETE FROM pg.public.ot_duck_new WHERE a > 9")
    equal(connection.execute("SELECT count(*), max(s) FROM pg.public.ot_duck_new").fetchone(), (10, "y"))


@feature("DuckDB: CREATE TABLE AS")
def duck_ctas():
    with direct() as connection:
        connection.execute("DROP TABLE IF EXISTS ot_duck_ctas")
    connection = duck()
    connection.execute("CREATE TABLE pg.public.ot_duck_ctas AS SELECT range AS a, range * 1.5 AS d FROM range(100)")
    equal(connection.execute("SELECT count(*), sum(a) FROM pg.public.ot_duck_ctas").fetchone(), (100, 4950))


# postgres_fdw


def foreign(schema, table):
    import psycopg

    prepare(table)
    environment = os.environ
    connection = psycopg.connect(
        host=environment["FDW_HOST"], port=environment["FDW_PORT"], user=environment["FDW_USER"],
        password=environment["FDW_PASSWORD"], dbname="postgres", autocommit=True,
    )  # fmt: skip
    connection.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    connection.execute(f"DROP SERVER IF EXISTS {schema} CASCADE")
    connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    connection.execute(
        f"CREATE SERVER {schema} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{HOST}', port '{PORT}', dbname '{DATABASE}')"
    )
    connection.execute(
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER {schema} OPTIONS (user '{USER}', password '{PASSWORD}')"
    )
    connection.execute(f"CREATE SCHEMA {schema}")
    return connection


def by_hand(schema):
    connection = foreign(schema, "ot_fdw")
    connection.execute(
        f"CREATE FOREIGN TABLE {schema}.ot_fdw (id integer, n varchar(9), p numeric(9,2), at timestamptz, b bigint)"
        f" SERVER {schema} OPTIONS (schema_name 'public', table_name 'ot_fdw')"
    )
    return connection


@feature("postgres_fdw: IMPORT FOREIGN SCHEMA")
def fdw_import():
    connection = foreign("ot_import", "ot_fdw_i")
    connection.execute("IMPORT FOREIGN SCHEMA public LIMIT TO (ot_fdw_i) FROM SERVER ot_import INTO ot_import")
    equal(connection.execute("SELECT count(*), sum(b) FROM ot_import.ot_fdw_i").fetchone(), (500, 1252500))


@feature("postgres_fdw: scan with conditions, join and sort pushed down")
def fdw_scan():
    connection = by_hand("ot_scan")
    equal(
        connection.execute("SELECT id, n FROM ot_scan.ot_fdw WHERE p > 600 AND n LIKE 'n4%' ORDER BY id DESC LIMIT 2").fetchall(),
        [(499, "n499"), (498, "n498")],
    )
    equal(connection.execute("SELECT count(*) FROM ot_scan.ot_fdw a JOIN ot_scan.ot_fdw b ON a.id = b.id WHERE a.b > 100").fetchone(), (490,))


@feature("postgres_fdw: remote estimates")
def fdw_estimate():
    connection = by_hand("ot_estimate")
    connection.execute("ALTER SERVER ot_estimate OPTIONS (ADD use_remote_estimate 'true')")
    equal(connection.execute("SELECT sum(b) FROM ot_estimate.ot_fdw WHERE id < 10").fetchone(), (450,))


@feature("postgres_fdw: ANALYZE")
def fdw_analyze():
    by_hand("ot_analyze").execute("ANALYZE ot_analyze.ot_fdw")


@feature("postgres_fdw: insert, update, delete")
def fdw_write():
    connection = by_hand("ot_write")
    connection.execute("INSERT INTO ot_write.ot_fdw (id, n) VALUES (1000, 'new'), (1001, 'more')")
    connection.execute("UPDATE ot_write.ot_fdw SET n = 'changed' WHERE id = 1000")
    connection.execute("DELETE FROM ot_write.ot_fdw WHERE id = 1001")
    equal(connection.execute("SELECT id, n FROM ot_write.ot_fdw WHERE id >= 1000").fetchall(), [(1000, "changed")])


@feature("postgres_fdw: update that is not pushed down (ctid)")
def fdw_ctid():
    connection = by_hand("ot_ctid")
    connection.execute("UPDATE ot_ctid.ot_fdw SET n = 'r' WHERE id = 7 AND random() >= 0")
    equal(connection.execute("SELECT n FROM ot_ctid.ot_fdw WHERE id = 7").fetchone(), ("r",))


# A notebook

CELLS = [
    "import psycopg, pandas as pd, sqlalchemy as sa, os\nuri = os.environ['NB_URI']",
    "engine = sa.create_engine(uri.replace('postgresql://', 'postgresql+psycopg://'))\n"
    "pd.DataFrame({'day': pd.date_range('2024-01-01', periods=30), 'kwh': range(30)}).to_sql('ot_nb', engine, if_exists='replace', index=False)",
    "frame = pd.read_sql('SELECT date_trunc(\\'month\\', day) AS month, sum(kwh) AS kwh FROM ot_nb GROUP BY 1', engine)\nassert frame.kwh.iloc[0] == 435",
    "with psycopg.connect(uri) as c:\n    assert c.execute('SELECT count(*) FROM ot_nb').fetchone() == (30,)\nprint('done', len(frame))",
]


@feature("notebook: psycopg, pandas and SQLAlchemy in a kernel")
def notebook():
    import nbformat
    from nbclient import NotebookClient

    os.environ["NB_URI"] = URI
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(book, timeout=60, kernel_name="python3").execute()
    equal(book.cells[-1].outputs[0].text, "done 1\n")


if __name__ == "__main__":
    main("DuckDB, postgres_fdw, notebook", preload=["psycopg", "duckdb"])
