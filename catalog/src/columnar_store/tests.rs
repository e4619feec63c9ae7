//! Whose a place is, and what is removed there.

use tempfile::TempDir;

use super::*;

fn stores() -> ObjectStores {
    ObjectStores::new(&Default::default()).expect("no options")
}

fn at(directory: &TempDir) -> ColumnarStore {
    let url = format!("file://{}/columnar", directory.path().display());
    ColumnarStore::open(directory.path(), Some(&url), &stores()).expect("a place")
}

#[tokio::test]
async fn a_place_belongs_to_the_database_that_came_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = at(&directory);
    let first = store.check(None, true).expect("new").expect("a place");
    store.claim(&first, true).await.expect("claimed");
    // A start that was cut off is done again.
    store.claim(&first, true).await.expect("its own");
    store.claim(&first, false).await.expect("its own");

    let second = store.check(None, true).expect("new").expect("a place");
    let error = store.claim(&second, true).await.expect_err("taken");
    assert!(error.message.contains("another database"), "{error}");

    std::fs::remove_file(directory.path().join("columnar").join(OWNER)).expect("removed");
    let error = store.claim(&first, false).await.expect_err("emptied");
    assert!(error.message.contains(OWNER), "{error}");
}

#[test]
fn a_database_stays_where_it_was_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = ColumnarStore::open(directory.path(), None, &stores()).expect("a place");
    assert_eq!(local.check(None, true).expect("new"), None);
    assert_eq!(local.check(None, false).expect("known"), None);
    let there = at(&directory);
    let place = there.check(None, true).expect("new").expect("a place");
    assert!(there.check(Some(&place), false).is_ok());
    // A first start that failed settles nothing.
    assert_eq!(local.check(Some(&place), true).expect("new"), None);
    for error in [local.check(Some(&place), false), there.check(None, false)] {
        let error = error.expect_err("another place");
        assert_eq!(error.kind, ErrorKind::InvalidLocation);
        assert!(error.message.contains(&place.url), "{error}");
    }
}

#[tokio::test]
async fn folders_are_listed_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = at(&directory);
    for (folder, file) in [
        ("closed/a-1", "x.parquet"),
        ("closed/b-2/_delta_log", "0.json"),
    ] {
        use tokio::io::AsyncWriteExt;
        let mut writer = store.writer(folder, file);
        writer.write_all(b"bytes").await.expect("written");
        writer.shutdown().await.expect("closed");
        store.flush(folder, file).await.expect("flushed");
    }
    let mut found = store.folders(CLOSED).await.expect("listed");
    found.sort();
    assert_eq!(found, ["a-1", "b-2"]);
    assert!(store.folders(POINTS).await.expect("no folder").is_empty());
    store.remove("closed/b-2").await.expect("removed");
    store.remove("closed/b-2").await.expect("gone already");
    assert_eq!(store.folders(CLOSED).await.expect("listed"), ["a-1"]);
    let files = store.files("closed/a-1").await.expect("listed");
    assert_eq!(files.len(), 1);
    let read = store.read("closed/a-1", "x.parquet").await.expect("read");
    assert_eq!(&*read, b"bytes");
}

#[test]
fn urls_are_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    for url in [
        "bucket/prefix",
        "gs://bucket/prefix",
        "s3:///prefix",
        "s3://b/p?x=1",
    ] {
        let refused = ColumnarStore::open(directory.path(), Some(url), &stores());
        let error = refused.err().expect(url);
        assert_eq!(error.kind, ErrorKind::InvalidLocation, "{url}");
    }
    let there = ColumnarStore::open(directory.path(), Some("s3://bucket/a/b"), &stores());
    let there = there.expect("a place");
    assert!(!there.is_local());
    let location = there.location("closed/t-1").expect("a URL");
    assert_eq!(location.as_str(), "s3://bucket/a/b/closed/t-1/");
}
