//! Names of things: quoting, visibility along the search path, and the `reg*` conversions.

use std::borrow::Cow;

use nyala_catalog::definitions::{NYALA_SCHEMA_OID, Oid, PG_CATALOG_OID, TEMPORARY_SCHEMA};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::entries::Entry;
use crate::pg_catalog::{SystemView, procedures, types};

/// Key words that PostgreSQL 15 quotes where they are used as a name.
const QUOTED_WORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit \
boolean both case cast char character check coalesce collate collation column concurrently constraint create \
cross current_catalog current_date current_role current_schema current_time current_timestamp current_user dec \
decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze \
from full grant greatest group grouping having ilike in initially inner inout int integer intersect interval into \
is isnull join lateral leading least left like limit localtime localtimestamp national natural nchar none \
normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position \
precision primary real references returning right row select session_user setof similar smallint some substring \
symmetric table tablesample then time timestamp to trailing treat trim true union unique user using values varchar \
variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces \
xmlparse xmlpi xmlroot xmlserialize xmltable ";

/// A name as it has to be written in SQL.
pub fn quote_ident(name: &str) -> Cow<'_, str> {
    let mut characters = name.chars();
    let plain = characters
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$')
        && !QUOTED_WORDS.contains(&format!(" {name} "));
    if plain {
        Cow::Borrowed(name)
    } else {
        format!("\"{}\"", name.replace('"', "\"\"")).into()
    }
}

/// A text as a string constant.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// The parts of a possibly qualified name: unquoted ones fold to lower case.
pub fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || PgError::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.char_indices().peekable();
            let end = loop {
                match characters.next() {
                    Some((_, '"')) if characters.next_if(|(_, next)| *next == '"').is_some() => {
                        name.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, character)) => name.push(character),
                    None => return Err(invalid()),
                }
            };
            part = name;
            rest = quoted.get(end..).unwrap_or_default().trim_start();
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (name, remainder) = rest.split_at(end);
            part = name.trim().to_lowercase();
            rest = remainder;
        }
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

impl SystemView {
    /// OIDs of the schemas searched for unqualified names, in order.
    pub(super) fn search_path_oids(&self) -> Vec<Oid> {
        let mut path = Vec::new();
        let named = self.session.search_path.iter();
        if !named.clone().any(|name| name == TEMPORARY_SCHEMA) {
            path.extend(self.definitions.temporary_schema());
        }
        if !self
            .session
            .search_path
            .iter()
            .any(|name| name == super::PG_CATALOG)
        {
            path.push(PG_CATALOG_OID);
        }
        let named = self.session.search_path.iter().map(|name| {
            if name == "$user" {
                self.session.user.as_str()
            } else {
                name.as_str()
            }
        });
        path.extend(named.filter_map(|name| self.entries().schema_oid(name)));
        path
    }

    /// Whether an unqualified name finds this relation.
    pub(super) fn is_visible(&self, entry: &Entry) -> bool {
        let found = self
            .search_path_oids()
            .into_iter()
            .find_map(|schema| self.entries().by_name(schema, &entry.name));
        found.is_some_and(|found| found.oid == entry.oid)
    }

    /// A relation by the text of its name, as `regclass` reads it.
    pub(super) fn find_relation(&self, text: &str) -> Result<Option<&Entry>> {
        let parts = split_name(text)?;
        let entries = self.entries();
        Ok(match parts.as_slice() {
            [name] => {
                let path = self.search_path_oids();
                path.into_iter()
                    .find_map(|schema| entries.by_name(schema, name))
            }
            [schema, name] | [_, schema, name] => entries
                .schema_oid(schema)
                .and_then(|schema| entries.by_name(schema, name)),
            _ => None,
        })
    }

    /// The name of a relation, qualified where the search path does not find it.
    pub(super) fn relation_name(&self, entry: &Entry) -> String {
        let name = quote_ident(&entry.name);
        if self.is_visible(entry) {
            name.into_owned()
        } else {
            self.qualified_name(entry)
        }
    }

