//! Object stores by URL: the local disk (`file://`) and S3 (`s3://`, `s3a://`).
//!
//! There is one client for each bucket, whoever asks for it: closed tables, external tables and query plans share its
//! connections. Options are those of the AWS command line tools (`aws_access_key_id`, `aws_endpoint_url`, …); what is not
//! given is asked of the machine's role, as they do.
//!
//! - A write that must not replace anything (a commit, a mark of ownership) is a conditional put. It is not optional:
//!   without it two writers could both commit one version of a table.
//! - A store that does not answer is an error in bounded time: requests are tried again for `RETRY_TIME_MAX`, and
//!   each takes at most the client's `timeout` (30 seconds).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::RuntimeEnv;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use parking_lot::Mutex;
use url::Url;

/// How often a request is tried again, and for how long.
const RETRIES_MAX: usize = 10;
const RETRY_TIME_MAX: Duration = Duration::from_secs(15);

/// The pause before a request is tried again, at first and at most.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Result of finding a store.
pub type Result<T, E = LocationError> = std::result::Result<T, E>;

/// A location that no store can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LocationError {
    /// What is wrong with it.
    pub message: String,
}

fn wrong(message: impl Into<String>) -> LocationError {
    LocationError {
        message: message.into(),
    }
}

/// The object stores of a server.
pub struct ObjectStores {
    s3_options: Vec<(AmazonS3ConfigKey, String)>,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    local: Arc<dyn ObjectStore>,
}

impl ObjectStores {
    /// Stores with options for S3. An option that S3 does not have is an error.
    pub fn new(s3_options: &BTreeMap<String, String>) -> Result<Self> {
        let options =
            s3_options
                .iter()
                .map(|(name, value)| match name.to_ascii_lowercase().parse() {
                    Ok(key) => Ok((key, value.clone())),
                    Err(_) => Err(wrong(format!("unrecognized S3 option \"{name}\""))),
                });
        Ok(Self {
            s3_options: options.collect::<Result<_>>()?,
            buckets: Mutex::default(),
            local: Arc::new(LocalFileSystem::new()),
        })
    }

    /// The one name of an option that has several (`AWS_REGION`, `region`), if it is one.
    pub fn option_name(name: &str) -> Option<String> {
        let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
        Some(key.as_ref().to_string())
    }

    /// The store that a URL lies in; its root is that of the file system or the bucket.
    pub(crate) fn store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match (url.scheme(), url.host_str()) {
            ("file", _) => Ok(Arc::clone(&self.local)),
            ("s3" | "s3a", Some(bucket)) => {
                let mut buckets = self.buckets.lock();
                if let Some(known) = buckets.get(bucket) {
                    return Ok(Arc::clone(known));
                }
                let store = self.s3(bucket)?;
                buckets.insert(bucket.to_string(), Arc::clone(&store));
                Ok(store)
            }
            ("s3" | "s3a", None) => Err(wrong(format!("location \"{url}\" names no bucket"))),
            (scheme, _) => Err(wrong(format!(
                "locations of kind \"{scheme}://\" are not supported"
            ))),
        }
    }

    fn s3(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new();
        for (key, value) in &self.s3_options {
            builder = builder.with_config(*key, value);
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: BACKOFF_FIRST,
                max_backoff: BACKOFF_MAX,
                ..BackoffConfig::default()
            },
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIME_MAX,
        };
        let store = builder
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Arc::new(store))
    }

    /// The Delta log of a table at a location, which ends with a slash.
    pub(crate) fn log_store(&self, location: &Url) -> Result<LogStoreRef> {
        let root = self.store(location)?;
        let config = StorageConfig::default();
        let table = config
            .decorate_store(Arc::clone(&root), location)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(default_logstore(Arc::from(table), root, location, &config))
    }

    /// Makes the store of a URL known to query plans.
    pub(crate) fn register(&self, runtime: &RuntimeEnv, url: &Url) -> Result<()> {
        runtime.register_object_store(url, self.store(url)?);
        Ok(())
    }
}

impl std::fmt::Debug for ObjectStores {
    /// Without the options: there are secrets among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStores").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(options: &[(&str, &str)]) -> Result<ObjectStores> {
        let options = options.iter();
        ObjectStores::new(
            &options
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn options_have_the_names_of_the_command_line_tools() {
        let known = stores(&[
            ("AWS_ACCESS_KEY_ID", "a"),
            ("aws_endpoint_url", "http://127.0.0.1:1"),
            ("aws_allow_http", "true"),
            ("timeout", "5s"),
        ]);
        assert!(known.is_ok());
        let name = ObjectStores::option_name("AWS_ENDPOINT_URL");
        assert_eq!(name, ObjectStores::option_name("endpoint"));
        let error = stores(&[("aws_acess_key_id", "a")]).expect_err("misspelt");
        assert!(error.message.contains("aws_acess_key_id"), "{error}");
    }

    #[test]
    fn a_bucket_has_one_client() {
        let stores = stores(&[("region", "eu-west-1")]).expect("stores");
        let at = |url: &str| stores.store(&Url::parse(url).expect("a URL"));
        let one = at("s3://bucket/a/").expect("a store");
        let same = at("s3a://bucket/b/").expect("a store");
        assert!(Arc::ptr_eq(&one, &same));
        let other = at("s3://other/").expect("a store");
        assert!(!Arc::ptr_eq(&one, &other));
        let error = at("gs://bucket/").expect_err("another kind");
        assert!(error.message.contains("gs://"), "{error}");
    }
}
