//! Tables as they were: `FOR SYSTEM_TIME AS OF time` and `VERSION AS OF number`.
//!
//! Before a query is planned, each table with a version becomes a table whose name carries the moment ([`pin`]); when the planner
//! asks for it, the moment is read back ([`split`]) and the table's restore point is looked up. What `t$history` shows
//! is here as well.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::datasource::TableProvider;
use nyala_catalog::definitions::Table;
use nyala_catalog::restore_point::{AsOf, RestorePoint};
use nyala_catalog::types::SqlType;
use sqlparser::ast::{
    Expr, Ident, ObjectNamePart, Query, TableAlias, TableFactor, TableVersion, Value, VisitMut,
    VisitorMut,
};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::planner::{INTERNAL, Planner};

/// Puts the moment into the names of tables with a version.
pub fn pin(planner: &Planner, query: &mut Query) -> Result<()> {
    match query.visit(&mut Pin(planner)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Pin<'a>(&'a Planner);

impl VisitorMut for Pin<'_> {
    type Break = PgError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PgError> {
        let TableFactor::Table {
            name,
            alias,
            version,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(asked) = version.take() else {
            return ControlFlow::Continue(());
        };
        let as_of = match self.moment(asked) {
            Ok(as_of) => as_of,
            Err(error) => return ControlFlow::Break(error),
        };
        let Some(ObjectNamePart::Identifier(ident)) = name.0.last_mut() else {
            return ControlFlow::Break(PgError::syntax("a table with a version has a name"));
        };
        let moment = match as_of {
            AsOf::Version(version) => format!("v{version}"),
            AsOf::Time(time_us) => format!("t{time_us}"),
        };
        let folded = crate::sql::names::fold(ident);
        if alias.is_none() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', folded.clone()),
                columns: Vec::new(),
                at: None,
            });
        }
        *ident = Ident::with_quote('"', format!("{folded}{INTERNAL}{moment}"));
        ControlFlow::Continue(())
    }
}

impl Pin<'_> {
    fn moment(&self, version: TableVersion) -> Result<AsOf> {
        match version {
            TableVersion::VersionAsOf(Expr::Value(value)) => match &value.value {
                Value::Number(number, _) => match number.parse() {
                    Ok(version) => Ok(AsOf::Version(version)),
                    Err(_) => Err(PgError::syntax(format!("\"{number}\" is not a version"))),
                },
                _ => Err(PgError::syntax("VERSION AS OF takes a number")),
            },
            TableVersion::ForSystemTimeAsOf(time) => self.time(time),
            other => Err(
                PgError::unsupported(format!("\"{other}\" is not supported"))
                    .with_hint("Use FOR SYSTEM_TIME AS OF or VERSION AS OF."),
            ),
        }
    }

    fn time(&self, time: Expr) -> Result<AsOf> {
        match self.0.constant(time, &SqlType::Timestamptz)? {
            Some(ScalarValue::TimestampMicrosecond(Some(time_us), _)) => Ok(AsOf::Time(time_us)),
            Some(value) if value.is_null() => Err(PgError::new(
                sqlstate::NULL_VALUE_NOT_ALLOWED,
                "the time of FOR SYSTEM_TIME AS OF must not be null",
            )),
            _ => Err(PgError::unsupported(
                "the time of FOR SYSTEM_TIME AS OF must be a constant",
            )),
        }
    }
}

/// Splits a name that [`pin`] made into the table's name and the moment.
pub fn split(name: &str) -> Option<(&str, AsOf)> {
    let (table, moment) = name.rsplit_once(INTERNAL)?;
    let as_of = match moment.split_at_checked(1)? {
        ("v", version) => AsOf::Version(version.parse().ok()?),
        ("t", time_us) => AsOf::Time(time_us.parse().ok()?),
        _ => return None,
    };
    (!table.is_empty()).then_some((table, as_of))
}

/// Columns of `t$history`.
pub fn history_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Int8.field("version", false),
        SqlType::Timestamptz.field("taken_at", false),
        SqlType::Int8.field("csn", false),
        SqlType::Int8.field("snapshot_version", false),
        SqlType::Int8.field("closed_version", true),
    ]))
}

/// The versions of a table that can be read.
pub fn history(planner: &Planner, table: &Table) -> Result<Arc<dyn TableProvider>> {
    let points = planner.view.restore_points(table)?;
    let numbers = |of: fn(&RestorePoint) -> Option<u64>| -> ArrayRef {
        let numbers = points.iter().map(|point| i64::try_from(of(point)?).ok());
        Arc::new(numbers.collect::<Int64Array>())
    };
    let times = points.iter().map(|point| point.taken_us);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let schema = history_schema();
    let rows = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            numbers(|point| Some(point.version)),
            Arc::new(times),
            numbers(|point| Some(point.csn)),
            numbers(|point| Some(point.snapshot_version)),
            numbers(|point| point.closed_version),
        ],
    )?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_moment() {
        let name = |moment: &str| format!("t{INTERNAL}{moment}");
        assert_eq!(split(&name("v12")), Some(("t", AsOf::Version(12))));
        assert_eq!(split(&name("t-5")), Some(("t", AsOf::Time(-5))));
        assert_eq!(split(&name("x")), None);
        assert_eq!(split("t"), None);
        assert_eq!(
            split(&format!("{INTERNAL}v1")),
            None,
            "another kind of name"
        );
    }
}
