"""SQLAlchemy 2 over psycopg, psycopg2 and asyncpg, and pandas on top of it."""

import asyncio
import datetime as dt
import enum
import uuid
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from features import DATABASE, HOST, PASSWORD, PORT, USER, equal, feature, main

UTC = dt.timezone.utc
DRIVERS = ["psycopg", "psycopg2"]


def url(driver):
    return sa.URL.create(f"postgresql+{driver}", USER, PASSWORD, HOST, PORT, DATABASE)


def for_drivers(name):
    """Registers a feature once per synchronous driver; the function is given an engine."""

    def register(function):
        for driver in DRIVERS:
            feature(f"{driver}: {name}")(lambda driver=driver: function(sa.create_engine(url(driver))))
        return function

    return register


def run(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def fresh(engine, *tables):
    """Drops and creates tables as SQLAlchemy does it."""
    metadata = tables[0].metadata
    metadata.drop_all(engine, tables=list(tables))
    metadata.create_all(engine, tables=list(tables))


@for_drivers("connect and version")
def version(engine):
    with engine.connect() as connection:
        equal(connection.dialect.server_version_info[0], 15)
        equal(connection.scalar(sa.text("SELECT :a + 1"), {"a": 41}), 42)
        equal(connection.dialect.default_schema_name, "public")


@for_drivers("create and drop tables of metadata")
def create_all(engine):
    metadata = sa.MetaData()
    table = sa.Table(
        "sa_created", metadata,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(40), nullable=False, index=True),
        sa.Column("price", sa.Numeric(12, 2), server_default="0"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    )  # fmt: skip
    fresh(engine, table)
    inspector = sa.inspect(engine)
    equal(inspector.has_table("sa_created"), True)
    metadata.create_all(engine)
    metadata.drop_all(engine)
    equal(sa.inspect(engine).has_table("sa_created"), False)


@for_drivers("autoincrement key (SERIAL)")
def autoincrement(engine):
    metadata = sa.MetaData()
    table = sa.Table("sa_auto", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.String))
    fresh(engine, table)
    with engine.begin() as connection:
        equal(connection.execute(table.insert().values(a="x")).inserted_primary_key[0], 1)
        result = connection.execute(table.insert().returning(table.c.id), [{"a": "y"}, {"a": "z"}])
        equal(sorted(result.scalars()), [2, 3])


@for_drivers("identity column and sequence")
def identity(engine):
    metadata = sa.MetaData()
    table = sa.Table(
        "sa_identity", metadata, sa.Column("id", sa.BigInteger, sa.Identity(start=10), primary_key=True),
        sa.Column("n", sa.Integer, sa.Sequence("sa_sequence", start=5, metadata=metadata)),
    )  # fmt: skip
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        equal(connection.execute(table.insert().returning(table.c.id, table.c.n)).one(), (10, 5))


COLUMNS_DDL = """CREATE TABLE sa_reflect (
    id bigint NOT NULL, name varchar(40) NOT NULL, flag boolean DEFAULT true, small smallint, num integer DEFAULT 7,
    price numeric(12,3), r real, d double precision, t text DEFAULT 'x', c char(3), b bytea, day date, tm time,
    ts timestamp, tz timestamptz DEFAULT now(), iv interval, u uuid, j json, jb jsonb, arr integer[], tags text[],
    PRIMARY KEY (id, name))"""


@for_drivers("reflection: columns")
def reflect_columns(engine):
    run(engine, "DROP TABLE IF EXISTS sa_reflect CASCADE", COLUMNS_DDL)
    columns = sa.inspect(engine).get_columns("sa_reflect")
    found = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in columns]
    equal(found, [
        ("id", "BIGINT", False, None), ("name", "VARCHAR(40)", False, None), ("flag", "BOOLEAN", True, "true"),
        ("small", "SMALLINT", True, None), ("num", "INTEGER", True, "7"), ("price", "NUMERIC(12, 3)", True, None),
        ("r", "REAL", True, None), ("d", "DOUBLE PRECISION", True, None), ("t", "TEXT", True, "'x'::text"),
        ("c", "CHAR(3)", True, None), ("b", "BYTEA", True, None), ("day", "DATE", True, None),
        ("tm", "TIME", True, None), ("ts", "TIMESTAMP", True, None), ("tz", "TIMESTAMP", True, "now()"),
        ("iv", "INTERVAL", True, None), ("u", "UUID", True, None), ("j", "JSON", True, None),
        ("jb", "JSONB", True, None), ("arr", "ARRAY", True, None), ("tags", "ARRAY", True, None),
    ])  # fmt: skip
    equal(columns[14]["type"].timezone, True)


