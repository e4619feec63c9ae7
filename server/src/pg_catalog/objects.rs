//! What is not a relation: schemas, databases, roles, settings, access methods, languages, servers.

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{
    BOOTSTRAP_ROLE_OID, ExternalFormat, NYALA_SCHEMA_OID, Oid, PG_CATALOG_OID, PUBLIC_SCHEMA_OID,
};
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::SystemView;
use crate::pg_catalog::entries::Kind;
use crate::pg_catalog::relations::{DEFAULT_COLLATION_OID, format_name};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;

/// OID of the access method of primary keys, PostgreSQL's `btree`.
pub const BTREE_OID: Oid = 403;

/// OID of the table access method of tables that lie in the row store only: it is what others call `heap`.
pub const ROW_STORE_OID: Oid = 2;

/// OID of the table access method of tables with a closed part.
pub const HYBRID_OID: Oid = 13_301;

/// OID of the tablespace of everything.
pub const DEFAULT_TABLESPACE_OID: Oid = 1_663;

/// OID of the tablespace of what all databases share.
const GLOBAL_TABLESPACE_OID: Oid = 1_664;

/// `lc_collate` and `lc_ctype` of every database.
const DATABASE_LOCALE: &str = "C.UTF-8";

/// OID of the language of functions written in the server itself.
pub const INTERNAL_LANGUAGE_OID: Oid = 12;

/// `pg_encoding` number of UTF8.
pub const UTF8_ENCODING: i32 = 6;

const WRAPPER_OID: Oid = 13_310;

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_namespace" => pg_namespace(view, shape),
        "pg_database" => pg_database(view, shape),
        "pg_authid" | "pg_roles" => pg_roles(view, shape),
        "pg_user" | "pg_shadow" => pg_user(view, shape),
        "pg_settings" => pg_settings(view, shape),
        "pg_am" => pg_am(shape),
        "pg_collation" => pg_collation(shape),
        "pg_language" => pg_language(shape),
        "pg_opclass" => pg_opclass(shape),
        "pg_tablespace" => pg_tablespace(shape),
        "pg_foreign_data_wrapper" => pg_foreign_data_wrapper(view, shape),
        "pg_foreign_server" => pg_foreign_server(view, shape),
        _ => return None,
    })
}

/// OID of the foreign server that stands for a format of external tables.
pub fn server_oid(format: ExternalFormat) -> Oid {
    match format {
        ExternalFormat::Parquet => 13_311,
        ExternalFormat::Delta => 13_312,
    }
}

/// OID of the default `btree` operator class of a type; 0 where PostgreSQL has none.
pub fn operator_class(ty: &SqlType) -> Oid {
    let by_type = OPERATOR_CLASSES.iter().find(|class| class.2 == ty.oid());
    match ty {
        SqlType::Varchar(_) => operator_class(&SqlType::Text),
        SqlType::Array(_) => 10_000,
        _ => by_type.map_or(0, |class| class.0),
    }
}

/// OID, name, type and operator family of the default `btree` operator classes.
const OPERATOR_CLASSES: [(Oid, &str, Oid, Oid); 20] = [
    (10_000, "array_ops", 2277, 397),
    (10_003, "bool_ops", 16, 424),
    (10_004, "bpchar_ops", 1042, 426),
    (10_006, "bytea_ops", 17, 428),
    (10_007, "char_ops", 18, 429),
    (3_122, "date_ops", 1082, 434),
    (10_012, "float4_ops", 700, 1970),
    (3_123, "float8_ops", 701, 1970),
    (1_979, "int2_ops", 21, 1976),
    (1_978, "int4_ops", 23, 1976),
    (3_124, "int8_ops", 20, 1976),
    (10_022, "interval_ops", 1186, 1982),
    (10_028, "name_ops", 19, 1994),
    (3_125, "numeric_ops", 1700, 1988),
    (1_981, "oid_ops", 26, 1989),
    (3_126, "text_ops", 25, 1994),
    (10_038, "time_ops", 1083, 1996),
    (3_127, "timestamptz_ops", 1184, 434),
    (3_128, "timestamp_ops", 1114, 434),
    (10_065, "uuid_ops", 2950, 2968),
];

fn pg_namespace(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (oid, name) in view.entries().schemas() {
        let owner = view
            .definitions
            .schema_by_oid(oid)
            .map(|schema| schema.owner);
        rows.push([
            ("oid", oid.into()),
            ("nspname", name.to_string().into()),
            ("nspowner", owner.unwrap_or(BOOTSTRAP_ROLE_OID).into()),
        ])?;
    }
    rows.finish()
}

