//! Functions about the connection, its roles and its settings.

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::entries::Kind;
use crate::pg_catalog::functions::registry::oid_argument;
use crate::pg_catalog::functions::{Call, SystemFunction, lenient, strict};
use crate::pg_catalog::names::{Registry, split_name};
use crate::pg_catalog::objects::UTF8_ENCODING;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::{PG_CATALOG, SystemView};

pub(super) const FUNCTIONS: &[SystemFunction] = &[
    lenient("current_catalog", "name", |call| {
        Ok(Cell::from(&call.view.session.database))
    }),
    lenient("current_database", "name", |call| {
        Ok(Cell::from(&call.view.session.database))
    }),
    lenient("current_role", "name", user),
    lenient("current_schema", "name", |call| {
        Ok(search_path(call.view).into_iter().next().into())
    }),
    strict("current_schemas", "name[]", current_schemas),
    strict("current_setting", "text", current_setting),
    lenient("set_config", "text", |_| {
        // Queries that run have the result in the place of the call.
        Err(PgError::unsupported("set_config is not supported here"))
    }),
    lenient("current_user", "name", user),
    lenient("getdatabaseencoding", "name", |_| Ok("UTF8".into())),
    lenient("inet_client_addr", "inet", |call| {
        Ok(call
            .view
            .session
            .client_addr
            .map(|addr| addr.ip().to_string())
            .into())
    }),
    lenient("inet_client_port", "int4", |call| {
        Ok(call
            .view
            .session
            .client_addr
            .map(|addr| i32::from(addr.port()))
            .into())
    }),
    lenient("inet_server_addr", "inet", |call| {
        Ok(call
            .view
            .session
            .server_addr
            .map(|addr| addr.ip().to_string())
            .into())
    }),
    lenient("inet_server_port", "int4", |call| {
        Ok(call
            .view
            .session
            .server_addr
            .map(|addr| i32::from(addr.port()))
            .into())
    }),
    lenient("pg_backend_pid", "int4", |call| {
        Ok(call.view.session.process_id.into())
    }),
    strict("pg_char_to_encoding", "int4", char_to_encoding),
    lenient("pg_client_encoding", "name", |_| Ok("UTF8".into())),
    strict("pg_encoding_to_char", "name", encoding_to_char),
    strict("pg_get_userbyid", "name", |call| {
        Ok(call.view.role_name(call.oid(0)?).into())
    }),
    lenient("pg_is_in_recovery", "bool", |_| Ok(false.into())),
    strict("pg_is_other_temp_schema", "bool", |_| Ok(false.into())),
    lenient("pg_my_temp_schema", "oid", |call| {
        let schema = call.view.definitions.temporary_schema();
        Ok(schema.unwrap_or_default().into())
    }),
    lenient("pg_postmaster_start_time", "timestamptz", |call| {
        Ok(call.view.session.server_start_us.into())
    }),
    lenient("session_user", "name", user),
    lenient("user", "name", user),
    lenient("version", "text", |_| {
        Ok(concat!("PostgreSQL 15.0 (Nyala ", env!("CARGO_PKG_VERSION"), ")").into())
    }),
    strict("has_any_column_privilege", "bool", has_table_privilege),
    strict("has_column_privilege", "bool", has_column_privilege),
    strict("has_database_privilege", "bool", has_database_privilege),
    strict(
        "has_foreign_data_wrapper_privilege",
        "bool",
        has_common_privilege,
    ),
    strict("has_function_privilege", "bool", has_common_privilege),
    strict("has_language_privilege", "bool", has_common_privilege),
    strict("has_schema_privilege", "bool", has_schema_privilege),
    strict("has_server_privilege", "bool", has_common_privilege),
    strict("has_table_privilege", "bool", has_table_privilege),
    strict("has_tablespace_privilege", "bool", has_common_privilege),
    strict("has_type_privilege", "bool", has_common_privilege),
    strict("pg_has_role", "bool", pg_has_role),
];

impl SystemView {
    /// Whether the connected role passes all checks.
    pub(in crate::pg_catalog) fn is_superuser(&self) -> bool {
        let user = self.session.user_oid;
        self.roles
            .iter()
            .any(|role| role.oid == user && role.superuser)
    }
}

fn user(call: &Call<'_>) -> Result<Cell> {
    Ok(Cell::from(&call.view.session.user))
}

/// The schemas of the search path that exist, `pg_catalog` among them where the path names it.
fn search_path(view: &SystemView) -> Vec<String> {
    let mut path = view.session.search_path.clone();
    let setting = view.settings.iter().find(|row| row.name == "search_path");
    let mut written = setting.into_iter().flat_map(|row| row.value.split(','));
    let named = |name: &str| split_name(name).is_ok_and(|parts| parts == [PG_CATALOG]);
    if let Some(position) = written.position(named)
        && !path.iter().any(|name| name == PG_CATALOG)
    {
        path.insert(position.min(path.len()), PG_CATALOG.to_string());
    }
    let named = path.into_iter().map(|name| match name.as_str() {
        "$user" => view.session.user.clone(),
        _ => name,
    });
    named
        .filter(|name| view.entries().schema_oid(name).is_some())
        .collect()
}

