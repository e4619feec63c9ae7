//! Where closed tables, snapshots and files of restore points lie: in the data directory, or at a `columnar_url`.
//!
//! | folder | what |
//! | --- | --- |
//! | `closed/<table>-<storage>` | the closed table of a hybrid table (Delta) |
//! | `snapshots/<storage>` | the snapshot of a table's open rows (Delta) |
//! | `points/<storage>` | files of the table's restore points |
//! | `nyala-owner` | a file: the id of the database that all this belongs to; only at a `columnar_url` |
//!
//! A start removes folders that no definition names. So a place must belong to one database: the row store remembers the
//! URL and an id, and the place has the same id, put there if there was none. A database that is opened with another URL, or
//! a URL that has another owner, is refused before anything is read or removed.

use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use url::Url;

use crate::durable;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::object_stores::ObjectStores;

/// Folder of closed tables.
pub(crate) const CLOSED: &str = "closed";
/// Folder of snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Folder of files of restore points.
pub(crate) const POINTS: &str = "points";

/// File with the id of the database that a place belongs to.
const OWNER: &str = "nyala-owner";

/// What the row store remembers of the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The `columnar_url`.
    url: String,
    /// What [`OWNER`] holds there.
    id: String,
}

/// The store of a server's columnar files.
pub(crate) struct ColumnarStore {
    /// Ends with a slash.
    url: Url,
    /// Whether it is not simply the data directory.
    elsewhere: bool,
    /// Its root is that of the file system or bucket.
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The place as a directory, if it is on a local disk.
    directory: Option<PathBuf>,
}

impl ColumnarStore {
    /// The store at a `columnar_url`, or in the data directory.
    pub(crate) fn open(
        data_dir: &FilePath,
        columnar_url: Option<&str>,
        stores: &ObjectStores,
    ) -> Result<Self> {
        let url = match columnar_url {
            Some(text) => parse(text)?,
            None => directory_url(&std::path::absolute(data_dir)?)?,
        };
        let prefix = Path::from_url_path(url.path()).map_err(|error| wrong_url(&url, error))?;
        let directory = match url.scheme() {
            "file" => url.to_file_path().ok(),
            _ => None,
        };
        Ok(Self {
            store: stores.store(&url)?,
            elsewhere: columnar_url.is_some(),
            url,
            prefix,
            directory,
        })
    }

    /// Whether a directory of an object store is in this place, or this place in it.
    pub(crate) fn overlaps(&self, other: &Url) -> bool {
        let same_bucket = self.url.scheme() != "file" && self.url.host_str() == other.host_str();
        let (own, other) = (self.url.path(), other.path());
        same_bucket && (own.starts_with(other) || other.starts_with(own))
    }

    /// Makes sure that the place is the one that the row store remembers. Returns what it is to remember, after whose
    /// storing [`ColumnarStore::claim`] is due. A database that is not made yet can still be made elsewhere.
    pub(crate) fn check(&self, known: Option<&Place>, new: bool) -> Result<Option<Place>> {
        let here = self.elsewhere.then(|| self.url.as_str());
        if let Some(known) = known.filter(|known| here == Some(&known.url)) {
            return Ok(Some(known.clone()));
        }
        match (known, here) {
            (None, None) => Ok(None),
            (Some(_), None) if new => Ok(None),
            (_, Some(url)) if new => Ok(Some(Place {
                url: url.to_string(),
                id: uuid::Uuid::new_v4().to_string(),
            })),
            (known, here) => {
                let named = |url: Option<&str>| match url {
                    Some(url) => format!("columnar_url \"{url}\""),
                    None => "its columnar files in the data directory".to_string(),
                };
                let made = named(known.map(|known| known.url.as_str()));
                Err(CatalogError::new(
                    ErrorKind::InvalidLocation,
                    format!("the database was made with {made}, not with {}", named(here)),
                )
                .with_hint("Closed rows are not found at another place. Start the server with the setting it was made with."))
            }
        }
    }

