-- DBeaver. Constructs from memory of dbeaver/dbeaver, not yet compared line by line with it: plugins/org.jkiss.dbeaver.ext.postgresql/src/org/jkiss/dbeaver/ext/postgresql/model/
-- (PostgreDatabase, PostgreDataSource, PostgreSchema, PostgreDataTypeCache, PostgreRole, PostgreDialect); the wording is our own.

-- name: session
SET extra_float_digits = 3; SET application_name = 'DBeaver'; SHOW search_path; SELECT current_schema(), session_user;

-- name: database
SELECT d.oid, d.* FROM pg_catalog.pg_database d WHERE d.datname = current_database();

-- name: settings -- rows
SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('standard_conforming_strings', 'max_index_keys', 'max_identifier_length') ORDER BY 1;

-- name: key words
SELECT word, catcode FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs,absolute}'::text[]) ORDER BY word;

-- name: schemas with comments
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d
  ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY n.nspname;

-- name: types
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_name, d.description
FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem
LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = t.oid
WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C');

-- name: tables of a schema
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound, pg_catalog.pg_get_partkeydef(c.oid) AS part
FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = 'bi'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c');

-- name: columns of a table
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, d.description, dep.objid
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON a.attrelid = c.oid
LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
LEFT OUTER JOIN pg_catalog.pg_description d ON c.oid = d.objoid AND a.attnum = d.objsubid
LEFT OUTER JOIN pg_catalog.pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
WHERE NOT a.attisdropped AND c.oid = 'bi.sales'::regclass ORDER BY a.attnum;

-- name: constraints
SELECT c.oid, c.*, t.relname AS tab, rt.relnamespace AS refns, d.description,
  CASE WHEN c.contype NOT IN ('p', 'u') THEN pg_catalog.pg_get_constraintdef(c.oid) END AS def
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass
WHERE t.relnamespace = 'bi'::regnamespace ORDER BY c.oid;

-- name: indexes
SELECT i.*, i.indkey AS keys, c.relname, c.relam, c.reltablespace, t.relname AS tab, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred,
  pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS size,
  pg_catalog.pg_stat_get_numscans(i.indexrelid) AS scans
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE i.indrelid = 'bi.sales'::regclass ORDER BY t.relname, c.relname;

-- name: view definition
SELECT pg_catalog.pg_get_viewdef('bi.paid'::regclass, true);

-- name: functions
SELECT p.oid, p.*, p.oid::bigint AS poid, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS defaults, d.description
FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.objsubid = 0
WHERE p.pronamespace = 'bi'::regnamespace ORDER BY p.proname;

-- name: sequences, triggers, rules, inheritance, extensions, roles, tablespaces
SELECT s.*, d.description FROM pg_catalog.pg_class s LEFT JOIN pg_catalog.pg_description d ON d.objoid = s.oid WHERE s.relkind = 'S';
SELECT t.oid, t.*, p.proname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal;
SELECT r.oid, r.*, pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = 'bi.sales'::regclass;
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE i.inhrelid = 'bi.sales'::regclass AND c.oid = i.inhparent ORDER BY i.inhseqno;
SELECT e.oid, cfg.tbls, n.nspname, e.* FROM pg_catalog.pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  LEFT JOIN (SELECT ARRAY_AGG(ns.nspname || '.' || cls.relname) tbls, oid_ext FROM (SELECT unnest(e1.extconfig) oid, e1.oid oid_ext FROM pg_catalog.pg_extension e1) c
  JOIN pg_catalog.pg_class cls ON cls.oid = c.oid JOIN pg_catalog.pg_namespace ns ON ns.oid = cls.relnamespace GROUP BY oid_ext) cfg ON cfg.oid_ext = e.oid;
SELECT a.oid, a.*, pg_catalog.shobj_description(a.oid, 'pg_authid') AS description FROM pg_catalog.pg_roles a ORDER BY a.rolname;
SELECT t.oid, t.*, pg_tablespace_location(t.oid) AS loc FROM pg_catalog.pg_tablespace t;

-- name: sizes and statistics of a table
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid) AS total, pg_catalog.pg_relation_size(c.oid) AS size
FROM pg_catalog.pg_class c WHERE c.oid = 'bi.sales'::regclass;

-- name: sessions
SELECT sa.* FROM pg_catalog.pg_stat_activity sa WHERE sa.pid = pg_backend_pid();

-- name: data with a row limit, as the editor reads it -- rows
SELECT x.* FROM bi.sales x ORDER BY id LIMIT 200;

-- name: count of rows -- rows
SELECT count(*) FROM (SELECT x.* FROM bi.sales x) dbvrcnt;
