//! The `reg*` conversions: `regclass`, `regtype`, `regproc`, `regnamespace`, `regrole`.
//!
//! PostgreSQL's `regclass` is an OID that prints as a name. Here a statement's rewriting decides which of the
//! two a conversion stands for: `nyala_regclass_name` where the value is shown, `nyala_regclass_oid`
//! where it is computed with.

use nyala_catalog::definitions::Oid;

use crate::error::Result;
use crate::pg_catalog::functions::{Call, SystemFunction, strict};
use crate::pg_catalog::names::Registry;
use crate::pg_catalog::rows::Cell;

macro_rules! conversions {
    ($($registry:ident: $to_oid:literal, $to_name:literal, $lenient_oid:literal, $lenient_name:literal, $oid:literal, $result:literal;)*) => {
        &[$(
            strict($to_oid, $oid, |call| to_oid(call, Registry::$registry)),
            strict($to_name, $result, |call| to_name(call, Registry::$registry)),
            strict($lenient_oid, $oid, |call| Ok(find(call, Registry::$registry)?.into())),
            strict($lenient_name, $result, |call| {
                let found = find(call, Registry::$registry)?;
                Ok(found.map(|oid| Registry::$registry.name(call.view, oid)).into())
            }),
        )*]
    };
}

pub(super) const FUNCTIONS: &[SystemFunction] = conversions! {
    Class: "nyala_regclass_oid", "nyala_regclass_name", "nyala_to_regclass_oid", "nyala_to_regclass_name", "oid", "regclass";
    Type: "nyala_regtype_oid", "nyala_regtype_name", "nyala_to_regtype_oid", "nyala_to_regtype_name", "oid", "regtype";
    Proc: "nyala_regproc_oid", "nyala_regproc_name", "nyala_to_regproc_oid", "nyala_to_regproc_name", "regproc", "text";
    Namespace: "nyala_regnamespace_oid", "nyala_regnamespace_name", "nyala_to_regnamespace_oid", "nyala_to_regnamespace_name", "oid", "text";
    Role: "nyala_regrole_oid", "nyala_regrole_name", "nyala_to_regrole_oid", "nyala_to_regrole_name", "oid", "text";
};

/// An object given by OID or name; a name of nothing is an error, `-` is none.
pub(super) fn oid_argument(
    call: &Call<'_>,
    position: usize,
    registry: Registry,
) -> Result<Option<Oid>> {
    match call.cell(position) {
        Cell::Text(text) => match text.parse() {
            Ok(oid) => Ok(Some(oid)),
            Err(_) if text == "-" => Ok(None),
            Err(_) => match registry.find(call.view, text)? {
                Some(oid) => Ok(Some(oid)),
                None => Err(registry.missing(text)),
            },
        },
        _ => call.oid(position).map(Some),
    }
}

fn to_oid(call: &Call<'_>, registry: Registry) -> Result<Cell> {
    Ok(oid_argument(call, 0, registry)?.unwrap_or_default().into())
}

fn to_name(call: &Call<'_>, registry: Registry) -> Result<Cell> {
    let oid = oid_argument(call, 0, registry)?.unwrap_or_default();
    Ok(registry.name(call.view, oid).into())
}

fn find(call: &Call<'_>, registry: Registry) -> Result<Option<Oid>> {
    registry.find(call.view, call.text(0)?)
}
