import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;

/** The PostgreSQL JDBC driver: what applications and BI tools call, with values checked. */
public final class TestPgjdbc {
    private static final String LONG =
            "SELECT sum(a + b) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b";

    private static void run(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** All rows as text, the columns of one separated by "|"; with names, only these columns. */
    private static List<String> rows(ResultSet results, String... names) throws SQLException {
        List<String> rows = new ArrayList<>();
        int columns = results.getMetaData().getColumnCount();
        while (results.next()) {
            List<String> row = new ArrayList<>();
            if (names.length == 0) {
                for (int column = 1; column <= columns; column++) {
                    row.add(String.valueOf(results.getString(column)));
                }
            }
            for (String name : names) {
                row.add(String.valueOf(results.getString(name)));
            }
            rows.add(String.join("|", row));
        }
        results.close();
        return rows;
    }

    private static List<String> query(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    private static void equal(Object found, Object expected) {
        Features.equal(found, expected);
    }

    private static void metadataTables(Connection c) throws SQLException {
        run(c, "DROP SCHEMA IF EXISTS jm CASCADE", "CREATE SCHEMA jm",
                "CREATE TABLE jm.a (id bigint, n varchar(20) NOT NULL, p numeric(10,2) DEFAULT 1.5, t text, ts timestamptz, j jsonb, ar integer[], PRIMARY KEY (id, n))",
                "CREATE UNIQUE INDEX a_p ON jm.a (p)", "CREATE INDEX a_t ON jm.a (t DESC, p)",
                "CREATE VIEW jm.v AS SELECT id, n FROM jm.a");
    }

    public static void main(String[] words) throws Exception {
        Features f = new Features();
        connection(f);
        types(f);
        statements(f);
        metadata(f);
        copies(f);
        f.main("pgjdbc", words);
    }

    private static void connection(Features f) {
        f.add("connect and version", c -> {
            DatabaseMetaData m = c.getMetaData();
            equal(m.getDatabaseProductName(), "PostgreSQL");
            equal(m.getDatabaseMajorVersion(), 15);
            equal(c.getCatalog(), Features.DATABASE);
            equal(c.getSchema(), "public");
            equal(c.isValid(5), true);
        });
        f.add("simple query mode", "preferQueryMode=simple", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int + 1, ?, ?")) {
                s.setInt(1, 41);
                s.setString(2, "it's");
                s.setTimestamp(3, java.sql.Timestamp.valueOf("2024-01-02 03:04:05"));
                equal(rows(s.executeQuery()).get(0).substring(0, 8), "42|it's|");
            }
        });
        f.add("extended for prepared only", "preferQueryMode=extendedForPrepared", c -> equal(query(c, "SELECT 1"), List.of("1")));
        f.add("target server type primary", "targetServerType=primary", c -> equal(query(c, "SELECT 1"), List.of("1")));
        f.add("setSchema and currentSchema", "currentSchema=pg_catalog", c -> {
            equal(c.getSchema(), "pg_catalog");
            c.setSchema("public");
            equal(query(c, "SHOW search_path"), List.of("public"));
        });
        f.add("application name and options", "ApplicationName=jdbc-test&options=-c%20statement_timeout=12345", c -> {
            equal(query(c, "SHOW application_name"), List.of("jdbc-test"));
            equal(query(c, "SHOW statement_timeout"), List.of("12345ms"));
            c.setClientInfo("ApplicationName", "other");
            equal(query(c, "SHOW application_name"), List.of("other"));
        });
        f.add("transactions and savepoints", c -> {
            run(c, "DROP TABLE IF EXISTS j_tx", "CREATE TABLE j_tx (a int)");
            c.setAutoCommit(false);
            run(c, "INSERT INTO j_tx VALUES (1)");
            Savepoint point = c.setSavepoint("p");
            run(c, "INSERT INTO j_tx VALUES (2)");
            c.rollback(point);
            Savepoint other = c.setSavepoint();
            c.releaseSavepoint(other);
            c.commit();
            run(c, "INSERT INTO j_tx VALUES (3)");
            c.rollback();
            equal(query(c, "SELECT a FROM j_tx"), List.of("1"));
        });
        f.add("autosave always", "autosave=always", c -> {
            c.setAutoCommit(false);
            Features.fails("42P01", () -> run(c, "SELECT * FROM j_missing"));
            equal(query(c, "SELECT 1"), List.of("1"));
        });
        f.add("transaction isolation: default", c -> equal(c.getTransactionIsolation(), Connection.TRANSACTION_READ_COMMITTED));
        f.add("transaction isolation: repeatable read and read only", c -> {
            c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            c.setReadOnly(true);
            c.setAutoCommit(false);
            equal(query(c, "SHOW transaction_isolation"), List.of("repeatable read"));
            Features.fails("25006", () -> run(c, "CREATE TABLE j_never (a int)"));
        });
        f.add("read only with autocommit", "readOnlyMode=always", c -> {
            c.setReadOnly(true);
            Features.fails("25006", () -> run(c, "CREATE TABLE j_never (a int)"));
        });
        f.add("transaction isolation: serializable", c -> {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            equal(query(c, "SHOW transaction_isolation"), List.of("serializable"));
        });
        f.add("query timeout", c -> {
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                Features.fails("57014", () -> s.executeQuery(LONG));
            }
        });
        f.add("cancel", c -> {
            try (Statement s = c.createStatement()) {
                new Thread(() -> {
                    try {
                        Thread.sleep(500);
                        s.cancel();
                    } catch (Exception ignored) {
                        // The statement then runs into the limit of the feature.
                    }
                }).start();
                Features.fails("57014", () -> s.executeQuery(LONG));
            }
        });
        f.add("warnings", c -> {
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE IF EXISTS j_missing");
                equal(s.getWarnings().getMessage(), "table \"j_missing\" does not exist, skipping");
            }
        });
        f.add("errors with fields", c -> {
            run(c, "DROP TABLE IF EXISTS j_err", "CREATE TABLE j_err (a int PRIMARY KEY)", "INSERT INTO j_err VALUES (1)");
            try {
                run(c, "INSERT INTO j_err VALUES (1)");
                throw new AssertionError("no error");
            } catch (org.postgresql.util.PSQLException error) {
                var message = error.getServerErrorMessage();
                equal(List.of(message.getSQLState(), message.getConstraint(), message.getTable(), message.getSchema(), message.getDetail()),
                        List.of("23505", "j_err_pkey", "j_err", "public", "Key (a)=(1) already exists."));
            }
        });
        f.add("listen and notify", c -> {
            run(c, "LISTEN j_channel", "NOTIFY j_channel, 'hello'");
            var found = c.unwrap(PGConnection.class).getNotifications(2000);
            equal(found[0].getParameter(), "hello");
        });
        f.add("two-phase commit is answered", c -> {
            c.setAutoCommit(false);
            run(c, "SELECT 1");
            Features.fails("55000", () -> run(c, "PREPARE TRANSACTION 'x'"));
        });
    }

    private static void roundTrip(Features f, String type, Object value, Object expected) {
        f.add("type " + type, c -> {
            run(c, "DROP TABLE IF EXISTS j_type", "CREATE TABLE j_type (id int PRIMARY KEY, v " + type + ")");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_type VALUES (?, ?)")) {
                for (int id = 0; id < 7; id++) {
                    s.setInt(1, id);
                    s.setObject(2, value);
                    s.executeUpdate();
                }
            }
            try (PreparedStatement s = c.prepareStatement("SELECT v FROM j_type WHERE id = ?")) {
                // From the fifth execution on, the driver uses a named statement and binary results.
                for (int id = 0; id < 7; id++) {
                    s.setInt(1, id);
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        Object found = expected instanceof OffsetDateTime || expected instanceof LocalDate || expected instanceof LocalTime
                                        || expected instanceof LocalDateTime
                                ? r.getObject(1, expected.getClass()) : r.getObject(1);
                        if (found instanceof byte[] bytes) {
                            equal(Arrays.equals(bytes, (byte[]) expected), true);
                        } else if (found instanceof Array array) {
                            equal(Arrays.deepToString((Object[]) array.getArray()), expected);
                        } else if (found instanceof PGobject object) {
                            equal(object.getValue(), expected);
                        } else {
                            equal(found, expected);
                        }
                    }
                }
            }
        });
    }

    private static void types(Features f) {
        roundTrip(f, "boolean", true, true);
        roundTrip(f, "smallint", 5, 5);
        roundTrip(f, "integer", -2147483648, -2147483648);
        roundTrip(f, "bigint", Long.MAX_VALUE, Long.MAX_VALUE);
        roundTrip(f, "real", 1.5f, 1.5f);
        roundTrip(f, "double precision", 1e300, 1e300);
        roundTrip(f, "numeric(20,5)", new BigDecimal("-1234.56789"), new BigDecimal("-1234.56789"));
        roundTrip(f, "text", "it's ü€😀", "it's ü€😀");
        roundTrip(f, "varchar(10)", "abc", "abc");
        roundTrip(f, "char(5)", "abc", "abc  ");
        roundTrip(f, "bytea", new byte[] {0, -1, 39}, new byte[] {0, -1, 39});
        roundTrip(f, "date", LocalDate.of(2024, 2, 29), LocalDate.of(2024, 2, 29));
        roundTrip(f, "time", LocalTime.of(12, 34, 56, 789000000), LocalTime.of(12, 34, 56, 789000000));
        roundTrip(f, "timestamp", LocalDateTime.of(2024, 2, 29, 1, 2, 3, 456789000), LocalDateTime.of(2024, 2, 29, 1, 2, 3, 456789000));
        OffsetDateTime instant = OffsetDateTime.of(2024, 2, 29, 1, 2, 3, 0, ZoneOffset.UTC);
        roundTrip(f, "timestamptz", instant, instant);
        UUID uuid = new UUID(5, 6);
        roundTrip(f, "uuid", uuid, uuid);
        f.add("type jsonb by PGobject", c -> {
            run(c, "DROP TABLE IF EXISTS j_json", "CREATE TABLE j_json (v jsonb)");
            PGobject object = new PGobject();
            object.setType("jsonb");
            object.setValue("{\"a\": 1}");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_json VALUES (?)")) {
                s.setObject(1, object);
                s.executeUpdate();
            }
            equal(query(c, "SELECT v ->> 'a' FROM j_json"), List.of("1"));
        });
        f.add("type jsonb by stringtype=unspecified", "stringtype=unspecified", c -> {
            run(c, "DROP TABLE IF EXISTS j_json2", "CREATE TABLE j_json2 (v jsonb, u uuid, d date)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_json2 VALUES (?, ?, ?)")) {
                s.setString(1, "{\"a\": 2}");
                s.setString(2, uuid.toString());
                s.setString(3, "2024-01-01");
                s.executeUpdate();
            }
            equal(query(c, "SELECT v ->> 'a', u, d FROM j_json2"), List.of("2|" + uuid + "|2024-01-01"));
        });
        f.add("type interval", c -> {
            run(c, "DROP TABLE IF EXISTS j_interval", "CREATE TABLE j_interval (v interval)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_interval VALUES (?)")) {
                s.setObject(1, new org.postgresql.util.PGInterval(0, 1, 2, 3, 4, 5.5));
                s.executeUpdate();
            }
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT v FROM j_interval")) {
                r.next();
                equal(r.getObject(1), new org.postgresql.util.PGInterval(0, 1, 2, 3, 4, 5.5));
            }
        });
        f.add("arrays by createArrayOf", c -> {
            run(c, "DROP TABLE IF EXISTS j_array", "CREATE TABLE j_array (a int[], b text[], d uuid[])");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_array VALUES (?, ?, ?)")) {
                s.setArray(1, c.createArrayOf("int4", new Integer[] {1, null, 3}));
                s.setArray(2, c.createArrayOf("text", new String[] {"a", "b,\"c"}));
                s.setArray(3, c.createArrayOf("uuid", new UUID[] {uuid}));
                s.executeUpdate();
            }
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT a, b, d FROM j_array")) {
                r.next();
                equal(Arrays.toString((Object[]) r.getArray(1).getArray()), "[1, null, 3]");
                equal(Arrays.toString((Object[]) r.getArray(2).getArray()), "[a, b,\"c]");
                equal(Arrays.toString((Object[]) r.getArray(3).getArray()), "[" + uuid + "]");
                equal(rows(r.getArray(1).getResultSet()), List.of("1|1", "2|null", "3|3"));
            }
        });
        f.add("any of an array", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT g FROM generate_series(1, 9) AS g WHERE g = ANY (?) ORDER BY g")) {
                s.setArray(1, c.createArrayOf("int4", new Integer[] {2, 5}));
                equal(rows(s.executeQuery()), List.of("2", "5"));
            }
        });
        f.add("null parameters of every JDBC type", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int, ?::text, ?::timestamptz, ?::numeric, ?")) {
                s.setNull(1, Types.INTEGER);
                s.setNull(2, Types.VARCHAR);
                s.setNull(3, Types.TIMESTAMP_WITH_TIMEZONE);
                s.setNull(4, Types.NUMERIC);
                s.setNull(5, Types.NULL);
                equal(rows(s.executeQuery()), List.of("null|null|null|null|null"));
            }
        });
        f.add("java.sql.Timestamp and Date parameters", c -> {
            run(c, "DROP TABLE IF EXISTS j_dates", "CREATE TABLE j_dates (a timestamp, b timestamptz, d date)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_dates VALUES (?, ?, ?)")) {
                s.setTimestamp(1, java.sql.Timestamp.valueOf("2024-01-02 03:04:05"));
                s.setTimestamp(2, java.sql.Timestamp.valueOf("2024-01-02 03:04:05"));
                s.setDate(3, java.sql.Date.valueOf("2024-01-02"));
                s.executeUpdate();
            }
            try (PreparedStatement s = c.prepareStatement("SELECT count(*) FROM j_dates WHERE a = ? AND b <= ? AND d >= ?")) {
                s.setTimestamp(1, java.sql.Timestamp.valueOf("2024-01-02 03:04:05"));
                s.setTimestamp(2, java.sql.Timestamp.valueOf("2024-01-02 03:04:05"));
                s.setDate(3, java.sql.Date.valueOf("2024-01-02"));
                equal(rows(s.executeQuery()), List.of("1"));
            }
        });
    }

    private static void statements(Features f) {
        f.add("fetch size streams by portals", c -> {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(100);
                long sum = 0;
                try (ResultSet r = s.executeQuery("SELECT g FROM generate_series(1, 100000) AS g")) {
                    while (r.next()) {
                        sum += r.getLong(1);
                    }
                }
                equal(sum, 5000050000L);
            }
        });
        f.add("two streamed results at once", c -> {
            c.setAutoCommit(false);
            try (Statement one = c.createStatement(); Statement two = c.createStatement()) {
                one.setFetchSize(3);
                two.setFetchSize(3);
                ResultSet a = one.executeQuery("SELECT g FROM generate_series(1, 10) AS g");
                ResultSet b = two.executeQuery("SELECT g FROM generate_series(11, 20) AS g");
                long sum = 0;
                while (a.next() && b.next()) {
                    sum += a.getInt(1) * b.getInt(1);
                }
                equal(sum, 935L);
            }
        });
        f.add("streamed result while the table is written", c -> {
            run(c, "DROP TABLE IF EXISTS j_stream", "CREATE TABLE j_stream (a int PRIMARY KEY, b int)",
                    "INSERT INTO j_stream SELECT g, 0 FROM generate_series(1, 1000) AS g");
            c.setAutoCommit(false);
            try (Statement one = c.createStatement(); PreparedStatement two = c.prepareStatement("UPDATE j_stream SET b = 1 WHERE a = ?")) {
                one.setFetchSize(10);
                ResultSet r = one.executeQuery("SELECT a FROM j_stream ORDER BY a");
                int rows = 0;
                while (r.next()) {
                    two.setInt(1, r.getInt(1));
                    rows += two.executeUpdate();
                }
                equal(rows, 1000);
            }
            c.commit();
        });
        f.add("scrollable result", c -> {
            try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                ResultSet r = s.executeQuery("SELECT g FROM generate_series(1, 10) AS g");
                r.absolute(5);
                equal(r.getInt(1), 5);
                r.last();
                equal(r.getRow(), 10);
            }
        });
        f.add("updatable result", c -> {
            run(c, "DROP TABLE IF EXISTS j_upd", "CREATE TABLE j_upd (a int PRIMARY KEY, b text)", "INSERT INTO j_upd VALUES (1, 'x')");
            try (Statement s = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_UPDATABLE)) {
                ResultSet r = s.executeQuery("SELECT a, b FROM j_upd");
                r.next();
                r.updateString(2, "y");
                r.updateRow();
            }
            equal(query(c, "SELECT b FROM j_upd"), List.of("y"));
        });
        f.add("ref cursor and DECLARE", c -> {
            c.setAutoCommit(false);
            run(c, "DECLARE j_c CURSOR FOR SELECT g FROM generate_series(1, 10) AS g");
            equal(query(c, "FETCH 2 FROM j_c"), List.of("1", "2"));
            run(c, "CLOSE j_c");
        });
        for (String options : new String[] {"", "reWriteBatchedInserts=true"}) {
            f.add("batch of inserts " + options, options, c -> {
                run(c, "DROP TABLE IF EXISTS j_batch", "CREATE TABLE j_batch (a int PRIMARY KEY, b text, d timestamptz)");
                c.setAutoCommit(false);
                try (PreparedStatement s = c.prepareStatement("INSERT INTO j_batch (a, b, d) VALUES (?, ?, ?)")) {
                    for (int n = 0; n < 1000; n++) {
                        s.setInt(1, n);
                        s.setString(2, "b" + n);
                        s.setObject(3, OffsetDateTime.now());
                        s.addBatch();
                    }
                    equal(s.executeBatch().length, 1000);
                }
                c.commit();
                equal(query(c, "SELECT count(*), sum(a) FROM j_batch"), List.of("1000|499500"));
            });
        }
        f.add("batch with an error", c -> {
            run(c, "DROP TABLE IF EXISTS j_batch_err", "CREATE TABLE j_batch_err (a int PRIMARY KEY)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_batch_err VALUES (?)")) {
                for (int n : new int[] {1, 2, 1, 3}) {
                    s.setInt(1, n);
                    s.addBatch();
                }
                try {
                    s.executeBatch();
                    throw new AssertionError("no error");
                } catch (BatchUpdateException error) {
                    equal(error.getSQLState(), "23505");
                }
            }
            equal(query(c, "SELECT count(*) FROM j_batch_err"), List.of("0"));
        });
        f.add("batch of mixed statements", c -> {
            run(c, "DROP TABLE IF EXISTS j_mixed", "CREATE TABLE j_mixed (a int)");
            try (Statement s = c.createStatement()) {
                s.addBatch("INSERT INTO j_mixed VALUES (1), (2)");
                s.addBatch("UPDATE j_mixed SET a = a + 1");
                s.addBatch("DELETE FROM j_mixed WHERE a = 2");
                equal(Arrays.toString(s.executeBatch()), "[2, 2, 1]");
            }
        });
        f.add("generated keys: named columns", c -> {
            run(c, "DROP TABLE IF EXISTS j_gen", "CREATE TABLE j_gen (id int PRIMARY KEY, d text DEFAULT 'x')");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_gen (id) VALUES (?)", new String[] {"id", "d"})) {
                s.setInt(1, 5);
                s.executeUpdate();
                equal(rows(s.getGeneratedKeys()), List.of("5|x"));
            }
        });
        f.add("generated keys: of a serial column", c -> {
            run(c, "DROP TABLE IF EXISTS j_serial", "CREATE TABLE j_serial (id serial PRIMARY KEY, a text)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_serial (a) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                s.setString(1, "x");
                s.executeUpdate();
                equal(rows(s.getGeneratedKeys()), List.of("1|x"));
            }
        });
        f.add("prepared statement after a change of the table", "prepareThreshold=1", c -> {
            run(c, "DROP TABLE IF EXISTS j_change", "CREATE TABLE j_change (a int)", "INSERT INTO j_change VALUES (1)");
            try (PreparedStatement s = c.prepareStatement("SELECT * FROM j_change")) {
                equal(rows(s.executeQuery()), List.of("1"));
                equal(rows(s.executeQuery()), List.of("1"));
                run(c, "ALTER TABLE j_change ADD COLUMN b text");
                equal(rows(s.executeQuery()), List.of("1|null"));
            }
        });
        f.add("prepare threshold and binary transfer", "prepareThreshold=-1&binaryTransfer=true", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int8, 1.5::numeric, now()::timestamptz, 'x'::text, ARRAY[1,2], 'a'::bytea")) {
                s.setLong(1, 7);
                for (int n = 0; n < 3; n++) {
                    ResultSet r = s.executeQuery();
                    r.next();
                    equal(r.getLong(1), 7L);
                    equal(r.getBigDecimal(2), new BigDecimal("1.5"));
                    equal(Math.abs(r.getTimestamp(3).getTime() - System.currentTimeMillis()) < 60000, true);
                    equal(Arrays.toString((Object[]) r.getArray(5).getArray()), "[1, 2]");
                }
            }
        });
        f.add("several results of one statement", c -> {
            try (Statement s = c.createStatement()) {
                equal(s.execute("SELECT 1; SELECT 2"), true);
                equal(rows(s.getResultSet()), List.of("1"));
                equal(s.getMoreResults(), true);
                equal(rows(s.getResultSet()), List.of("2"));
            }
        });
        f.add("max rows", c -> {
            try (Statement s = c.createStatement()) {
                s.setMaxRows(3);
                equal(rows(s.executeQuery("SELECT g FROM generate_series(1, 10) AS g")), List.of("1", "2", "3"));
            }
        });
        f.add("JDBC escapes", c -> equal(
                query(c, "SELECT {fn concat('a', 'b')}, {d '2024-01-02'}, {ts '2024-01-02 03:04:05'}, {fn ucase('x')}, {fn year({d '2024-01-02'})}"),
                List.of("ab|2024-01-02|2024-01-02 03:04:05|X|2024")));
        f.add("callable statement of a function", c -> {
            try (var s = c.prepareCall("{? = call upper(?)}")) {
                s.registerOutParameter(1, Types.VARCHAR);
                s.setString(2, "abc");
                s.execute();
                equal(s.getString(1), "ABC");
            }
        });
        f.add("parameter metadata", c -> {
            run(c, "DROP TABLE IF EXISTS j_pm", "CREATE TABLE j_pm (a int, b text, d timestamptz)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j_pm VALUES (?, ?, ?)")) {
                var m = s.getParameterMetaData();
                equal(List.of(m.getParameterTypeName(1), m.getParameterTypeName(2), m.getParameterTypeName(3)), List.of("int4", "text", "timestamptz"));
            }
        });
        f.add("result metadata", c -> {
            run(c, "DROP TABLE IF EXISTS j_rm", "CREATE TABLE j_rm (a int NOT NULL, b varchar(7), d numeric(9,2))");
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT a, b, d, a + 1 AS e FROM j_rm")) {
                ResultSetMetaData m = r.getMetaData();
                equal(List.of(m.getColumnTypeName(1), m.getColumnType(2), m.getPrecision(2), m.getScale(3), m.getColumnLabel(4)),
                        List.of("int4", Types.VARCHAR, 7, 2, "e"));
                equal(List.of(m.getTableName(1), m.getTableName(4)), List.of("j_rm", ""));
                equal(List.of(m.isNullable(1), m.isNullable(2), m.isAutoIncrement(1)), List.of(0, 1, false));
            }
        });
    }

    private static void metadata(Features f) {
        f.add("metadata: getCatalogs", c -> equal(rows(c.getMetaData().getCatalogs()).contains(Features.DATABASE), true));
        f.add("metadata: getSchemas", c -> {
            List<String> found = rows(c.getMetaData().getSchemas(), "TABLE_SCHEM");
            equal(found.containsAll(List.of("information_schema", "pg_catalog", "public")), true);
            equal(rows(c.getMetaData().getSchemas(null, "publ%")), List.of("public|null"));
        });
        f.add("metadata: getTableTypes", c -> equal(rows(c.getMetaData().getTableTypes()).containsAll(List.of("TABLE", "VIEW")), true));
        f.add("metadata: getTables", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getTables(null, "jm", "%", null), "TABLE_NAME", "TABLE_TYPE"),
                    List.of("a_p|INDEX", "a_pkey|INDEX", "a_t|INDEX", "a|TABLE", "v|VIEW"));
            equal(rows(c.getMetaData().getTables(null, "jm", "%", new String[] {"TABLE", "VIEW"}), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"),
                    List.of("jm|a|TABLE", "jm|v|VIEW"));
            equal(rows(c.getMetaData().getTables(Features.DATABASE, "pg_catalog", "pg_class", null), "TABLE_NAME", "TABLE_TYPE"), List.of("pg_class|SYSTEM TABLE"));
        });
        f.add("metadata: getColumns", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getColumns(null, "jm", "a", "%"), "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE", "COLUMN_DEF", "ORDINAL_POSITION", "IS_AUTOINCREMENT"),
                    List.of("id|-5|int8|19|0|0|null|1|NO", "n|12|varchar|20|0|0|null|2|NO", "p|2|numeric|10|2|1|1.5|3|NO",
                            "t|12|text|2147483647|0|1|null|4|NO", "ts|93|timestamptz|35|6|1|null|5|NO", "j|1111|jsonb|2147483647|0|1|null|6|NO", "ar|2003|_int4|10|0|1|null|7|NO"));
        });
        f.add("metadata: getPrimaryKeys", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getPrimaryKeys(null, "jm", "a"), "COLUMN_NAME", "KEY_SEQ", "PK_NAME"), List.of("id|1|a_pkey", "n|2|a_pkey"));
        });
        f.add("metadata: getIndexInfo", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getIndexInfo(null, "jm", "a", false, true), "NON_UNIQUE", "INDEX_NAME", "TYPE", "ORDINAL_POSITION", "COLUMN_NAME", "ASC_OR_DESC"),
                    List.of("f|a_p|3|1|p|A", "f|a_pkey|3|1|id|A", "f|a_pkey|3|2|n|A", "t|a_t|3|1|t|D", "t|a_t|3|2|p|A"));
        });
        f.add("metadata: getImportedKeys, getExportedKeys, getCrossReference without keys", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getImportedKeys(null, "jm", "a")), List.of());
            equal(rows(c.getMetaData().getExportedKeys(null, "jm", "a")), List.of());
            equal(rows(c.getMetaData().getCrossReference(null, "jm", "a", null, "jm", "a")), List.of());
        });
        f.add("metadata: getImportedKeys with a key", c -> {
            run(c, "DROP TABLE IF EXISTS j_child, j_parent", "CREATE TABLE j_parent (id int PRIMARY KEY)",
                    "CREATE TABLE j_child (p int CONSTRAINT fk REFERENCES j_parent ON DELETE CASCADE)");
            equal(rows(c.getMetaData().getImportedKeys(null, "public", "j_child"), "PKTABLE_NAME", "PKCOLUMN_NAME", "FKCOLUMN_NAME", "FK_NAME", "DELETE_RULE"),
                    List.of("j_parent|id|p|fk|0"));
        });
        f.add("metadata: getTypeInfo", c -> {
            List<String> found = rows(c.getMetaData().getTypeInfo(), "TYPE_NAME", "DATA_TYPE");
            equal(found.containsAll(List.of("int4|4", "text|12", "numeric|2", "timestamptz|93", "jsonb|1111", "_int4|2003", "uuid|1111")), true);
        });
        f.add("metadata: getFunctions and getFunctionColumns", c -> {
            equal(rows(c.getMetaData().getFunctions(null, "pg_catalog", "upper"), "FUNCTION_NAME").contains("upper"), true);
            equal(rows(c.getMetaData().getFunctionColumns(null, "pg_catalog", "lower", "%")).isEmpty(), false);
        });
        f.add("metadata: getProcedures and getProcedureColumns", c -> {
            rows(c.getMetaData().getProcedures(null, "public", "%"));
            rows(c.getMetaData().getProcedureColumns(null, "public", "%", "%"));
        });
        f.add("metadata: getBestRowIdentifier and getVersionColumns", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getBestRowIdentifier(null, "jm", "a", DatabaseMetaData.bestRowSession, true), "COLUMN_NAME"), List.of("id", "n"));
            rows(c.getMetaData().getVersionColumns(null, "jm", "a"));
        });
        f.add("metadata: getTablePrivileges and getColumnPrivileges", c -> {
            metadataTables(c);
            equal(rows(c.getMetaData().getTablePrivileges(null, "jm", "a"), "PRIVILEGE").contains("SELECT"), true);
            equal(rows(c.getMetaData().getColumnPrivileges(null, "jm", "a", "id"), "PRIVILEGE").contains("SELECT"), true);
        });
        f.add("metadata: getUDTs and getClientInfoProperties", c -> {
            rows(c.getMetaData().getUDTs(null, null, "%", null));
            rows(c.getMetaData().getClientInfoProperties());
        });
        f.add("metadata: getPseudoColumns, getSuperTables and others", c -> {
            DatabaseMetaData m = c.getMetaData();
            m.getSQLKeywords();
            equal(m.getMaxColumnNameLength(), 63);
            equal(m.getUserName(), Features.USER);
            m.getMaxIndexLength();
            m.getNumericFunctions();
        });
        f.add("metadata: getTables of partitioned, foreign, materialized and temporary kinds", c -> equal(
                rows(c.getMetaData().getTables(null, "public", "no such %", new String[] {
                    "PARTITIONED TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW", "TEMPORARY TABLE", "SEQUENCE", "TYPE", "INDEX", "SYSTEM VIEW"})), List.of()));
    }

    private static void copies(Features f) {
        f.add("CopyManager: in and out", c -> {
            run(c, "DROP TABLE IF EXISTS j_copy", "CREATE TABLE j_copy (a int, b text)");
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            equal(copy.copyIn("COPY j_copy FROM STDIN WITH (FORMAT csv, HEADER)", new StringReader("a,b\n1,\"x,y\"\n2,\n")), 2L);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            equal(copy.copyOut("COPY (SELECT * FROM j_copy ORDER BY a) TO STDOUT", out), 2L);
            equal(out.toString(StandardCharsets.UTF_8), "1\tx,y\n2\t\\N\n");
        });
        f.add("CopyManager: one row per read", c -> {
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            var out = copy.copyOut("COPY (SELECT g FROM generate_series(1, 5) AS g) TO STDOUT");
            List<String> found = new ArrayList<>();
            for (byte[] row = out.readFromCopy(); row != null; row = out.readFromCopy()) {
                found.add(new String(row, StandardCharsets.UTF_8));
            }
            equal(found, List.of("1\n", "2\n", "3\n", "4\n", "5\n"));
        });
        f.add("CopyManager: cancelled", c -> {
            run(c, "DROP TABLE IF EXISTS j_copy2", "CREATE TABLE j_copy2 (a int)");
            var in = c.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY j_copy2 FROM STDIN");
            in.writeToCopy("1\n".getBytes(), 0, 2);
            in.cancelCopy();
            equal(query(c, "SELECT count(*) FROM j_copy2"), List.of("0"));
        });
        f.add("CopyManager: binary", c -> {
            run(c, "DROP TABLE IF EXISTS j_copy3", "CREATE TABLE j_copy3 (a int, b text)");
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            copy.copyOut("COPY (SELECT 1, 'x'::text) TO STDOUT (FORMAT BINARY)", out);
            equal(copy.copyIn("COPY j_copy3 FROM STDIN (FORMAT BINARY)", new java.io.ByteArrayInputStream(out.toByteArray())), 1L);
            equal(query(c, "SELECT * FROM j_copy3"), List.of("1|x"));
        });
    }
}
