//! Locations that tables adopt: which can be, and who has them.

use url::Url;

use super::Catalog;
use crate::closed_table::{Adoption, ClosedTable};
use crate::columnar_store::directory_url;
use crate::definitions::Table;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::external_table::local_path;
use crate::row_store::meta_key;

impl Catalog {
    /// Makes the files at a location the closed part of a new table; see [`ClosedTable::take_over`].
    pub(crate) async fn adopt(&self, table: &Table) -> Result<Adoption> {
        ClosedTable::take_over(self.closed_spec(table)?, &self.object_stores).await
    }

    /// A local directory as the URL that definitions have.
    pub(crate) fn adoptable(&self, location: &str) -> Result<Url> {
        let Ok(path) = local_path(location)? else {
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!("closed_location \"{location}\" is not a local directory"),
            ));
        };
        let missing = |error: std::io::Error| {
            CatalogError::new(
                ErrorKind::UndefinedFile,
                format!(
                    "could not open closed_location \"{location}\": {}",
                    error.kind()
                ),
            )
        };
        // Two names of one directory are one location.
        let path = path.canonicalize().map_err(missing)?;
        let own = self.data_dir.canonicalize()?;
        if path.starts_with(&own) || own.starts_with(&path) {
            return Err(CatalogError::new(
                ErrorKind::InvalidLocation,
                format!("closed_location \"{location}\" is in the server's data directory"),
            ));
        }
        directory_url(&path)
    }
}

/// The key of `meta` that says that a table has adopted its closed part's location.
pub(crate) fn adopted_key(table: &Table) -> Option<String> {
    let closing = table.def.closing.as_ref()?;
    let adopted = closing.adopted.as_ref()?;
    Some(meta_key::adopted(&adopted.location))
}
