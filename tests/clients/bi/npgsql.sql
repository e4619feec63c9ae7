-- Power BI and every .NET program over Npgsql: what it reads when it connects and when a pooled connection is returned.
-- Constructs as in npgsql/npgsql, src/Npgsql/PostgresDatabaseInfo.cs (GenerateLoadTypesQuery, GenerateLoadCompositeTypesQuery,
-- GenerateLoadEnumFieldsQuery); the wording is our own. The reset and Power BI's parts are from memory, no source was compared.

-- name: types with their elements
SELECT n.nspname, q.oid, q.typname, q.kind, q.typnotnull, q.element
FROM (
  SELECT t.oid, t.typname, t.typnamespace, t.typnotnull,
         CASE WHEN f.proname = 'array_recv' THEN 'a' ELSE t.typtype END AS kind,
         CASE WHEN f.proname = 'array_recv' THEN t.typelem WHEN t.typtype = 'r' THEN r.rngsubtype
              WHEN t.typtype = 'm' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = t.oid)
              WHEN t.typtype = 'd' THEN t.typbasetype END AS element,
         c.relkind
  FROM pg_type AS t
  LEFT JOIN pg_class AS c ON c.oid = t.typrelid
  LEFT JOIN pg_proc AS f ON f.oid = t.typreceive
  LEFT JOIN pg_range AS r ON r.rngtypid = t.oid
) AS q
LEFT JOIN pg_type AS e ON e.oid = q.element
LEFT JOIN pg_proc AS ef ON ef.oid = e.typreceive
JOIN pg_namespace AS n ON n.oid = q.typnamespace
WHERE q.kind IN ('b', 'r', 'm', 'e', 'd') OR (q.kind = 'c' AND q.relkind = 'c')
   OR (q.kind = 'p' AND q.typname IN ('record', 'void')) OR (q.kind = 'a' AND e.typtype IN ('b', 'r', 'm', 'e', 'd'))
ORDER BY CASE WHEN q.kind IN ('b', 'e', 'p') THEN 0 WHEN q.kind = 'a' THEN 5 ELSE 1 END;

-- name: base types are there with their arrays -- rows
SELECT t.typname, a.typname FROM pg_type t JOIN pg_type a ON a.oid = t.typarray JOIN pg_proc f ON f.oid = a.typreceive
WHERE f.proname = 'array_recv' AND t.typname IN ('int4', 'text', 'uuid', 'jsonb', 'numeric', 'timestamptz') ORDER BY 1;

-- name: fields of composite types
SELECT t.oid, a.attname, a.atttypid FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
JOIN pg_class AS c ON c.oid = t.typrelid JOIN pg_attribute AS a ON a.attrelid = t.typrelid
WHERE t.typtype = 'c' AND c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY t.oid, a.attnum;

-- name: labels of enums
SELECT t.oid, e.enumlabel FROM pg_enum AS e JOIN pg_type AS t ON t.oid = e.enumtypid ORDER BY t.oid, e.enumsortorder;

-- name: reset of a pooled connection
DISCARD ALL;

-- name: reset, piece by piece
SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP;

-- name: Power BI, navigator
SELECT table_schema, table_name, table_type FROM information_schema.tables
WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY table_schema, table_name;

-- name: Power BI, columns -- rows
SELECT column_name, ordinal_position, is_nullable, CASE WHEN data_type LIKE '%unsigned%' THEN data_type || ' unsigned' ELSE data_type END AS data_type
FROM information_schema.columns WHERE table_schema = 'bi' AND table_name = 'sales' ORDER BY table_schema, table_name, ordinal_position;

-- name: Power BI, keys -- rows
SELECT u.column_name, u.ordinal_position, k.constraint_type = 'PRIMARY KEY' AS prim
FROM information_schema.table_constraints k JOIN information_schema.key_column_usage u
  ON k.constraint_schema = u.constraint_schema AND k.constraint_name = u.constraint_name
 AND k.table_schema = u.table_schema AND k.table_name = u.table_name
WHERE k.table_schema = 'bi' AND k.table_name = 'sales' AND k.constraint_type IN ('PRIMARY KEY', 'UNIQUE');

-- name: Power BI, foreign keys
SELECT pk.constraint_name, fk.table_name, fk.column_name FROM information_schema.referential_constraints r
JOIN information_schema.key_column_usage fk ON fk.constraint_name = r.constraint_name AND fk.constraint_schema = r.constraint_schema
JOIN information_schema.key_column_usage pk ON pk.constraint_name = r.unique_constraint_name AND pk.ordinal_position = fk.position_in_unique_constraint
ORDER BY 1;

-- name: Power BI, character sets
SELECT character_set_name FROM information_schema.character_sets;

-- name: Power BI, folded query -- rows
SELECT "rows"."customer" AS "customer", sum("rows"."amount") AS "a0" FROM (
  SELECT "_"."customer", "_"."amount" FROM "bi"."sales" "_" WHERE "_"."day" >= date '2024-01-01' AND "_"."customer" IS NOT NULL) "rows"
GROUP BY "customer" ORDER BY 1 LIMIT 1000001;
