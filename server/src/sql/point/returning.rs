//! RETURNING of statements about one row, where it names columns of the table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use sqlparser::ast::{SelectItem, SelectItemQualifiedWildcardKind};

use super::compile::column_of;
use crate::error::{PgError, Result};
use crate::sql::dml::{Changed, Target};
use crate::sql::names;

/// Which columns of the row come back.
pub(super) struct Returning {
    columns: Vec<usize>,
    /// The columns, as the client is told.
    schema: SchemaRef,
}

impl Returning {
    /// Recognises plain columns and `*`.
    pub(super) fn compile(
        target: &Target,
        items: &[SelectItem],
        schema: &SchemaRef,
    ) -> Option<Self> {
        let all = 0..target.table.def.columns.len();
        let mut columns = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SelectItem::Wildcard(options) if options.to_string().is_empty() => {
                    columns.extend(all.clone());
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if options.to_string().is_empty() => {
                    if names::single_name(name).ok()? != names::fold(&target.alias) {
                        return None;
                    }
                    columns.extend(all.clone());
                }
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    columns.push(column_of(target, expr)?);
                }
                _ => return None,
            }
        }
        (columns.len() == schema.fields().len()).then(|| Self {
            columns,
            schema: Arc::clone(schema),
        })
    }

    /// What comes back of a row of the table.
    fn of(&self, row: &RecordBatch) -> Result<RecordBatch> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (at, field) in self.columns.iter().zip(self.schema.fields()) {
            let Some(value) = row.columns().get(*at) else {
                return Err(PgError::internal("row without a column"));
            };
            values.push(match value.data_type() == field.data_type() {
                true => Arc::clone(value),
                false => arrow::compute::cast(value, field.data_type())?,
            });
        }
        super::batch(&self.schema, values, row.num_rows())
    }

    /// What a statement did that wrote a row, or none.
    pub(super) fn changed(
        returning: Option<&Self>,
        tag: String,
        row: Option<&RecordBatch>,
    ) -> Result<Changed> {
        let returning = match returning {
            Some(returning) => {
                let rows = row.map(|row| returning.of(row)).transpose()?;
                Some((Arc::clone(&returning.schema), Vec::from_iter(rows)))
            }
            None => None,
        };
        Ok(Changed { tag, returning })
    }
}