@for_drivers("reflection: primary key")
def reflect_pk(engine):
    run(engine, "DROP TABLE IF EXISTS sa_reflect CASCADE", COLUMNS_DDL)
    key = sa.inspect(engine).get_pk_constraint("sa_reflect")
    equal((key["constrained_columns"], key["name"]), (["id", "name"], "sa_reflect_pkey"))


@for_drivers("reflection: indexes")
def reflect_indexes(engine):
    run(
        engine, "DROP TABLE IF EXISTS sa_indexed", "CREATE TABLE sa_indexed (id integer PRIMARY KEY, a text, b text)",
        "CREATE INDEX sa_by_a ON sa_indexed (a, b DESC)", "CREATE UNIQUE INDEX sa_by_b ON sa_indexed (b)",
    )  # fmt: skip
    indexes = sa.inspect(engine).get_indexes("sa_indexed")
    equal([(i["name"], i["column_names"], i["unique"]) for i in indexes],
          [("sa_by_a", ["a", "b"], False), ("sa_by_b", ["b"], True)])  # fmt: skip
    equal(indexes[0]["column_sorting"], {"b": ("desc",)})


@for_drivers("reflection: unique constraint")
def reflect_unique(engine):
    run(engine, "DROP TABLE IF EXISTS sa_unique",
        "CREATE TABLE sa_unique (id integer PRIMARY KEY, a text, b text, CONSTRAINT sa_ab UNIQUE (a, b))")  # fmt: skip
    found = sa.inspect(engine).get_unique_constraints("sa_unique")
    equal([(u["name"], u["column_names"]) for u in found], [("sa_ab", ["a", "b"])])


@for_drivers("reflection: foreign keys")
def reflect_foreign(engine):
    run(engine, "DROP TABLE IF EXISTS sa_child, sa_parent", "CREATE TABLE sa_parent (id integer PRIMARY KEY)",
        "CREATE TABLE sa_child (id integer PRIMARY KEY, p integer REFERENCES sa_parent ON DELETE CASCADE)")  # fmt: skip
    key = sa.inspect(engine).get_foreign_keys("sa_child")[0]
    equal((key["constrained_columns"], key["referred_table"], key["referred_columns"], key["options"]),
          (["p"], "sa_parent", ["id"], {"ondelete": "CASCADE"}))  # fmt: skip


@for_drivers("reflection: foreign keys of a table without any")
def reflect_no_foreign(engine):
    run(engine, "DROP TABLE IF EXISTS sa_lonely", "CREATE TABLE sa_lonely (id integer PRIMARY KEY)")
    equal(sa.inspect(engine).get_foreign_keys("sa_lonely"), [])


@for_drivers("reflection: check constraints")
def reflect_check(engine):
    run(engine, "DROP TABLE IF EXISTS sa_check",
        "CREATE TABLE sa_check (id integer CONSTRAINT sa_positive CHECK (id > 0))")  # fmt: skip
    found = sa.inspect(engine).get_check_constraints("sa_check")
    equal([(c["name"], c["sqltext"]) for c in found], [("sa_positive", "id > 0")])


@for_drivers("reflection: no check constraints")
def reflect_no_check(engine):
    run(engine, "DROP TABLE IF EXISTS sa_uncheck", "CREATE TABLE sa_uncheck (id integer NOT NULL)")
    equal(sa.inspect(engine).get_check_constraints("sa_uncheck"), [])


