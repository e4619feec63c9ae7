-- DataGrip and the database tools of JetBrains' IDEs. Their introspector is not public, so these are constructs from memory of
-- what it is known to ask: catalogs with xmin, age(), txid_current() and casts of oids to bigint and varchar. No source was compared.

-- name: session
SET extra_float_digits = 3; SELECT version(); SHOW transaction_isolation; SELECT current_database() AS a, current_schemas(false) AS b;

-- name: start time, recovery and transaction number
SELECT round(extract(epoch FROM pg_postmaster_start_time() AT TIME ZONE 'UTC')) AS startup_time,
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE (pg_catalog.txid_current() % 4294967296)::varchar::bigint END AS tx;

-- name: time zones
SELECT name, is_dst FROM pg_catalog.pg_timezone_names UNION DISTINCT SELECT abbrev AS name, is_dst FROM pg_catalog.pg_timezone_abbrevs;

-- name: databases
SELECT n.oid::bigint AS id, n.datname AS name, d.description, n.datistemplate AS is_template, n.datallowconn AS allow, pg_catalog.pg_get_userbyid(n.datdba) AS owner
FROM pg_catalog.pg_database n LEFT JOIN pg_catalog.pg_shdescription d ON n.oid = d.objoid
ORDER BY CASE WHEN n.datname = pg_catalog.current_database() THEN -1::bigint ELSE n.oid::bigint END;

-- name: schemas with xmin
SELECT n.oid::bigint AS id, n.xmin AS state_number, n.nspname AS name, d.description, pg_catalog.pg_get_userbyid(n.nspowner) AS owner
FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_description d ON n.oid = d.objoid
ORDER BY CASE WHEN n.nspname = pg_catalog.current_schema() THEN -1::bigint ELSE n.oid::bigint END;

-- name: age of a row's transaction
SELECT max(pg_catalog.age(xmin)) IS NOT NULL FROM pg_catalog.pg_class WHERE relnamespace = 'bi'::regnamespace;

-- name: tables
SELECT t.relkind AS table_kind, t.relname AS table_name, t.oid AS table_id, t.xmin AS table_state, false AS with_oids, t.reltablespace AS tablespace_id,
  t.reloptions AS options, t.relpersistence AS persistence,
  (SELECT pg_catalog.array_agg(inhparent::bigint ORDER BY inhseqno)::varchar FROM pg_catalog.pg_inherits WHERE t.oid = inhrelid) AS ancestors,
  t.relispartition AS is_partition, pg_catalog.pg_get_partkeydef(t.oid) AS partition_key, am.amname AS access_method, pg_catalog.pg_get_userbyid(t.relowner) AS owner
FROM pg_catalog.pg_class t LEFT OUTER JOIN pg_catalog.pg_am am ON am.oid = t.relam
WHERE t.relnamespace = 'bi'::regnamespace::oid AND t.relkind IN ('r', 'm', 'v', 'f', 'p') ORDER BY table_kind, table_id;

-- name: columns
WITH T AS (SELECT DISTINCT t.oid AS table_id, t.relname AS table_name FROM pg_catalog.pg_class t, pg_catalog.pg_attribute a
  WHERE t.relnamespace = 'bi'::regnamespace::oid AND t.relkind IN ('r', 'm', 'v', 'f', 'p') AND a.attrelid = t.oid)
SELECT T.table_id, c.attnum AS column_position, c.attname AS column_name, c.xmin AS column_state, c.atttypmod AS type_mod, c.attndims AS dims,
  pg_catalog.format_type(c.atttypid, c.atttypmod) AS type_spec, c.atttypid AS type_id, c.attnotnull AS mandatory,
  pg_catalog.pg_get_expr(d.adbin, T.table_id) AS column_default, c.attidentity AS identity_kind, c.attgenerated AS generated
FROM T JOIN pg_catalog.pg_attribute c ON T.table_id = c.attrelid LEFT JOIN pg_catalog.pg_attrdef d ON (c.attrelid, c.attnum) = (d.adrelid, d.adnum)
WHERE c.attnum > 0 AND NOT c.attisdropped ORDER BY table_id, attnum;

-- name: indexes
SELECT tab.oid AS table_id, tab.relkind AS kind, i.relname AS name, x.indisunique AS uniq, x.indisprimary AS prim, x.indkey AS positions,
  pg_catalog.array_to_string(array(SELECT CASE WHEN o[i1] & 1 = 1 THEN 'D' ELSE 'A' END FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS i1), ' ') AS orders
FROM pg_catalog.pg_class tab JOIN (SELECT indexrelid, indrelid, indisunique, indisprimary, indkey, indoption::int2[] AS o, indnkeyatts FROM pg_catalog.pg_index) x ON x.indrelid = tab.oid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE tab.relnamespace = 'bi'::regnamespace::oid ORDER BY i.relname;

-- name: constraints
SELECT t.oid AS table_id, relkind AS kind, c.oid::bigint AS con_id, c.xmin::varchar::bigint AS con_state, conname, contype, conkey, confrelid, confkey,
  confdeltype, confupdtype, condeferrable, condeferred, pg_catalog.pg_get_expr(conbin, conrelid) AS con_expression
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON c.conrelid = t.oid WHERE c.connamespace = 'bi'::regnamespace::oid ORDER BY con_id;

-- name: roles
SELECT r.oid::bigint AS role_id, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolconnlimit, rolvaliduntil,
  rolbypassrls, rolconfig, d.description FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_shdescription d ON d.objoid = r.oid;

-- name: data with ctid, as the editor reads it
SELECT t.*, CTID FROM bi.sales t LIMIT 501;

-- name: operators, casts, collations, access methods
SELECT o.oid AS op_id, oprname, oprkind, oprleft, oprright, oprresult, oprcode::oid AS main_id, oprcode::varchar AS main_name FROM pg_catalog.pg_operator o LIMIT 5;
SELECT c.oid, c.castsource, c.casttarget, c.castcontext, c.castmethod FROM pg_catalog.pg_cast c LIMIT 5;
SELECT oid AS id, collname, collcollate, collctype FROM pg_catalog.pg_collation LIMIT 5;
SELECT am.oid AS id, am.amname, am.amtype, am.amhandler::oid AS handler_id, am.amhandler::regproc::text AS handler FROM pg_catalog.pg_am am LIMIT 5;
