//! Tests of the rewriting: what goes in, what comes out. Whether it runs is tested over a socket.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{column_label, edit};

/// The statement after rewriting, as text; its numbers are not marked yet.
fn rewritten(sql: &str) -> String {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
    edit(&mut statements[0]).unwrap();
    statements[0].to_string()
}

/// The select list of a rewritten query of one column without its alias.
fn column(sql: &str) -> String {
    let text = rewritten(&format!("SELECT {sql} AS c"));
    text.trim_start_matches("SELECT ")
        .trim_end_matches(" AS c")
        .to_string()
}

#[test]
fn operators_and_collations_become_plain() {
    assert_eq!(
        rewritten(
            "SELECT a FROM t WHERE a OPERATOR(pg_catalog.~) '^x$' COLLATE pg_catalog.default"
        ),
        "SELECT a FROM t WHERE a ~ '^x$'"
    );
    assert_eq!(
        column("a NOT LIKE 'x/_%' ESCAPE '/'"),
        "a NOT LIKE nyala_like_pattern('x/_%', '/')"
    );
}

#[test]
fn reg_types_show_names_and_compute_with_oids() {
    assert_eq!(column("'t'::regclass"), "nyala_regclass_name('t')");
    assert_eq!(
        column("(x::pg_catalog.regclass)::pg_catalog.text"),
        "nyala_regclass_name(x)::TEXT"
    );
    assert_eq!(column("a = 't'::regclass"), "a = nyala_regclass_oid('t')");
    assert_eq!(column("f('t'::regclass)"), "f(nyala_regclass_oid('t'))");
    assert_eq!(column("'int4'::regtype::oid"), "nyala_regtype_oid('int4')");
    assert_eq!(
        column("a = to_regclass('t')"),
        "a = nyala_to_regclass_oid('t')"
    );
    assert_eq!(
        column("typinput = 'array_in'::regproc"),
        "typinput = nyala_regproc_oid('array_in')"
    );
}

#[test]
fn casts_go_to_types_or_functions() {
    assert_eq!(column("x::pg_catalog.int8"), "x::BIGINT");
    assert_eq!(column("x::jsonb"), "jsonb_in(x)");
    assert_eq!(column("uuid 'a'"), "uuid_in('a')");
    assert_eq!(column("NULL::uuid"), "NULL::UUID");
    assert_eq!(column("date '2024-01-01'"), "DATE '2024-01-01'");
}

#[test]
fn functions_lose_their_schema() {
    assert_eq!(column("pg_catalog.lower(x)"), "lower(x)");
    assert_eq!(column("other.lower(x)"), "other.lower(x)");
    assert_eq!(column("current_user"), "current_user()");
    assert_eq!(column("\"user\""), "\"user\"");
    assert_eq!(
        rewritten("SELECT a FROM pg_catalog.generate_series(1, 2) a"),
        "SELECT a FROM generate_series(1, 2) a (a)"
    );
}

#[test]
fn arrays_and_vectors_become_lists() {
    assert_eq!(
        column("1 = ANY(i.indkey)"),
        "1 = ANY(nyala_array(i.indkey, 1))"
    );
    assert_eq!(column("1 = ANY(ARRAY[1])"), "1 IN (1)");
    assert_eq!(column("1 <> ALL(ARRAY[1, b])"), "1 NOT IN (1, b)");
    assert_eq!(column("1 > ANY(ARRAY[1])"), "NOT (1 <= ALL(ARRAY[1]))");
    assert_eq!(column("a = ANY(SELECT b FROM t)"), "a IN (SELECT b FROM t)");
    assert_eq!(column("i.indkey[0]"), "nyala_element(i.indkey, 0)");
    assert_eq!(column("tags[1]"), "tags[1]");
    assert_eq!(
        column("ARRAY(SELECT DISTINCT b FROM t ORDER BY 1)"),
        "nyala_array_or_empty((SELECT array_agg(DISTINCT b ORDER BY b) AS \"array_agg\" FROM t))"
    );
    assert_eq!(
        column("ARRAY(SELECT 'x' || o FROM unnest(c.tags) o)"),
        "array_transform(c.tags, nyala_element -> 'x' || nyala_element)"
    );
}

#[test]
fn subqueries_beside_an_empty_relation_are_not_planned() {
    assert_eq!(
        rewritten("SELECT (SELECT b FROM t WHERE c = polname) AS x FROM pg_catalog.pg_policy"),
        "SELECT NULL AS x FROM pg_catalog.pg_policy"
    );
    let outer = "SELECT (SELECT 1 AS y) AS x FROM t LEFT JOIN pg_catalog.pg_policy ON true";
    assert_eq!(rewritten(outer), outer);
}

#[test]
fn columns_get_their_names() {
    let names = |sql: &str| -> Vec<String> {
        let text = rewritten(&format!("SELECT {sql}"));
        let aliases = text.split(" AS \"").skip(1);
        aliases
            .map(|rest| column_label(rest.split('"').next().unwrap()).to_string())
            .collect()
    };
    assert_eq!(
        names("1, count(*), lower(x), x::int, 'a'::text, true, CASE WHEN a THEN 1 END"),
        ["?column?", "count", "lower", "x", "text", "bool", "case"]
    );
    assert_eq!(names("1, 2, x, x"), ["?column?", "?column?", "x"]);
    assert_eq!(rewritten("SELECT a, b FROM t"), "SELECT a, b FROM t");
    assert_eq!(
        rewritten("SELECT DISTINCT lower(a) FROM t ORDER BY lower(a)"),
        "SELECT DISTINCT lower(a) AS \"lower\" FROM t ORDER BY 1"
    );
}