fn current_schemas(call: &Call<'_>) -> Result<Cell> {
    let mut path = search_path(call.view);
    if call.bool(0)? && !path.iter().any(|name| name == PG_CATALOG) {
        path.insert(0, PG_CATALOG.to_string());
    }
    Ok(path.into())
}

fn current_setting(call: &Call<'_>) -> Result<Cell> {
    let name = call.text(0)?;
    let setting = call
        .view
        .settings
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(name));
    match setting {
        Some(setting) => Ok(Cell::from(&setting.shown)),
        None if matches!(call.cell(1), Cell::Bool(true)) => Ok(Cell::Null),
        None => Err(PgError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn char_to_encoding(call: &Call<'_>) -> Result<Cell> {
    let name = call.text(0)?.to_ascii_uppercase().replace(['-', '_'], "");
    Ok(if matches!(name.as_str(), "UTF8" | "UNICODE") {
        UTF8_ENCODING
    } else {
        -1
    }
    .into())
}

fn encoding_to_char(call: &Call<'_>) -> Result<Cell> {
    Ok(if call.int(0)? == i64::from(UTF8_ENCODING) {
        "UTF8"
    } else {
        ""
    }
    .into())
}

/// The role and the object of a privilege function: the role may be left out.
struct Question<'a> {
    role: u32,
    /// Position of the object among the arguments.
    object: usize,
    privileges: &'a str,
}

impl Question<'_> {
    /// Whether every privilege asked for is one of these.
    fn only(&self, granted: &[&str]) -> bool {
        let mut asked = self.privileges.split(',').map(str::trim);
        asked.all(|asked| {
            granted
                .iter()
                .any(|granted| granted.eq_ignore_ascii_case(asked))
        })
    }
}

fn question<'a>(call: &'a Call<'_>, objects: usize) -> Result<Question<'a>> {
    let privilege = call.arguments.len().saturating_sub(1);
    let named = privilege > objects;
    let role = if named {
        oid_argument(call, 0, Registry::Role)?.unwrap_or_default()
    } else {
        call.view.session.user_oid
    };
    Ok(Question {
        role,
        object: usize::from(named),
        privileges: call.text(privilege)?,
    })
}

fn is_superuser(view: &SystemView, role: u32) -> bool {
    view.roles
        .iter()
        .any(|known| known.oid == role && known.superuser)
}

/// Things that everybody may use and that have no owner but the bootstrap superuser.
fn has_common_privilege(call: &Call<'_>) -> Result<Cell> {
    let question = question(call, 1)?;
    let granted = question.only(&["USAGE", "EXECUTE"]);
    Ok((granted || is_superuser(call.view, question.role)).into())
}

fn has_database_privilege(call: &Call<'_>) -> Result<Cell> {
    let question = question(call, 1)?;
    let database = match call.cell(question.object) {
        Cell::Text(name) => {
            let found = call
                .view
                .databases
                .iter()
                .find(|database| database.name == *name);
            let missing = || {
                let message = format!("database \"{name}\" does not exist");
                PgError::new(sqlstate::UNDEFINED_DATABASE, message)
            };
            Some(found.ok_or_else(missing)?)
        }
        _ => {
            let oid = call.oid(question.object)?;
            call.view
                .databases
                .iter()
                .find(|database| database.oid == oid)
        }
    };
    let Some(database) = database else {
        return Ok(Cell::Null);
    };
    let granted = question.only(&["CONNECT"])
        || database.owner == question.role
        || is_superuser(call.view, question.role);
    Ok(granted.into())
}

fn has_schema_privilege(call: &Call<'_>) -> Result<Cell> {
    let question = question(call, 1)?;
    let Some(schema) = oid_argument(call, question.object, Registry::Namespace)? else {
        return Ok(Cell::Null);
    };
    let owner = call
        .view
        .definitions
        .schema_by_oid(schema)
        .map(|schema| schema.owner);
    let granted = question.only(&["USAGE"])
        || owner == Some(question.role)
        || is_superuser(call.view, question.role);
    Ok(granted.into())
}

fn has_table_privilege(call: &Call<'_>) -> Result<Cell> {
    table_privilege(call, 1)
}

fn has_column_privilege(call: &Call<'_>) -> Result<Cell> {
    table_privilege(call, 2)
}

fn table_privilege(call: &Call<'_>, objects: usize) -> Result<Cell> {
    let question = question(call, objects)?;
    let table = oid_argument(call, question.object, Registry::Class)?;
    let Some(entry) = table.and_then(|oid| call.view.entries().by_oid(oid)) else {
        return Ok(Cell::Null);
    };
    let granted = match entry.kind {
        Kind::System { .. } => question.only(&["SELECT"]),
        _ => entry.owner == question.role,
    };
    Ok((granted || is_superuser(call.view, question.role)).into())
}

/// Roles have no members: a role has itself, a superuser has all.
fn pg_has_role(call: &Call<'_>) -> Result<Cell> {
    let question = question(call, 1)?;
    // PostgreSQL's predefined roles do not exist here; nobody but a superuser has them.
    let role = match call.cell(question.object) {
        Cell::Text(name) if name.starts_with("pg_") => None,
        _ => oid_argument(call, question.object, Registry::Role)?,
    };
    Ok((role == Some(question.role) || is_superuser(call.view, question.role)).into())
}
