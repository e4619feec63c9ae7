//! CREATE TABLE over files that are there: `closed_location`.

use std::sync::Arc;

use super::Transaction;
use crate::catalog::FORMAT_ELSEWHERE;
use crate::definitions::{Relation, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::partitioning::{self, PartitionField, Transform};
use crate::row_store::{Space, meta_key};

impl Transaction {
    /// Gives a new table the files at its location, and the partition columns that these have.
    pub(super) async fn adopt(&mut self, table: Arc<Table>, key: String) -> Result<Arc<Table>> {
        let own = self
            .changes
            .meta
            .iter()
            .rev()
            .find(|(known, _)| *known == key);
        let taken = match own {
            Some((_, value)) => value.is_some(),
            None => self.view.snapshot.contains(Space::Meta, &key)?,
        };
        if taken {
            return Err(CatalogError::new(
                ErrorKind::ObjectInUse,
                "closed_location is the closed part of another table",
            ));
        }
        let catalog = Arc::clone(&self.view.catalog);
        let adoption = catalog.adopt(&table).await?;
        let mut def = table.def.clone();
        if let Some(closing) = &mut def.closing {
            let divided = closing.partition_by.clone();
            let of_delta = adoption
                .partition_columns
                .iter()
                .map(|column| PartitionField {
                    column: *column,
                    transform: Transform::Identity,
                });
            closing.partition_by = of_delta.collect();
            for field in divided {
                if !closing.partition_by.contains(&field) {
                    closing.partition_by.push(field);
                }
            }
            partitioning::check(&closing.partition_by, &def.columns)?;
            if let Some(adopted) = &mut closing.adopted {
                adopted.partition_columns = adoption.partition_columns;
            }
        }
        let table = Arc::new(Table::new(def)?);
        self.put_relation(Relation::Table(Arc::clone(&table)), false)?;
        self.put_meta(key, Some(table.def.oid.to_be_bytes().to_vec()));
        if self.view.snapshot.meta_number(meta_key::FORMAT)? < FORMAT_ELSEWHERE {
            let format = FORMAT_ELSEWHERE.to_be_bytes().to_vec();
            self.put_meta(meta_key::FORMAT.to_string(), Some(format));
        }
        self.put_manifest(&table, adoption.version)?;
        Ok(table)
    }
}