fn pg_database(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for database in &view.databases {
        rows.push([
            ("oid", database.oid.into()),
            ("datname", Cell::from(&database.name)),
            ("datdba", database.owner.into()),
            ("encoding", UTF8_ENCODING.into()),
            ("datlocprovider", "c".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", DEFAULT_TABLESPACE_OID.into()),
            // Text is ordered by its bytes, and upper case is that of all letters.
            ("datcollate", DATABASE_LOCALE.into()),
            ("datctype", DATABASE_LOCALE.into()),
        ])?;
    }
    rows.finish()
}

fn pg_roles(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for role in &view.roles {
        // Only a superuser reads verifiers, and only from the table they are in.
        let verifier = match shape.name {
            "pg_roles" => Cell::from("********"),
            _ if view.is_superuser() => role.password.as_ref().into(),
            _ => Cell::Null,
        };
        rows.push([
            ("oid", role.oid.into()),
            ("rolname", Cell::from(&role.name)),
            ("rolsuper", role.superuser.into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", role.superuser.into()),
            ("rolcreatedb", role.superuser.into()),
            ("rolcanlogin", true.into()),
            ("rolreplication", role.superuser.into()),
            ("rolbypassrls", role.superuser.into()),
            ("rolconnlimit", (-1).into()),
            ("rolpassword", verifier),
        ])?;
    }
    rows.finish()
}

fn pg_user(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for role in &view.roles {
        rows.push([
            ("usename", Cell::from(&role.name)),
            ("usesysid", role.oid.into()),
            ("usecreatedb", role.superuser.into()),
            ("usesuper", role.superuser.into()),
            ("userepl", role.superuser.into()),
            ("usebypassrls", role.superuser.into()),
            ("passwd", "********".into()),
        ])?;
    }
    rows.finish()
}

fn pg_settings(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for setting in view.settings.iter().filter(|setting| !setting.is_custom) {
        rows.push([
            ("name", Cell::from(&setting.name)),
            ("setting", Cell::from(&setting.value)),
            ("unit", setting.unit.into()),
            ("category", setting.category.into()),
            ("short_desc", setting.short_desc.into()),
            ("context", setting.context.into()),
            ("vartype", setting.vartype.into()),
            ("source", setting.source.into()),
            ("boot_val", Cell::from(&setting.reset_value)),
            ("reset_val", Cell::from(&setting.reset_value)),
            ("pending_restart", false.into()),
        ])?;
    }
    rows.finish()
}

fn pg_am(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let methods = [
        (BTREE_OID, "btree", "i"),
        (ROW_STORE_OID, "heap", "t"),
        (HYBRID_OID, "hybrid", "t"),
    ];
    for (oid, name, kind) in methods {
        rows.push([
            ("oid", oid.into()),
            ("amname", name.into()),
            ("amtype", kind.into()),
        ])?;
    }
    rows.finish()
}

fn pg_collation(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let collations = [
        (DEFAULT_COLLATION_OID, "default", "d", None),
        (950, "C", "c", Some("C")),
        (951, "POSIX", "c", Some("POSIX")),
    ];
    for (oid, name, provider, locale) in collations {
        rows.push([
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG_OID.into()),
            ("collowner", BOOTSTRAP_ROLE_OID.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1).into()),
            ("collcollate", locale.into()),
            ("collctype", locale.into()),
        ])?;
    }
    rows.finish()
}

fn pg_language(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    rows.push([
        ("oid", INTERNAL_LANGUAGE_OID.into()),
        ("lanname", "internal".into()),
        ("lanowner", BOOTSTRAP_ROLE_OID.into()),
    ])?;
    rows.finish()
}

fn pg_opclass(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (oid, name, input, family) in OPERATOR_CLASSES {
        rows.push([
            ("oid", oid.into()),
            ("opcmethod", BTREE_OID.into()),
            ("opcname", name.into()),
            ("opcnamespace", PG_CATALOG_OID.into()),
            ("opcowner", BOOTSTRAP_ROLE_OID.into()),
            ("opcfamily", family.into()),
            ("opcintype", input.into()),
            ("opcdefault", true.into()),
        ])?;
    }
    rows.finish()
}

fn pg_tablespace(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let spaces = [
        (DEFAULT_TABLESPACE_OID, "pg_default"),
        (GLOBAL_TABLESPACE_OID, "pg_global"),
    ];
    for (oid, name) in spaces {
        rows.push([
            ("oid", oid.into()),
            ("spcname", name.into()),
            ("spcowner", BOOTSTRAP_ROLE_OID.into()),
        ])?;
    }
    rows.finish()
}

/// The formats of the external tables that there are.
fn formats(view: &SystemView) -> Vec<ExternalFormat> {
    let used = |format: &ExternalFormat| {
        view.entries().users().any(
            |entry| matches!(&entry.kind, Kind::External { format: known, .. } if known == format),
        )
    };
    [ExternalFormat::Parquet, ExternalFormat::Delta]
        .into_iter()
        .filter(used)
        .collect()
}

fn pg_foreign_data_wrapper(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    if formats(view).is_empty() {
        return rows.finish();
    }
    rows.push([
        ("oid", WRAPPER_OID.into()),
        ("fdwname", "nyala_files".into()),
        ("fdwowner", BOOTSTRAP_ROLE_OID.into()),
    ])?;
    rows.finish()
}

/// psql wants a server for each foreign table: an external table's is its format.
fn pg_foreign_server(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for format in formats(view) {
        rows.push([
            ("oid", server_oid(format).into()),
            ("srvname", format_name(format).into()),
            ("srvowner", BOOTSTRAP_ROLE_OID.into()),
            ("srvfdw", WRAPPER_OID.into()),
        ])?;
    }
    rows.finish()
}

/// What Nyala itself describes: catalog, OID and text.
pub const DESCRIPTIONS: [(&str, Oid, &str); 10] = [
    ("pg_namespace", PG_CATALOG_OID, "system catalog schema"),
    ("pg_namespace", PUBLIC_SCHEMA_OID, "standard public schema"),
    (
        "pg_namespace",
        NYALA_SCHEMA_OID,
        "procedures and system relations of Nyala",
    ),
    ("pg_am", BTREE_OID, "b-tree index access method"),
    ("pg_am", ROW_STORE_OID, "all rows in the row store"),
    (
        "pg_collation",
        DEFAULT_COLLATION_OID,
        "database's default collation",
    ),
    ("pg_collation", 950, "standard C collation"),
    ("pg_collation", 951, "standard POSIX collation"),
    ("pg_language", INTERNAL_LANGUAGE_OID, "built-in functions"),
    (
        "pg_am",
        HYBRID_OID,
        "open rows in the row store, closed rows in Delta files",
    ),
];