    /// Puts the owner's id to the place if it has none, or compares. Only a new database finds no id there.
    pub(crate) async fn claim(&self, place: &Place, new: bool) -> Result<()> {
        let owner = self.path(OWNER);
        if new {
            let id = PutPayload::from(place.id.clone());
            match self
                .store
                .put_opts(&owner, id, PutMode::Create.into())
                .await
            {
                Ok(_) => return self.flush("", OWNER).await,
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.unreachable(&error)),
            }
        }
        let refused = |message: String| CatalogError::new(ErrorKind::InvalidLocation, message);
        let found = match self.store.get(&owner).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(id) if *id == *place.id.as_bytes() => Ok(()),
            Ok(_) => Err(refused(format!(
                "columnar_url \"{}\" belongs to another database",
                self.url
            ))
            .with_hint("Each database needs a place of its own.")),
            Err(object_store::Error::NotFound { .. }) => Err(refused(format!(
                "columnar_url \"{}\" has no closed tables of this database: \"{OWNER}\" is not there",
                self.url
            ))),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &object_store::Error) -> CatalogError {
        CatalogError::new(
            ErrorKind::Io,
            format!("could not access columnar_url \"{}\": {error}", self.url),
        )
    }

    /// Whether it is on a disk of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.directory.is_some()
    }

    /// The URL of a folder, for a Delta table.
    pub(crate) fn location(&self, folder: &str) -> Result<Url> {
        self.url
            .join(&format!("{folder}/"))
            .map_err(|error| wrong_url(&self.url, error))
    }

    fn path(&self, name: &str) -> Path {
        self.prefix
            .parts()
            .chain(Path::from(name).parts())
            .collect()
    }

    /// Where a new file is written to. It is there, whole, once the writer is shut down.
    pub(crate) fn writer(&self, folder: &str, file: &str) -> BufWriter {
        let path = self.path(&format!("{folder}/{file}"));
        BufWriter::new(Arc::clone(&self.store), path)
    }

    /// Makes a file that was written last, whatever happens to the machine.
    pub(crate) async fn flush(&self, folder: &str, file: &str) -> Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let folder = directory.join(folder);
        Ok(durable::flush(vec![folder.join(file)], folder, 2).await?)
    }

    /// All of a file.
    pub(crate) async fn read(&self, folder: &str, file: &str) -> Result<Bytes> {
        let path = self.path(&format!("{folder}/{file}"));
        Ok(self.store.get(&path).await?.bytes().await?)
    }

    /// The files in a folder; none if there is no folder.
    pub(crate) async fn files(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let path = self.path(folder);
        Ok(self.store.list_with_delimiter(Some(&path)).await?.objects)
    }

    /// Removes a file that [`ColumnarStore::files`] found.
    pub(crate) async fn remove_file(&self, file: &ObjectMeta) -> Result<()> {
        Ok(self.store.delete(&file.location).await?)
    }

    /// Names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let listed = self.store.list_with_delimiter(Some(&path)).await?;
        let names = listed
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename());
        Ok(names.map(ToString::to_string).collect())
    }

    /// Removes a folder with all that is in it; a folder that does not exist is gone already.
    pub(crate) async fn remove(&self, folder: &str) -> Result<()> {
        if let Some(directory) = &self.directory {
            let folder = directory.join(folder);
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder));
            return match removed.await.map_err(std::io::Error::other)? {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        let path = self.path(folder);
        let files = self.store.list(Some(&path)).map_ok(|file| file.location);
        let removed = self.store.delete_stream(files.boxed());
        Ok(removed.try_for_each(|_| std::future::ready(Ok(()))).await?)
    }
}

/// A `columnar_url` with a slash at its end.
fn parse(text: &str) -> Result<Url> {
    let invalid = |reason: String| {
        CatalogError::new(
            ErrorKind::InvalidLocation,
            format!("columnar_url \"{text}\": {reason}"),
        )
    };
    let mut url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("a query or fragment has no meaning".to_string()));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn wrong_url(url: &Url, error: impl std::fmt::Display) -> CatalogError {
    CatalogError::new(
        ErrorKind::InvalidLocation,
        format!("location \"{url}\": {error}"),
    )
}

pub(crate) fn directory_url(path: &FilePath) -> Result<Url> {
    Url::from_directory_path(path)
        .map_err(|()| CatalogError::internal(format!("{} is not absolute", path.display())))
}

#[cfg(test)]
mod tests;
