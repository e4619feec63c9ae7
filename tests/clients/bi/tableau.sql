-- Tableau over JDBC and ODBC. Its connector is not public, so these are constructs from memory of what it is known to send:
-- temporary tables, cursors WITH HOLD, formulas of its PostgreSQL dialect. No source was compared.

-- name: session
SET DateStyle = 'ISO'; SET extra_float_digits = 2; SHOW transaction_isolation; SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: shape of a custom query
SELECT * FROM (SELECT * FROM bi.sales) "Custom SQL Query" LIMIT 0;

-- name: probe of a temporary table
CREATE LOCAL TEMPORARY TABLE "#Tableau_1_Connect" ("COL" integer) ON COMMIT PRESERVE ROWS; DROP TABLE "#Tableau_1_Connect";

-- name: temporary table of a filter
SELECT customer AS "customer" INTO TEMP TABLE "#Tableau_2_Filter" FROM bi.sales GROUP BY 1; DROP TABLE "#Tableau_2_Filter";

-- name: cursor
BEGIN; DECLARE "SQL_CUR0x1" CURSOR WITH HOLD FOR SELECT id FROM bi.sales ORDER BY id; FETCH 2 IN "SQL_CUR0x1"; FETCH 10000 IN "SQL_CUR0x1"; CLOSE "SQL_CUR0x1"; COMMIT;

-- name: aggregates by truncated dates -- rows
SELECT CAST("sales"."customer" AS text) AS "customer", sum("sales"."amount") AS "sum:amount:ok", date_trunc('MONTH', CAST("sales"."sold" AS timestamp)) AS "tmn:sold:ok"
FROM "bi"."sales" "sales" WHERE (("sales"."sold" >= (TIMESTAMP '2024-01-01 00:00:00.000')) AND ("sales"."sold" < (TIMESTAMP '2025-01-01 00:00:00.000'))) GROUP BY 1, 3 ORDER BY 1, 3;

-- name: parts of dates -- rows
SELECT CAST(trunc(extract(YEAR FROM "sold")) AS integer) AS y, CAST(trunc(extract(QUARTER FROM "sold")) AS integer) AS q, (1 + CAST(extract(DOW FROM "sold") AS integer)) AS w,
  to_char("sold", 'FMMonth') AS m, ("day" + 3 * INTERVAL '1 DAY') AS plus, CAST(DATE_PART('DAY', timestamp '2024-03-01' - "sold") AS integer) AS dist FROM bi.sales WHERE id < 4 ORDER BY id;

-- name: conditional expressions -- rows
SELECT (CASE WHEN ("rate" >= 1) THEN 'high' WHEN NOT ("rate" >= 1) THEN 'low' ELSE NULL END) AS c, greatest("rate", 1.0::float8) AS g, (CASE "rate" WHEN 0 THEN NULL ELSE "amount" / "rate"::numeric END) AS q,
  strpos(lower("customer"), 'd') AS s, lpad("customer", 5, '*') AS l, split_part("customer", 'd', 1) AS p, ascii("customer") AS a, "customer" ~ '^a' AS re, reverse(initcap("customer")) AS i
FROM bi.sales ORDER BY id;

-- name: level of detail join -- rows
SELECT "t0"."m" AS m, count(*) FROM bi.sales s JOIN (SELECT customer, max(amount) AS m FROM bi.sales GROUP BY 1) "t0" ON (s.customer IS NOT DISTINCT FROM "t0".customer) GROUP BY 1 ORDER BY 1;

-- name: correlation and percentile -- rows
SELECT round(corr(amount, rate)::numeric, 6) AS c, percentile_cont(0.25) WITHIN GROUP (ORDER BY rate) AS p, percentile_disc(0.5) WITHIN GROUP (ORDER BY rate) AS d, mode() WITHIN GROUP (ORDER BY customer) AS m FROM bi.sales;
