-- Apache Superset. Constructs from memory of apache/superset, not yet compared line by line with it: superset/db_engine_specs/postgres.py (time grains, convert_dttm, cancel_query, estimate)
-- over SQLAlchemy, whose reflection test_sqlalchemy.py tries; the wording is our own.

-- name: time grains -- rows
SELECT date_trunc('second', sold) AS a, date_trunc('minute', sold) + INTERVAL '5 minutes' * floor(extract(minute FROM sold) / 5) AS b,
  date_trunc('hour', sold) AS c, date_trunc('day', sold) AS d, date_trunc('week', sold) AS e, date_trunc('quarter', sold) AS f, date_trunc('year', sold) AS g
FROM bi.sales WHERE id < 4 ORDER BY id;

-- name: range of time by to_timestamp and to_date -- rows
SELECT count(*) FROM bi.sales WHERE sold >= to_timestamp('2024-01-01 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND sold < to_timestamp('2024-02-01 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US')
  AND day >= to_date('2024-01-01', 'YYYY-MM-DD');

-- name: grouping with an inner top list -- rows
SELECT date_trunc('month', sold) AS __timestamp, customer AS customer, sum(amount) AS "SUM(amount)" FROM bi.sales
JOIN (SELECT customer AS customer__, sum(amount) AS mme_inner__ FROM bi.sales WHERE sold IS NOT NULL GROUP BY customer ORDER BY mme_inner__ DESC LIMIT 2) AS series_limit ON customer = customer__
GROUP BY date_trunc('month', sold), customer ORDER BY 1, 2 LIMIT 50000;

-- name: dates of epochs -- rows
SELECT to_timestamp(1704103200) AS a, (timestamp 'epoch' + 1704103200 * interval '1 second') AS b, extract(epoch FROM timestamp '2024-01-01 10:00:00')::bigint AS c;

-- name: databases and the backend's number -- rows
SELECT datname FROM pg_database WHERE datistemplate = false AND datname = current_database(); SELECT pg_backend_pid() > 0;

-- name: estimate
EXPLAIN SELECT * FROM bi.sales;

-- name: search path of a query
SET search_path = "bi"; SELECT count(*) FROM sales; RESET search_path;

-- name: rows of a materialized view list
SELECT matviewname FROM pg_matviews WHERE schemaname = 'bi';

-- name: latest partition and comment of a table
SELECT pg_catalog.obj_description('bi.sales'::regclass, 'pg_class') AS c, pgd.description FROM pg_catalog.pg_description pgd LIMIT 0;

-- name: to_char of dates and numbers -- rows
SELECT to_char(sold, 'YYYY-MM-DD HH24:MI:SS') AS a, to_char(sold, 'Mon DD, YYYY') AS b, to_char(day, 'IYYY-IW') AS c, to_char(sold, 'Day') AS d, to_char(amount, 'FM999,990.00') AS e
FROM bi.sales WHERE id < 4 ORDER BY id;