@for_drivers("reflection: views")
def reflect_views(engine):
    run(engine, "DROP VIEW IF EXISTS sa_view", "CREATE VIEW sa_view AS SELECT 1 AS a, 'x'::text AS b")
    inspector = sa.inspect(engine)
    assert "sa_view" in inspector.get_view_names()
    assert "sa_view" not in inspector.get_table_names()
    equal([(c["name"], str(c["type"])) for c in inspector.get_columns("sa_view")], [("a", "INTEGER"), ("b", "TEXT")])
    assert "SELECT 1 AS a" in inspector.get_view_definition("sa_view")


@for_drivers("reflection: comments")
def reflect_comments(engine):
    run(engine, "DROP TABLE IF EXISTS sa_comment", "CREATE TABLE sa_comment (a integer)",
        "COMMENT ON TABLE sa_comment IS 'of table'", "COMMENT ON COLUMN sa_comment.a IS 'of column'")  # fmt: skip
    inspector = sa.inspect(engine)
    equal(inspector.get_table_comment("sa_comment"), {"text": "of table"})
    equal(inspector.get_columns("sa_comment")[0]["comment"], "of column")


@for_drivers("reflection: schemas")
def reflect_schemas(engine):
    run(engine, "DROP SCHEMA IF EXISTS sa_schema CASCADE", "CREATE SCHEMA sa_schema",
        "CREATE TABLE sa_schema.inside (a integer PRIMARY KEY)")  # fmt: skip
    inspector = sa.inspect(engine)
    assert {"public", "sa_schema", "information_schema"} <= set(inspector.get_schema_names())
    equal(inspector.get_table_names(schema="sa_schema"), ["inside"])
    equal(inspector.get_pk_constraint("inside", schema="sa_schema")["constrained_columns"], ["a"])


@for_drivers("reflection: whole metadata")
def reflect_metadata(engine):
    run(engine, "DROP SCHEMA IF EXISTS sa_whole CASCADE", "CREATE SCHEMA sa_whole",
        "CREATE TABLE sa_whole.a (id integer PRIMARY KEY, b varchar(3) NOT NULL)",
        "CREATE VIEW sa_whole.v AS SELECT id FROM sa_whole.a")  # fmt: skip
    metadata = sa.MetaData()
    metadata.reflect(engine, schema="sa_whole", views=True)
    equal(sorted(metadata.tables), ["sa_whole.a", "sa_whole.v"])
    table = metadata.tables["sa_whole.a"]
    equal([(c.name, str(c.type), c.nullable, c.primary_key) for c in table.columns],
          [("id", "INTEGER", False, True), ("b", "VARCHAR(3)", False, False)])  # fmt: skip
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": 1, "b": "x"}])
        equal(connection.execute(sa.select(table)).all(), [(1, "x")])


@for_drivers("reflection: enums, domains, sequences, materialized views")
def reflect_others(engine):
    inspector = sa.inspect(engine)
    equal(inspector.get_enums(schema="information_schema"), [])
    equal(isinstance(inspector.get_domains(), list), True)
    equal(isinstance(inspector.get_sequence_names(), list), True)
    equal(inspector.get_materialized_view_names(), [])
    equal(inspector.get_temp_table_names(), [])


@for_drivers("reflection: has_index")
def reflect_has_index(engine):
    run(engine, "DROP TABLE IF EXISTS sa_options", "CREATE TABLE sa_options (id integer PRIMARY KEY)")
    inspector = sa.inspect(engine)
    equal(inspector.has_index("sa_options", "sa_options_pkey"), False)
    equal(inspector.has_index("sa_options", "nope"), False)


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "sa_account"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(sa.String(50))
    balance: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2), default=Decimal("0"))
    settings: Mapped[dict] = mapped_column(pg.JSONB, default=dict)
    tags: Mapped[list] = mapped_column(pg.ARRAY(sa.Text), default=list)
    created: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@for_drivers("ORM: insert, query, update, delete")
