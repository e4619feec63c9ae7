//! What a location of an external table names: a file or a directory, on this machine or in an object store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::{ExternalTableError, PARQUET_EXTENSION, Result};
use crate::object_stores::ObjectStores;

/// A file or a directory that is there.
pub(super) struct Place {
    /// The location as it was given.
    location: String,
    /// Ends with a slash if it is a directory.
    pub url: Url,
    pub is_directory: bool,
    store: Arc<dyn ObjectStore>,
    /// The place within the store.
    path: Path,
}

impl Place {
    /// Looks what is at a location.
    pub async fn find(stores: &ObjectStores, location: &str) -> Result<Self> {
        match local_path(location)? {
            Ok(path) => Self::local(stores, location, &path).await,
            Err(url) => Self::remote(stores, location, url).await,
        }
    }

    async fn local(stores: &ObjectStores, location: &str, path: &FilePath) -> Result<Self> {
        let kind = tokio::fs::metadata(path).await;
        let kind = kind.map_err(|error| ExternalTableError::NotFound {
            what: "directory",
            location: location.to_string(),
            reason: error.kind().to_string(),
        })?;
        let url = match kind.is_dir() {
            true => Url::from_directory_path(path),
            false => Url::from_file_path(path),
        };
        let url = url.map_err(|()| not_local(location))?;
        Self::at(stores, location, url)
    }

    async fn remote(stores: &ObjectStores, location: &str, url: Url) -> Result<Self> {
        let mut place = Self::at(stores, location, url)?;
        if place.is_directory {
            return Ok(place);
        }
        match place.store.head(&place.path).await {
            Ok(_) => Ok(place),
            // No such file, so it may be a directory.
            Err(object_store::Error::NotFound { .. }) => {
                place.url = place.directory_url();
                place.is_directory = true;
                Ok(place)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn at(stores: &ObjectStores, location: &str, url: Url) -> Result<Self> {
        let store = stores.store(&url)?;
        let path =
            Path::from_url_path(url.path()).map_err(|error| ExternalTableError::Invalid {
                message: format!("location \"{location}\": {error}"),
            })?;
        Ok(Self {
            location: location.to_string(),
            is_directory: url.path().ends_with('/'),
            url,
            store,
            path,
        })
    }

    /// The URL as that of a directory.
    pub fn directory_url(&self) -> Url {
        let mut url = self.url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        url
    }

    /// The paths of the Parquet files in the directory, as the names that lead to them.
    pub async fn data_files(&self) -> Result<Vec<Vec<String>>> {
        let mut files = Vec::new();
        let mut listed = self.store.list(Some(&self.path));
        while let Some(file) = listed.try_next().await? {
            let Some(parts) = file.location.prefix_match(&self.path) else {
                continue;
            };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_string()).collect();
            if parts
                .last()
                .is_some_and(|name| name.ends_with(PARQUET_EXTENSION))
            {
                files.push(parts);
            }
        }
        // In an object store nothing but its files says that a directory is there.
        if files.is_empty() && self.url.scheme() != "file" {
            return Err(self.not_found("directory", "there are no Parquet files"));
        }
        Ok(files)
    }

    /// There is no `what` here.
    pub fn not_found(&self, what: &'static str, reason: &str) -> ExternalTableError {
        ExternalTableError::NotFound {
            what,
            location: self.location.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The path that a location names, or else its URL. Relative paths would depend on where the server was started.
pub(crate) fn local_path(location: &str) -> Result<std::result::Result<PathBuf, Url>> {
    if FilePath::new(location).is_absolute() {
        return Ok(Ok(PathBuf::from(location)));
    }
    match Url::parse(location) {
        Ok(url) if url.scheme() == "file" => match url.to_file_path() {
            Ok(path) => Ok(Ok(path)),
            Err(()) => Err(not_local(location)),
        },
        Ok(url) => Ok(Err(url)),
        Err(_) => Err(ExternalTableError::Invalid {
            message: format!(
                "location \"{location}\" is a relative path; use an absolute path or a file:// or s3:// URL"
            ),
        }),
    }
}

fn not_local(location: &str) -> ExternalTableError {
    ExternalTableError::Invalid {
        message: format!("location \"{location}\" is not a local path"),
    }
}
