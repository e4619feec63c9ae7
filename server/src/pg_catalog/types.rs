//! `pg_type`: PostgreSQL's base, pseudo and range types, read once from `types.tsv`.
//!
//! The file is what `pg_type` of PostgreSQL 15 holds, row types of its system tables left out. Types that
//! Nyala cannot store are listed too, since clients look up types of results and parameters by OID there.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, Oid, PG_CATALOG_OID};
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::names::split_name;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{PG_CATALOG, procedures};

/// How PostgreSQL holds a value of a type.
#[derive(Debug, Clone, Copy)]
pub struct Physical {
    /// `typbyval`
    pub by_value: bool,
    /// `typalign`
    pub align: &'static str,
    /// `typstorage`
    pub storage: &'static str,
    /// `typcollation`
    pub collation: Oid,
}

struct TypeRow {
    oid: Oid,
    name: &'static str,
    length: i64,
    kind: &'static str,
    category: &'static str,
    preferred: bool,
    delimiter: &'static str,
    element: Oid,
    array: Oid,
    /// `typsubscript`, `typinput`, `typoutput`, `typreceive`, `typsend`
    functions: [&'static str; 5],
    physical: Physical,
}

struct Types {
    list: Vec<TypeRow>,
    oids: HashMap<Oid, usize>,
    names: HashMap<&'static str, usize>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let list: Vec<_> = include_str!("types.tsv")
        .lines()
        .filter_map(parse)
        .collect();
    Types {
        oids: list
            .iter()
            .enumerate()
            .map(|(position, row)| (row.oid, position))
            .collect(),
        names: list
            .iter()
            .enumerate()
            .map(|(position, row)| (row.name, position))
            .collect(),
        list,
    }
});

fn parse(line: &'static str) -> Option<TypeRow> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    Some(TypeRow {
        oid: next()?.parse().ok()?,
        name: next()?,
        length: next()?.parse().ok()?,
        physical: Physical {
            by_value: next()? == "1",
            align: "",
            storage: "",
            collation: 0,
        },
        kind: next()?,
        category: next()?,
        preferred: next()? == "1",
        delimiter: next()?,
        element: next()?.parse().ok()?,
        array: next()?.parse().ok()?,
        functions: [next()?, next()?, next()?, next()?, next()?],
    })
    .and_then(|row| {
        let physical = Physical {
            align: next()?,
            storage: next()?,
            collation: next()?.parse().ok()?,
            ..row.physical
        };
        Some(TypeRow { physical, ..row })
    })
}

fn by_oid(oid: Oid) -> Option<&'static TypeRow> {
    TYPES
        .oids
        .get(&oid)
        .and_then(|position| TYPES.list.get(*position))
}

/// How PostgreSQL holds values of a column type.
pub fn physical(ty: &SqlType) -> Physical {
    let unknown = Physical {
        by_value: false,
        align: "i",
        storage: "x",
        collation: 0,
    };
    by_oid(ty.oid()).map_or(unknown, |row| row.physical)
}

/// `format_type`: the SQL name of a type with its modifier; `None` for an unknown OID.
pub fn display(oid: Oid, modifier: Option<i32>) -> Option<String> {
    if oid == 0 {
        return Some("-".to_string());
    }
    let row = by_oid(oid)?;
    if row.category == "A" && row.element != 0 {
        return Some(format!("{}[]", display(row.element, modifier)?));
    }
    let Some(ty) = SqlType::of_oid(oid) else {
        return Some(match row.name {
            "timetz" => "time with time zone".to_string(),
            "varbit" => "bit varying".to_string(),
            // A key word.
            "any" => "\"any\"".to_string(),
            name => name.to_string(),
        });
    };
    let given = modifier.is_some();
    let modifier = modifier
        .filter(|modifier| *modifier >= 4)
        .map(|modifier| modifier - 4);
    let length = |modifier: i32| u32::try_from(modifier).ok();
    let ty = match (ty, modifier) {
        (SqlType::Numeric(_), Some(packed)) => {
            let precision = u8::try_from(packed >> 16).ok();
            let scale = i8::try_from(packed & 0x7ff).ok();
            SqlType::Numeric(precision.zip(scale))
        }
        (SqlType::Varchar(_), Some(modifier)) => SqlType::Varchar(length(modifier)),
        (SqlType::Bpchar(_), Some(modifier)) => SqlType::Bpchar(length(modifier)),
        // As PostgreSQL: `character` would mean `character(1)`, so a column without length is this.
        (SqlType::Bpchar(_), None) if given => return Some("bpchar".to_string()),
        (ty, _) => ty,
    };
    Some(ty.to_string())
}