def orm(engine):
    fresh(engine, Account.__table__)
    with Session(engine) as session:
        session.add_all([Account(name=f"n{n}", balance=Decimal(n) / 4, settings={"k": [n]}, tags=["a", "b,c"]) for n in range(10)])  # fmt: skip
        session.commit()
        account = session.scalars(sa.select(Account).where(Account.name == "n3")).one()
        equal((account.balance, account.settings, account.tags, account.version),
              (Decimal("0.75"), {"k": [3]}, ["a", "b,c"], 1))  # fmt: skip
        assert abs((account.created - dt.datetime.now(UTC)).total_seconds()) < 60
        account.balance += 1
        session.commit()
        equal((account.balance, account.version), (Decimal("1.75"), 2))
        session.delete(account)
        session.commit()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Account)), 9)
        equal(session.scalar(sa.select(Account.name).where(Account.settings["k"][0].as_integer() == 5)), "n5")
        equal(session.scalar(sa.select(sa.func.count()).where(Account.tags.contains(["a"]))), 9)


class Parent(Base):
    __tablename__ = "sa_orm_parent"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    children: Mapped[list["Child"]] = relationship(
        primaryjoin="Parent.id == foreign(Child.parent_id)", back_populates="parent", cascade="all, delete-orphan"
    )


class Child(Base):
    __tablename__ = "sa_orm_child"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent_id: Mapped[int]
    parent: Mapped[Parent] = relationship(
        primaryjoin="Parent.id == foreign(Child.parent_id)", back_populates="children"
    )


@for_drivers("ORM: relationships without foreign keys in the database")
def orm_relationships(engine):
    fresh(engine, Parent.__table__, Child.__table__)
    with Session(engine) as session:
        session.add(Parent(id=1, name="p", children=[Child(id=1), Child(id=2)]))
        session.commit()
        parent = session.scalars(sa.select(Parent).options(selectinload(Parent.children))).one()
        equal(sorted(child.id for child in parent.children), [1, 2])
        rows = session.execute(
            sa.select(Parent.name, sa.func.count(Child.id)).join(Parent.children).group_by(Parent.name)
        ).all()
        equal(rows, [("p", 2)])
        session.delete(parent)
        session.commit()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Child)), 0)


@for_drivers("ORM: bulk insert, update and delete with returning")
def orm_bulk(engine):
    fresh(engine, Parent.__table__)
    with Session(engine) as session:
        rows = session.scalars(
            sa.insert(Parent).returning(Parent, sort_by_parameter_order=True),
            [{"id": n, "name": f"p{n}"} for n in range(2500)],
        ).all()
        equal([row.id for row in rows], list(range(2500)))
        result = session.execute(sa.update(Parent).where(Parent.id < 3).values(name="u").returning(Parent.id))
        equal(sorted(result.scalars()), [0, 1, 2])
        session.execute(sa.update(Parent), [{"id": 5, "name": "five"}, {"id": 6, "name": "six"}])
        equal(session.execute(sa.delete(Parent).where(Parent.id >= 10)).rowcount, 2490)
        session.commit()
        equal(session.scalars(sa.select(Parent.name).order_by(Parent.id).limit(7)).all(),
              ["u", "u", "u", "p3", "p4", "five", "six"])  # fmt: skip


@for_drivers("insert on conflict")
def upsert(engine):
    fresh(engine, Parent.__table__)
    table = Parent.__table__
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": 1, "name": "a"}])
        statement = pg.insert(table).values([{"id": 1, "name": "b"}, {"id": 2, "name": "c"}])
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.id], set_={"name": statement.excluded.name}, where=table.c.name != "z"
        )
        equal(sorted(connection.execute(statement.returning(table.c.id, table.c.name)).all()), [(1, "b"), (2, "c")])
        connection.execute(pg.insert(table).values(id=1, name="x").on_conflict_do_nothing())


@for_drivers("stream_results and yield_per")
def stream(engine):
    with engine.connect() as connection:
        query = sa.text("SELECT g, g * 2 AS d FROM generate_series(1, 5000) AS g")
        result = connection.execution_options(stream_results=True, max_row_buffer=100).execute(query)
        equal(result.fetchone(), (1, 2))
        equal(sum(row.g for row in result), 12502500 - 1)
    with engine.connect() as connection:
        result = connection.execution_options(yield_per=100).execute(query)
        equal([len(part) for part in result.partitions(100)], [100] * 50)


