//! Locations that tables adopt: which can be, and who has them.

use object_store::path::Path;
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

    /// A directory as the URL that definitions have.
    pub(crate) fn adoptable(&self, location: &str) -> Result<Url> {
        let path = match local_path(location)? {
            Ok(path) => path,
            Err(url) => return self.adoptable_bucket(location, url),
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

    /// The same for a directory of an object store, whose other names are `s3a://` and those without a slash at the end.
    fn adoptable_bucket(&self, location: &str, url: Url) -> Result<Url> {
        self.object_stores.store(&url)?;
        let invalid = |reason: String| {
            CatalogError::new(
                ErrorKind::InvalidLocation,
                format!("closed_location \"{location}\" {reason}"),
            )
        };
        let path = Path::from_url_path(url.path())
            .map_err(|error| invalid(format!("is not a directory: {error}")))?;
        let bucket = url.host_str().unwrap_or_default();
        let known = if path.as_ref().is_empty() {
            Url::parse(&format!("s3://{bucket}/"))
        } else {
            Url::parse(&format!("s3://{bucket}/{path}/"))
        };
        let known = known.map_err(|error| invalid(format!("is not a URL: {error}")))?;
        if self.columnar.overlaps(&known) {
            return Err(invalid("is in the server's columnar_url".to_string()));
        }
        Ok(known)
    }
}

/// The key of `meta` that says that a table has adopted its closed part's location.
pub(crate) fn adopted_key(table: &Table) -> Option<String> {
    let closing = table.def.closing.as_ref()?;
    let adopted = closing.adopted.as_ref()?;
    Some(meta_key::adopted(&adopted.location))
}