    /// The name of a relation with its schema.
    pub(super) fn qualified_name(&self, entry: &Entry) -> String {
        let schema = self.entries().schema_name(entry.schema).unwrap_or_default();
        format!("{}.{}", quote_ident(schema), quote_ident(&entry.name))
    }

    /// Name of a role, or `unknown (OID=…)`.
    pub(super) fn role_name(&self, oid: Oid) -> String {
        let role = self.roles.iter().find(|role| role.oid == oid);
        role.map_or_else(|| format!("unknown (OID={oid})"), |role| role.name.clone())
    }
}

/// The kinds of objects that have a `reg*` type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// `regclass`
    Class,
    /// `regtype`
    Type,
    /// `regproc`, and `regprocedure` without its arguments
    Proc,
    /// `regnamespace`
    Namespace,
    /// `regrole`
    Role,
}

impl Registry {
    /// OID of the object of that name; `None` where there is none.
    pub fn find(self, view: &SystemView, text: &str) -> Result<Option<Oid>> {
        let last =
            || split_name(text).map(|parts| parts.into_iter().next_back().unwrap_or_default());
        Ok(match self {
            Self::Class => view.find_relation(text)?.map(|entry| entry.oid),
            Self::Type => types::find(text).map(|(oid, _)| oid),
            Self::Proc => {
                let name = text.split('(').next().unwrap_or(text);
                procedures::find(split_name(name)?.last().map_or("", String::as_str))
            }
            Self::Namespace => view.entries().schema_oid(&last()?),
            Self::Role => {
                let name = last()?;
                view.roles
                    .iter()
                    .find(|role| role.name == name)
                    .map(|role| role.oid)
            }
        })
    }

    /// The error PostgreSQL raises for a name of nothing.
    pub fn missing(self, text: &str) -> PgError {
        match self {
            Self::Class => PgError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{text}\" does not exist"),
            ),
            Self::Type => PgError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("type \"{text}\" does not exist"),
            ),
            Self::Proc => PgError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("function \"{text}\" does not exist"),
            ),
            Self::Namespace => PgError::new(
                sqlstate::UNDEFINED_SCHEMA,
                format!("schema \"{text}\" does not exist"),
            ),
            Self::Role => PgError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("role \"{text}\" does not exist"),
            ),
        }
    }

    /// The name of an object; its number where there is no such object, `-` for none.
    pub fn name(self, view: &SystemView, oid: Oid) -> String {
        if oid == 0 {
            return "-".to_string();
        }
        let name = match self {
            Self::Class => view
                .entries()
                .by_oid(oid)
                .map(|entry| view.relation_name(entry)),
            Self::Type => types::display(oid, None),
            Self::Proc => procedures::by_oid(oid).map(|procedure| match procedure.schema {
                NYALA_SCHEMA_OID if !procedure.is_visible() => format!("nyala.{}", procedure.name),
                _ => procedure.name.to_string(),
            }),
            Self::Namespace => view
                .entries()
                .schema_name(oid)
                .map(|name| quote_ident(name).into_owned()),
            Self::Role => {
                let role = view.roles.iter().find(|role| role.oid == oid);
                role.map(|role| quote_ident(&role.name).into_owned())
            }
        };
        name.unwrap_or_else(|| oid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{quote_ident, quote_literal, split_name};

    #[test]
    fn names_are_quoted_where_they_need_it() {
        assert_eq!(quote_ident("contracts"), "contracts");
        assert_eq!(quote_ident("t$open"), "t$open");
        assert_eq!(quote_ident("User"), "\"User\"");
        assert_eq!(quote_ident("user"), "\"user\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }

    #[test]
    fn qualified_names_are_taken_apart() {
        let split = |text| split_name(text).unwrap_or_default();
        assert_eq!(split("Public.Orders"), ["public", "orders"]);
        assert_eq!(split("\"Pub\"\"lic\".\"a.b\""), ["Pub\"lic", "a.b"]);
        assert!(split_name("\"open").is_err() && split_name("a.").is_err());
    }
}