@for_drivers("transactions, savepoints, isolation levels")
def transactions(engine):
    fresh(engine, Parent.__table__)
    with engine.connect() as connection:
        with connection.begin():
            connection.execute(Parent.__table__.insert().values(id=1, name="a"))
            nested = connection.begin_nested()
            connection.execute(Parent.__table__.insert().values(id=2, name="a"))
            nested.rollback()
        equal(connection.execute(sa.select(Parent.id)).all(), [(1,)])
    for level in ("AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            equal(connection.scalar(sa.text("SELECT 1")), 1)
            equal(connection.get_isolation_level(), "READ COMMITTED" if level == "AUTOCOMMIT" else level)


@for_drivers("isolation level serializable")
def serializable(engine):
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        equal(connection.scalar(sa.text("SHOW transaction_isolation")), "serializable")


@for_drivers("errors are of the right class")
def errors(engine):
    fresh(engine, Parent.__table__)
    table = Parent.__table__
    with engine.connect() as connection:
        connection.execute(table.insert().values(id=1, name="a"))
        for statement, kind in [
            (table.insert().values(id=1, name="b"), sa.exc.IntegrityError),
            (sa.text("SELECT * FROM sa_missing"), sa.exc.ProgrammingError),
            (sa.text("SELECT 1/0"), sa.exc.DataError),
        ]:
            point = connection.begin_nested()
            try:
                connection.execute(statement)
            except kind:
                point.rollback()
            else:
                raise AssertionError(f"{kind} was not raised")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@for_drivers("enum column")
def enums(engine):
    metadata = sa.MetaData()
    table = sa.Table("sa_enum", metadata, sa.Column("c", sa.Enum(Colour, name="sa_colour")))
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert().values(c=Colour.BLUE))
        equal(connection.scalar(sa.select(table.c.c)), Colour.BLUE)


@for_drivers("types, there and back")
def types(engine):
    metadata = sa.MetaData()
    values = {
        "b": (sa.Boolean, True), "i": (sa.SmallInteger, 5), "f": (sa.Float, 1.5), "n": (sa.Numeric(20, 6), Decimal("1.250000")),
        "s": (sa.Unicode(20), "ü€"), "d": (sa.Date, dt.date(2024, 1, 2)), "t": (sa.Time, dt.time(1, 2, 3)),
        "ts": (sa.DateTime, dt.datetime(2024, 1, 2, 3, 4, 5, 6)), "iv": (sa.Interval, dt.timedelta(days=2, seconds=5)),
        "y": (sa.LargeBinary, b"\x00\xff"), "j": (sa.JSON, {"a": [1, None]}), "u": (sa.Uuid, uuid.UUID(int=9)),
        "ai": (pg.ARRAY(sa.Integer), [1, 2]), "big": (sa.BigInteger, 2**60), "dp": (sa.Double, 1e200),
    }  # fmt: skip
    table = sa.Table("sa_types", metadata, *[sa.Column(name, kind) for name, (kind, _) in values.items()])
    fresh(engine, table)
    with engine.begin() as connection:
        connection.execute(table.insert(), {name: value for name, (_, value) in values.items()})
        connection.execute(table.insert(), {name: None if name != "j" else sa.null() for name in values})
        rows = connection.execute(sa.select(table)).all()
        equal(tuple(rows[0]), tuple(value for _, value in values.values()))
        equal(tuple(rows[1]), (None,) * len(values))


