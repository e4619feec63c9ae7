import java.io.PrintStream;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Features of a client, each tried on a connection of its own; one JSON line tells how each went. */
final class Features {
    interface Work {
        void run(Connection connection) throws Exception;
    }

    private record Feature(String name, String options, Work work) {}

    private static final long SECONDS_MAX = Long.parseLong(env("FEATURE_SECONDS", "20"));
    private static final String HOST = env("PGHOST", "127.0.0.1");
    private static final String PORT = env("PGPORT", "5433");
    static final String USER = env("PGUSER", "nyala");
    private static final String PASSWORD = env("PGPASSWORD", "");
    static final String DATABASE = env("PGDATABASE", "nyala");

    private final List<Feature> features = new ArrayList<>();

    private static String env(String name, String otherwise) {
        return Objects.requireNonNullElse(System.getenv(name), otherwise);
    }

    static Connection connect(String options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", USER);
        properties.setProperty("password", PASSWORD);
        return DriverManager.getConnection("jdbc:postgresql://" + HOST + ":" + PORT + "/" + DATABASE + "?" + options, properties);
    }

    void add(String name, Work work) {
        add(name, "", work);
    }

    void add(String name, String options, Work work) {
        features.add(new Feature(name, options, work));
    }

    static void equal(Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError("found " + found + ", expected " + expected);
        }
    }

    static void fails(String state, Callback work) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            if (!state.equals(error.getSQLState())) {
                throw new AssertionError("SQLSTATE " + error.getSQLState() + ", expected " + state + ": " + error.getMessage());
            }
            return;
        }
        throw new AssertionError("no error, expected SQLSTATE " + state);
    }

    interface Callback {
        void run() throws Exception;
    }

    /** Runs those whose name contains one of the words, or all; the process ends with 1 when one failed. */
    void main(String client, String[] words) throws Exception {
        ExecutorService threads = Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        });
        boolean failed = false;
        for (Feature feature : features) {
            if (words.length > 0 && List.of(words).stream().noneMatch(feature.name::contains)) {
                continue;
            }
            String error = null;
            long began = System.currentTimeMillis();
            try {
                threads.submit(() -> {
                    try (Connection connection = connect(feature.options)) {
                        feature.work.run(connection);
                    }
                    return null;
                }).get(SECONDS_MAX, TimeUnit.SECONDS);
            } catch (TimeoutException late) {
                error = "no end after " + SECONDS_MAX + " s";
            } catch (Exception wrapped) {
                error = describe(wrapped.getCause() == null ? wrapped : wrapped.getCause());
            }
            failed |= error != null;
            System.out.println("{\"client\": " + quote(client) + ", \"feature\": " + quote(feature.name) + ", \"ok\": "
                    + (error == null) + ", \"error\": " + (error == null ? "null" : quote(error))
                    + ", \"seconds\": " + (System.currentTimeMillis() - began) / 1000.0 + "}");
        }
        System.out.flush();
        System.exit(failed ? 1 : 0);
    }

    private static String describe(Throwable error) {
        String state = error instanceof SQLException sql ? sql.getSQLState() + " " : "";
        String place = "";
        for (StackTraceElement element : error.getStackTrace()) {
            if (element.getClassName().startsWith("TestPgjdbc")) {
                place = " [line " + element.getLineNumber() + "]";
                break;
            }
        }
        return state + error.getClass().getSimpleName() + ": " + error.getMessage() + place;
    }

    private static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            switch (c) {
                case '"', '\\' -> out.append('\\').append(c);
                case '\n' -> out.append("\\n");
                default -> out.append(c < ' ' ? ' ' : c);
            }
        }
        return out.append('"').toString();
    }
}
