-- Metabase. Constructs from memory of metabase/metabase, not yet compared line by line with it: src/metabase/driver/postgres.clj (describe-fields-sql, describe-fks-sql, get-tables-sql,
-- current-user-table-privileges) and the date functions of its query processor; the wording is our own.

-- name: session
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET SESSION TIMEZONE TO 'UTC'; SHOW timezone; RESET ALL;

-- name: tables -- rows
SELECT n.nspname AS schema, c.relname AS name, CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' END AS type,
  d.description, stat.n_live_tup AS estimated
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid
LEFT JOIN pg_catalog.pg_description d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
LEFT JOIN pg_catalog.pg_stat_user_tables stat ON n.nspname = stat.schemaname AND c.relname = stat.relname AND false
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND n.nspname IN ('bi') ORDER BY type, schema, name;

-- name: fields -- rows
SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') THEN format('%s', c.udt_name) ELSE format('"%s"."%s"', c.udt_schema, c.udt_name) END AS type,
  c.ordinal_position - 1 AS position, pk.column_name IS NOT NULL AS is_pk, c.column_default IS NULL AND c.is_nullable = 'NO' AND c.is_identity = 'NO' AS required,
  col_description(CAST(CAST(format('%I.%I', CAST(c.table_schema AS text), CAST(c.table_name AS text)) AS regclass) AS oid), c.ordinal_position) AS comment
FROM information_schema.columns c LEFT JOIN (
  SELECT tc.table_schema, tc.table_name, kc.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kc
    ON tc.constraint_name = kc.constraint_name AND tc.table_schema = kc.table_schema AND tc.table_name = kc.table_name
  WHERE tc.constraint_type = 'PRIMARY KEY') pk ON c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = pk.column_name
WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema = 'bi' AND c.table_name = 'sales' ORDER BY position;

-- name: foreign keys
SELECT fn.nspname AS fk_schema, ft.relname AS fk_table, fc.attname AS fk_column, pn.nspname AS pk_schema, pt.relname AS pk_table, pc.attname AS pk_column
FROM pg_constraint c JOIN pg_class ft ON c.conrelid = ft.oid JOIN pg_namespace fn ON c.connamespace = fn.oid
JOIN pg_attribute fc ON c.conrelid = fc.attrelid JOIN pg_class pt ON c.confrelid = pt.oid JOIN pg_namespace pn ON pt.relnamespace = pn.oid
JOIN pg_attribute pc ON c.confrelid = pc.attrelid
WHERE fn.nspname !~ '^information_schema|pg_' AND c.contype = 'f'::"char" AND fc.attnum = ANY (c.conkey) AND pc.attnum = ANY (c.confkey) ORDER BY 1, 2;

-- name: privileges of the tables -- rows
WITH p AS (
  SELECT NULL AS role, t.schemaname AS schema, t.objectname AS name,
    pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'update') AS upd,
    pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'select') AS sel,
    pg_catalog.has_table_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'delete') AS del
  FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION SELECT schemaname, viewname FROM pg_catalog.pg_views
        UNION SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t
  WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage'))
SELECT p.* FROM p WHERE p.schema = 'bi' ORDER BY 3;

-- name: enums
SELECT n.nspname, t.typname, e.enumlabel FROM pg_type t JOIN pg_enum e ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace;

-- name: by month -- rows
SELECT date_trunc('month', "bi"."sales"."sold") AS "sold", count(*) AS "count", sum("bi"."sales"."amount") AS "sum" FROM "bi"."sales"
GROUP BY date_trunc('month', "bi"."sales"."sold") ORDER BY date_trunc('month', "bi"."sales"."sold") ASC;

-- name: by week that begins on Sunday -- rows
SELECT (CAST(date_trunc('week', (sold + INTERVAL '1 day')) AS timestamp) + INTERVAL '-1 day') AS w, count(*) FROM bi.sales WHERE sold IS NOT NULL GROUP BY 1 ORDER BY 1;

-- name: parts of dates -- rows
SELECT CAST(extract(dow FROM sold) AS integer) + 1 AS dow, CAST(extract(quarter FROM sold) AS integer) AS q, CAST(extract(doy FROM sold) AS integer) AS doy,
  CAST(extract(hour FROM sold) AS integer) AS h, CAST(floor((CAST(date_part('day', sold) AS integer) + 6) / 7) AS integer) AS wk FROM bi.sales WHERE id < 4 ORDER BY id;

-- name: relative dates
SELECT count(*) FROM bi.sales WHERE seen >= date_trunc('month', (now() + INTERVAL '-30 month')) AND seen < date_trunc('month', (now() + INTERVAL '1 month'));

-- name: time zones -- rows
SELECT timezone('Europe/Berlin', seen) AS a, date_trunc('day', timezone('Europe/Berlin', seen)) AT TIME ZONE 'Europe/Berlin' AS b, seen AT TIME ZONE 'America/New_York' AS c
FROM bi.sales WHERE id < 4 ORDER BY id;

-- name: expressions -- rows
SELECT CAST(amount AS float) / NULLIF(rate, 0.0) AS q, regexp_replace(customer, 'a(d)', '<\1>') AS r, substring(customer FROM 1 FOR 2) AS s,
  substring(customer FROM '(b.)') AS m, position('d' IN customer) AS p, coalesce(region, '?') AS c, concat(customer, '-', region) AS cc, floor((amount / 50.0)) * 50.0 AS bin
FROM bi.sales ORDER BY id;

-- name: percentiles and deviations -- rows
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS median, round(stddev_pop(amount), 4) AS sp, round(var_samp(amount), 4) AS vs, count(DISTINCT customer) AS c,
  sum(CASE WHEN paid THEN 1 ELSE 0.0 END) AS s FROM bi.sales;

-- name: unfolded JSON -- rows
SELECT (body#>>array['k']::text[])::decimal AS k FROM bi.sales WHERE body IS NOT NULL ORDER BY id;

-- name: sampled text -- rows
SELECT "s"."customer" AS "c", left(CAST(body AS text), 1234) AS b FROM (SELECT * FROM bi.sales) AS s ORDER BY id LIMIT 10000;