@for_drivers("core expressions")
def expressions(engine):
    fresh(engine, Parent.__table__)
    table = Parent.__table__
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": n, "name": f"Name{n % 3}"} for n in range(9)])
        rank = sa.func.row_number().over(partition_by=table.c.name, order_by=table.c.id.desc()).label("r")
        inner = sa.select(table.c.id, rank).cte("ranked")
        equal(connection.scalars(sa.select(inner.c.id).where(inner.c.r == 1).order_by(inner.c.id)).all(), [6, 7, 8])
        equal(connection.scalars(sa.select(table.c.id).where(table.c.name.ilike("nAME1")).order_by("id")).all(), [1, 4, 7])
        equal(connection.scalar(sa.select(sa.func.string_agg(table.c.name, sa.literal(",")).filter(table.c.id < 2))), "Name0,Name1")
        equal(connection.scalars(sa.select(table.c.id).where(table.c.id.in_([1, 5, 77])).order_by(table.c.id)).all(), [1, 5])
        equal(connection.scalars(sa.select(table.c.id).where(table.c.id.in_([]))).all(), [])
        equal(connection.scalar(sa.select(sa.cast("12", sa.Integer) + 1)), 13)
        equal(connection.scalar(sa.select(sa.extract("year", sa.literal(dt.date(2024, 5, 1))))), 2024)
        equal(connection.scalar(sa.select(sa.literal("a") + sa.literal("b"))), "ab")
        equal(connection.scalar(sa.select(table.c.name.regexp_match("^Na.*2$")).where(table.c.id == 2)), True)
        lateral = sa.select(sa.func.max(table.c.id).label("m")).lateral("l")
        equal(connection.execute(sa.select(table.c.id, lateral.c.m).where(table.c.id == 1).select_from(table, lateral)).all(), [(1, 8)])


# pandas


@for_drivers("pandas: read_sql")
def read_sql(engine):
    import pandas as pd

    frame = pd.read_sql(
        sa.text("SELECT g AS id, g / 2.0::float8 AS half, 'x' || g AS name, date '2024-01-01' + g AS day,"
                " timestamptz '2024-01-01 00:00+00' AS at, g % 2 = 0 AS even FROM generate_series(1, :n) AS g"),
        engine, params={"n": 4}, parse_dates=["day"], index_col="id",
    )  # fmt: skip
    equal(list(frame.half), [0.5, 1.0, 1.5, 2.0])
    equal(list(frame.name), ["x1", "x2", "x3", "x4"])
    equal(frame.day.iloc[0], pd.Timestamp("2024-01-02"))
    equal(str(frame["at"].dtype), "datetime64[ns, UTC]")
    equal(list(frame.even), [False, True, False, True])


@for_drivers("pandas: read_sql by chunksize, streamed")
def read_sql_chunks(engine):
    import pandas as pd

    with engine.connect().execution_options(stream_results=True) as connection:
        parts = list(pd.read_sql(sa.text("SELECT g FROM generate_series(1, 1000) AS g"), connection, chunksize=300))
    equal([len(part) for part in parts], [300, 300, 300, 100])


@for_drivers("pandas: to_sql, replace, append, read_sql_table")
def to_sql(engine):
    import pandas as pd

    frame = pd.DataFrame(
        {"id": [1, 2, 3], "v": [1.5, None, 3.5], "s": ["a", None, "ü"], "b": [True, False, True],
         "at": pd.to_datetime(["2024-01-01 00:00:00", "2024-01-02 03:04:05", None])}
    )  # fmt: skip
    frame.to_sql("sa_frame", engine, if_exists="replace", index=False)
    frame.to_sql("sa_frame", engine, if_exists="append", index=False, method="multi")
    frame.to_sql("sa_frame", engine, if_exists="replace", index=False, chunksize=2)
    back = pd.read_sql_table("sa_frame", engine)
    equal(list(back.id), [1, 2, 3])
    equal(back.v.isna().tolist(), [False, True, False])
    equal(back.s.tolist(), ["a", None, "ü"])
    equal(back["at"].iloc[1], pd.Timestamp("2024-01-02 03:04:05"))


@for_drivers("pandas: to_sql with an index")
def to_sql_index(engine):
    import pandas as pd

    frame = pd.DataFrame({"v": range(5)}, index=pd.Index([f"k{n}" for n in range(5)], name="key"))
    frame.to_sql("sa_frame_index", engine, if_exists="replace")
    indexes = sa.inspect(engine).get_indexes("sa_frame_index")
    equal([(i["name"], i["column_names"]) for i in indexes], [("ix_sa_frame_index_key", ["key"])])


@for_drivers("pandas: to_sql in another schema with types")
def to_sql_schema(engine):
    import pandas as pd

    run(engine, "DROP SCHEMA IF EXISTS sa_frames CASCADE", "CREATE SCHEMA sa_frames")
    frame = pd.DataFrame({"id": [1, 2], "j": [{"a": 1}, None]})
    frame.to_sql("f", engine, schema="sa_frames", index=False, dtype={"id": sa.BigInteger, "j": pg.JSONB})
    equal(pd.read_sql("SELECT j ->> 'a' AS a FROM sa_frames.f ORDER BY id", engine).a.tolist(), ["1", None])


