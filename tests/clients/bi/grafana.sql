-- Grafana. Constructs as in grafana/grafana, public/app/plugins/datasource/grafana-postgresql-datasource/postgresMetaQuery.ts;
-- the wording is our own. The macros' time filters are from memory of pkg/tsdb/grafana-postgresql-datasource/macros.go.

-- name: version -- rows
SELECT current_setting('server_version_num')::int / 10000 AS version;

-- name: extension
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- name: schemas -- rows
SELECT schema_name AS "name" FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', 'pg_catalog', 'pg_toast') AND schema_name = 'bi' ORDER BY schema_name;

-- name: tables of the search path
SELECT CASE WHEN quote_ident(t.table_schema) IN (
    SELECT CASE WHEN trim(p[i]) = '"$user"' THEN user ELSE trim(p[i]) END
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
         string_to_array(current_setting('search_path'), ',') p)
  THEN quote_ident(t.table_name) ELSE quote_ident(t.table_schema) || '.' || quote_ident(t.table_name) END AS "table"
FROM information_schema.tables t WHERE quote_ident(t.table_schema) NOT IN ('information_schema', 'pg_catalog') ORDER BY 1;

-- name: columns of a table named with its schema -- rows
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
WHERE CASE WHEN array_length(parse_ident('bi.sales'), 1) = 2 THEN quote_ident(table_schema) = (parse_ident('bi.sales'))[1] AND quote_ident(table_name) = (parse_ident('bi.sales'))[2]
  ELSE quote_ident(table_name) = 'bi.sales' END ORDER BY ordinal_position;

-- name: time filter and time group -- rows
SELECT floor(extract(epoch FROM seen) / 86400) * 86400 AS "time", sum(amount) AS value FROM bi.sales WHERE seen BETWEEN '2024-01-01T00:00:00Z' AND '2024-12-31T23:59:59Z' GROUP BY 1 ORDER BY 1;

-- name: time by to_timestamp of a floor -- rows
SELECT to_timestamp(floor(extract(epoch FROM seen) / 3600)::bigint * 3600) AS "time", avg(rate) AS v FROM bi.sales WHERE seen >= to_timestamp(1704067200) GROUP BY 1 ORDER BY 1;

-- name: unix epoch filter -- rows
SELECT extract(epoch FROM seen) AS "time", customer AS metric, rate AS value FROM bi.sales WHERE extract(epoch FROM seen) >= 1704067200 AND extract(epoch FROM seen) <= 1735689600 ORDER BY 1;

-- name: variables -- rows
SELECT DISTINCT customer AS __text, customer AS __value FROM bi.sales WHERE region IN ('north', 'south') AND customer ~* '^(A|b)' ORDER BY 1;
