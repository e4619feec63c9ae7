//! `pg_proc`: the functions Nyala has, read once from `functions.tsv`, and its own in schema `nyala`.
//!
//! The file lists the functions that PostgreSQL 15 and Nyala share, with PostgreSQL's OIDs: OID, name, kind
//! (`f`, `a`, `w`, `p`), whether it returns a set, result type, argument types. The functions that read and write values of
//! types (`int4in`, `int4recv`, …) are among them, because `pg_type` names them by OID; they cannot be called.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::AggregateUDF;
use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, NYALA_SCHEMA_OID, Oid, PG_CATALOG_OID};

use crate::error::Result;
use crate::pg_catalog::objects::INTERNAL_LANGUAGE_OID;
use crate::pg_catalog::ordered_set::OrderedSet;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{single_value, types};

/// First OID of Nyala's own functions.
const NYALA_FUNCTION_OID: Oid = 13_201;

/// Nyala's own functions: name, kind, result, arguments, whether an unqualified name finds it.
const OWN: [(&str, &str, &str, &str, bool); 3] = [
    ("json_merge_patch", "f", "jsonb", "jsonb jsonb", true),
    ("json_merge_agg", "a", "jsonb", "jsonb", true),
    ("housekeeping", "p", "record", "text", false),
];

/// A function, aggregate or procedure.
#[derive(Debug)]
pub struct Procedure {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name.
    pub name: &'static str,
    /// `prokind`
    pub kind: &'static str,
    /// Whether it returns a set.
    pub returns_set: bool,
    /// OID of the result type.
    pub result: Oid,
    /// OIDs of the argument types.
    pub arguments: Vec<Oid>,
    visible: bool,
}

impl Procedure {
    /// Whether an unqualified name finds it.
    pub fn is_visible(&self) -> bool {
        self.visible
    }

    /// `pg_get_function_arguments`
    pub fn argument_list(&self) -> String {
        let names = self
            .arguments
            .iter()
            .map(|oid| types::display(*oid, None).unwrap_or_default());
        names.collect::<Vec<_>>().join(", ")
    }

    /// `pg_get_function_result`; `None` for a procedure.
    pub fn result_name(&self) -> Option<String> {
        let name = types::display(self.result, None).filter(|_| self.kind != "p")?;
        Some(if self.returns_set {
            format!("SETOF {name}")
        } else {
            name
        })
    }
}

struct Procedures {
    list: Vec<Procedure>,
    oids: HashMap<Oid, usize>,
}

static PROCEDURES: LazyLock<Procedures> = LazyLock::new(|| {
    let own = OWN.iter().zip(NYALA_FUNCTION_OID..).map(
        |((name, kind, result, arguments, visible), oid)| {
            let type_oid = |name: &str| types::find(name).map_or(0, |(oid, _)| oid);
            Procedure {
                oid,
                schema: NYALA_SCHEMA_OID,
                name,
                kind,
                returns_set: false,
                result: type_oid(result),
                arguments: arguments.split(' ').map(type_oid).collect(),
                visible: *visible,
            }
        },
    );
    let list: Vec<_> = own
        .chain(include_str!("functions.tsv").lines().filter_map(parse))
        .collect();
    Procedures {
        oids: list
            .iter()
            .enumerate()
            .map(|(at, procedure)| (procedure.oid, at))
            .collect(),
        list,
    }
});

fn parse(line: &'static str) -> Option<Procedure> {
    let mut fields = line.split('\t');
    Some(Procedure {
        oid: fields.next()?.parse().ok()?,
        schema: PG_CATALOG_OID,
        name: fields.next()?,
        kind: fields.next()?,
        returns_set: fields.next()? == "t",
        result: fields.next()?.parse().ok()?,
        arguments: fields
            .next()?
            .split(' ')
            .filter_map(|oid| oid.parse().ok())
            .collect(),
        visible: true,
    })
}

/// Aggregates that DataFusion does not have: those that rewritten statements call, and some of PostgreSQL's.
pub fn aggregates() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(single_value::SingleValue::new()),
        AggregateUDF::from(OrderedSet::percentile()),
        AggregateUDF::from(OrderedSet::mode()),
    ]
}

/// All functions.
pub fn all() -> &'static [Procedure] {
    &PROCEDURES.list
}

/// A function by OID.
pub fn by_oid(oid: Oid) -> Option<&'static Procedure> {
    PROCEDURES
        .oids
        .get(&oid)
        .and_then(|at| PROCEDURES.list.get(*at))
}

/// OID of the first function of that name.
pub fn find(name: &str) -> Option<Oid> {
    all()
        .iter()
        .find(|procedure| procedure.name == name)
        .map(|procedure| procedure.oid)
}

/// The rows of a relation of this file.
pub fn rows(shape: &Shape) -> Option<Result<RecordBatch>> {
    (shape.name == "pg_proc").then(|| pg_proc(shape))
}

fn pg_proc(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for procedure in all() {
        let arguments: Vec<_> = procedure.arguments.iter().map(Oid::to_string).collect();
        rows.push([
            ("oid", procedure.oid.into()),
            ("proname", procedure.name.into()),
            ("pronamespace", procedure.schema.into()),
            ("proowner", BOOTSTRAP_ROLE_OID.into()),
            ("prolang", INTERNAL_LANGUAGE_OID.into()),
            ("procost", Cell::Float(1.0)),
            ("prokind", procedure.kind.into()),
            ("proretset", procedure.returns_set.into()),
            (
                "provolatile",
                if procedure.kind == "p" { "v" } else { "s" }.into(),
            ),
            ("proparallel", "s".into()),
            ("pronargs", Cell::Int(procedure.arguments.len() as i64)),
            ("prorettype", procedure.result.into()),
            ("proargtypes", arguments.join(" ").into()),
            ("prosrc", procedure.name.into()),
        ])?;
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::{OWN, all, by_oid, find};

    #[test]
    fn every_line_is_read() {
        assert_eq!(
            all().len(),
            include_str!("functions.tsv").lines().count() + OWN.len()
        );
        let merge = find("json_merge_patch").and_then(by_oid);
        assert_eq!(
            merge.map(|procedure| procedure.argument_list()),
            Some("jsonb, jsonb".into())
        );
    }
}