@for_drivers("pandas: to_sql by COPY")
def to_sql_copy(engine):
    import csv
    import io

    import pandas as pd

    def by_copy(table, connection, keys, data):
        # As in pandas' documentation.
        buffer = io.StringIO()
        csv.writer(buffer).writerows(data)
        buffer.seek(0)
        columns = ", ".join(f'"{key}"' for key in keys)
        raw = connection.connection
        with raw.cursor() as cursor:
            statement = f"COPY {table.name} ({columns}) FROM STDIN WITH CSV"
            if hasattr(cursor, "copy_expert"):
                cursor.copy_expert(sql=statement, file=buffer)
            else:
                with cursor.copy(statement) as copy:
                    copy.write(buffer.read())

    frame = pd.DataFrame({"id": range(1000), "s": [f"s{n}" for n in range(1000)]})
    frame.to_sql("sa_frame_copy", engine, if_exists="replace", index=False, method=by_copy)
    with engine.connect() as connection:
        equal(connection.execute(sa.text("SELECT count(*), max(id) FROM sa_frame_copy")).one(), (1000, 999))


# asyncpg


def asynchronous(name):
    def register(function):
        async def work():
            engine = create_async_engine(url("asyncpg"))
            await function(engine)
            await engine.dispose()

        feature(f"asyncpg: {name}")(lambda: asyncio.run(work()))
        return function

    return register


@asynchronous("connect and version")
async def async_version(engine):
    async with engine.connect() as connection:
        equal(await connection.scalar(sa.text("SELECT CAST(:a AS integer) + 1"), {"a": 41}), 42)


@asynchronous("ORM")
async def async_orm(engine):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all, tables=[Account.__table__])
        await connection.run_sync(Base.metadata.create_all, tables=[Account.__table__])
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add_all([Account(name=f"n{n}", settings={"k": [n]}, tags=["t"]) for n in range(20)])
        await session.commit()
        account = (await session.scalars(sa.select(Account).where(Account.name == "n3"))).one()
        equal((account.settings, account.tags), ({"k": [3]}, ["t"]))
        account.balance = Decimal("2.50")
        await session.commit()
        await session.refresh(account)
        equal(account.balance, Decimal("2.50"))
        await session.execute(sa.delete(Account).where(Account.name == "n3"))
        equal(await session.scalar(sa.select(sa.func.count()).select_from(Account)), 19)
        await session.commit()


@asynchronous("reflection")
async def async_reflection(engine):
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE IF EXISTS sa_async_reflect")
        await connection.exec_driver_sql("CREATE TABLE sa_async_reflect (id integer PRIMARY KEY, n varchar(9))")

        def look(plain):
            inspector = sa.inspect(plain)
            return (
                [(c["name"], str(c["type"])) for c in inspector.get_columns("sa_async_reflect")],
                inspector.get_pk_constraint("sa_async_reflect")["constrained_columns"],
                inspector.get_indexes("sa_async_reflect"),
            )

        equal(await connection.run_sync(look), ([("id", "INTEGER"), ("n", "VARCHAR(9)")], ["id"], []))


@asynchronous("stream")
async def async_stream(engine):
    async with engine.connect() as connection:
        result = await connection.stream(sa.text("SELECT g FROM generate_series(1, 1000) AS g"))
        equal(sum([row.g async for row in result]), 500500)


@asynchronous("savepoints and errors")
async def async_errors(engine):
    async with engine.begin() as connection:
        point = await connection.begin_nested()
        try:
            await connection.execute(sa.text("SELECT * FROM sa_missing"))
        except sa.exc.ProgrammingError:
            await point.rollback()
        equal(await connection.scalar(sa.text("SELECT 1")), 1)


if __name__ == "__main__":
    main("SQLAlchemy, pandas", preload=["psycopg", "psycopg2", "asyncpg", "pandas", "sqlalchemy.dialects.postgresql.asyncpg"])
