//! Names in statements: folding, schemas, and the search path.

use nyala_catalog::definitions::{
    Definitions, IDENTIFIER_BYTES_MAX, INFORMATION_SCHEMA_OID, NYALA_SCHEMA_OID, Oid,
    PG_CATALOG_OID, Relation, TEMPORARY_SCHEMA,
};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::{INFORMATION_SCHEMA, NYALA, PG_CATALOG};

/// An identifier as stored: folded to lower case unless quoted, cut to PostgreSQL's length.
pub fn fold(ident: &Ident) -> String {
    let mut name = match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    if name.len() > IDENTIFIER_BYTES_MAX {
        let end = (0..=IDENTIFIER_BYTES_MAX)
            .rev()
            .find(|at| name.is_char_boundary(*at));
        name.truncate(end.unwrap_or_default());
    }
    name
}

/// A relation's name with the schema, if the statement gave one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationName {
    /// Schema, if given.
    pub schema: Option<String>,
    /// Name without schema.
    pub name: String,
}

impl std::fmt::Display for RelationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The relation an object name stands for; a database in front has to be the current one.
pub fn relation_name(name: &ObjectName, database: &str) -> Result<RelationName> {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(ObjectNamePart::as_ident)
        .map(fold)
        .collect();
    match parts.as_slice() {
        [name] => Ok(RelationName {
            schema: None,
            name: name.clone(),
        }),
        [schema, name] => Ok(RelationName {
            schema: Some(schema.clone()),
            name: name.clone(),
        }),
        [catalog, schema, name] if catalog == database => Ok(RelationName {
            schema: Some(schema.clone()),
            name: name.clone(),
        }),
        [_, _, _] => Err(PgError::unsupported(format!(
            "cross-database references are not implemented: \"{name}\""
        ))),
        _ => Err(PgError::syntax(format!(
            "improper qualified name (too many dotted names): {name}"
        ))),
    }
}

/// A name of one part, such as a schema's or database's.
pub fn single_name(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(fold(ident)),
        _ => Err(PgError::syntax(format!("improper qualified name: {name}"))),
    }
}

/// A user's relation by name: in the schema given, or the first on the search path that has it.
pub fn find<'a>(
    definitions: &'a Definitions,
    search_path: &[String],
    name: &RelationName,
) -> Result<Option<&'a Relation>> {
    match &name.schema {
        Some(schema) => {
            if system_schema(schema).is_some() {
                return Ok(None);
            }
            let schema = definitions
                .schema(schema)
                .ok_or_else(|| undefined_schema(schema))?;
            Ok(definitions.relation(schema.oid, &name.name))
        }
        None => Ok(temporary_first(definitions, search_path)
            .chain(search_path.iter().map(String::as_str))
            .filter_map(|schema| definitions.schema(schema))
            .find_map(|schema| definitions.relation(schema.oid, &name.name))),
    }
}

/// The schema that is searched before all others, unless the search path says when.
fn temporary_first<'a>(
    definitions: &Definitions,
    search_path: &'a [String],
) -> impl Iterator<Item = &'a str> {
    let first = definitions.temporary_schema().is_some()
        && !search_path.iter().any(|schema| schema == TEMPORARY_SCHEMA);
    first.then_some(TEMPORARY_SCHEMA).into_iter()
}

/// The schema that a new relation goes to: the one given, or the first existing on the search path.
pub fn creation_schema(
    definitions: &Definitions,
    search_path: &[String],
    name: &RelationName,
) -> Result<Oid> {
    match &name.schema {
        Some(schema) if system_schema(schema).is_some() => Err(PgError::new(
            "42501",
            format!("permission denied to create \"{schema}.{}\"", name.name),
        )
        .with_detail("System catalog modifications are currently disallowed.")),
        Some(schema) => Ok(definitions
            .schema(schema)
            .ok_or_else(|| undefined_schema(schema))?
            .oid),
        None => search_path
            .iter()
            .find_map(|schema| definitions.schema(schema))
            .map(|schema| schema.oid)
            .ok_or_else(|| {
                PgError::new(
                    sqlstate::UNDEFINED_SCHEMA,
                    "no schema has been selected to create in",
                )
            }),
    }
}

/// OID of a schema that every database has and no user can change.
pub fn system_schema(name: &str) -> Option<Oid> {
    match name {
        PG_CATALOG => Some(PG_CATALOG_OID),
        INFORMATION_SCHEMA => Some(INFORMATION_SCHEMA_OID),
        NYALA => Some(NYALA_SCHEMA_OID),
        _ => None,
    }
}

/// 3F000.
pub fn undefined_schema(name: &str) -> PgError {
    PgError::new(
        sqlstate::UNDEFINED_SCHEMA,
        format!("schema \"{name}\" does not exist"),
    )
}

/// 42P01.
pub fn undefined_relation(name: &RelationName) -> PgError {
    PgError::new(
        sqlstate::UNDEFINED_TABLE,
        format!("relation \"{name}\" does not exist"),
    )
}