/// `typname` of a type.
pub fn name(oid: Oid) -> Option<&'static str> {
    by_oid(oid).map(|row| row.name)
}

/// OID and modifier of a type by any of its names.
pub fn find(text: &str) -> Option<(Oid, i32)> {
    let text = text.trim();
    let name = text.strip_prefix("pg_catalog.").unwrap_or(text);
    if let Ok(ty) = name.to_lowercase().parse::<SqlType>() {
        return Some((ty.oid(), ty.modifier()));
    }
    if name.contains(['"', '.']) && !name.ends_with("[]") {
        // Without quotes a name can be one of several words; with them it is the one in `pg_type`.
        return match split_name(text).ok()?.as_slice() {
            [schema, name] if schema == PG_CATALOG => named(name),
            [name] => named(name),
            _ => None,
        };
    }
    if let Some(element) = name.strip_suffix("[]") {
        let row = by_oid(find(element)?.0)?;
        return (row.array != 0).then_some((row.array, -1));
    }
    match name {
        "time with time zone" => named("timetz"),
        "bit varying" => named("varbit"),
        other => named(other),
    }
}

fn named(name: &str) -> Option<(Oid, i32)> {
    let position = TYPES.names.get(name)?;
    let row = TYPES.list.get(*position)?;
    Some((row.oid, -1))
}

/// The rows of a relation of this file.
pub fn rows(shape: &Shape) -> Option<Result<RecordBatch>> {
    (shape.name == "pg_type").then(|| pg_type(shape))
}

/// The OID of a function; 0 where the name is `-`.
fn function(name: &str) -> Cell {
    procedures::find(name).unwrap_or_default().into()
}

fn pg_type(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for row in &TYPES.list {
        let [subscript, input, output, receive, send] = row.functions;
        rows.push([
            ("oid", row.oid.into()),
            ("typname", row.name.into()),
            ("typnamespace", PG_CATALOG_OID.into()),
            ("typowner", BOOTSTRAP_ROLE_OID.into()),
            ("typlen", row.length.into()),
            ("typbyval", row.physical.by_value.into()),
            ("typtype", row.kind.into()),
            ("typcategory", row.category.into()),
            ("typispreferred", row.preferred.into()),
            ("typisdefined", true.into()),
            ("typdelim", row.delimiter.into()),
            ("typsubscript", function(subscript)),
            ("typelem", row.element.into()),
            ("typarray", row.array.into()),
            ("typinput", function(input)),
            ("typoutput", function(output)),
            ("typreceive", function(receive)),
            ("typsend", function(send)),
            ("typalign", row.physical.align.into()),
            ("typstorage", row.physical.storage.into()),
            ("typtypmod", Cell::Int(-1)),
            ("typcollation", row.physical.collation.into()),
        ])?;
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::{TYPES, display, find, physical};
    use nyala_catalog::types::SqlType;

    #[test]
    fn every_line_is_read() {
        assert_eq!(TYPES.list.len(), include_str!("types.tsv").lines().count());
        assert_eq!(physical(&SqlType::Numeric(None)).storage, "m");
    }

    #[test]
    fn names_are_those_of_format_type() {
        let shown = |oid, modifier| display(oid, modifier).unwrap_or_default();
        assert_eq!(shown(1700, Some(786_438)), "numeric(12,2)");
        assert_eq!(shown(1043, Some(24)), "character varying(20)");
        assert_eq!(shown(1009, None), "text[]");
        assert_eq!(shown(2206, None), "regtype");
        assert_eq!(find("int8"), Some((20, -1)));
        assert_eq!(find("pg_catalog.inet"), Some((869, -1)));
        assert_eq!(find("\"pg_catalog\".\"timestamptz\""), Some((1184, -1)));
        assert_eq!(find("pg_catalog.\"_int4\""), Some((1007, -1)));
        assert_eq!(find("\"char\""), Some((18, -1)));
        assert_eq!(find("public.int4"), None);
        assert_eq!(find("\"Int4\""), None);
        assert_eq!(find("nothing"), None);
    }
}
