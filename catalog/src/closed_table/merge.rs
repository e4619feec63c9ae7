//! Which small files are to be merged: each housekeeping run writes files for what it moves, and many small ones cost every
//! query that reads them.
//!
//! Files are merged with neighbours of their partition in key order, so that what does not overlap does not overlap
//! afterwards. To merge each new file with a larger one before it would write the same rows over and over: a file is merged
//! only with others that have, together, at least as many rows; so a row is rewritten a number of times that
//! grows with the logarithm of the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::version::LiveFile;
use super::write::{FILE_BYTES_TARGET, FILE_ROWS_TARGET};
use super::{ClosedTable, ClosedVersion, Result};

/// A file is small below this part of the target size.
const SMALL_DIVISOR: u64 = 4;

/// Fewer files are not merged.
const MERGED_FILES_MIN: usize = 4;

/// Rows that one run rewrites to merge files, as a multiple of a file's target; the next run goes on.
const MERGED_TARGETS_MAX: u64 = 4;

/// Small files that become one.
#[derive(Debug, Clone)]
pub(crate) struct Merge {
    pub(super) files: Vec<Arc<LiveFile>>,
}

impl ClosedTable {
    /// The files of a version that a run merges.
    pub(crate) fn merges(&self, base: &ClosedVersion) -> Result<Vec<Merge>> {
        let spec = &self.layout.spec;
        let mut partitions: BTreeMap<String, Vec<&Arc<LiveFile>>> = BTreeMap::new();
        for file in base.files() {
            // Files of another division are divided anew when they are merged.
            let own = file.partition().filter(|own| own.fits(spec));
            let tag = match own {
                Some(own) if !spec.partition.is_empty() => own.to_tag()?,
                _ => String::new(),
            };
            partitions.entry(tag).or_default().push(file);
        }
        let first_key = spec.key.first().copied();
        let mut merges = Vec::new();
        let mut rows_left = MERGED_TARGETS_MAX * FILE_ROWS_TARGET;
        for files in partitions.into_values() {
            for files in neighbours(files, first_key) {
                let rows = files.iter().map(|file| rows_of(file)).sum();
                if files.len() >= MERGED_FILES_MIN && rows_left >= rows {
                    rows_left -= rows;
                    let files = files.into_iter().map(Arc::clone).collect();
                    merges.push(Merge { files });
                }
            }
        }
        Ok(merges)
    }
}

fn rows_of(file: &LiveFile) -> u64 {
    file.rows().unwrap_or(FILE_ROWS_TARGET)
}

fn is_small(file: &LiveFile) -> bool {
    rows_of(file) < FILE_ROWS_TARGET / SMALL_DIVISOR
        && file.bytes() < FILE_BYTES_TARGET / SMALL_DIVISOR
}

/// Small files without a larger one between them, as many as fit into one file.
fn neighbours(
    mut files: Vec<&Arc<LiveFile>>,
    first_key: Option<usize>,
) -> Vec<Vec<&Arc<LiveFile>>> {
    let start = |file: &LiveFile| Some(file.bounds(first_key?)?.0.clone());
    files.sort_by(|left, right| {
        let by_start = start(left).partial_cmp(&start(right));
        let by_start = by_start.unwrap_or(std::cmp::Ordering::Equal);
        by_start.then_with(|| left.path().cmp(right.path()))
    });
    let mut runs: Vec<Vec<&Arc<LiveFile>>> = vec![Vec::new()];
    let (mut rows, mut bytes) = (0, 0);
    for file in files {
        let small = is_small(file);
        let fits =
            rows + rows_of(file) <= FILE_ROWS_TARGET && bytes + file.bytes() <= FILE_BYTES_TARGET;
        if !small || !fits {
            runs.push(Vec::new());
            (rows, bytes) = (0, 0);
        }
        if let (true, Some(run)) = (small, runs.last_mut()) {
            rows += rows_of(file);
            bytes += file.bytes();
            run.push(file);
        }
    }
    for run in &mut runs {
        without_dominant(run);
    }
    runs
}

/// Takes out files that have more rows than the others together.
fn without_dominant(run: &mut Vec<&Arc<LiveFile>>) {
    loop {
        let total: u64 = run.iter().map(|file| rows_of(file)).sum();
        let dominant = run.iter().position(|file| rows_of(file) > total / 2);
        match dominant {
            Some(at) if run.len() > 1 => drop(run.remove(at)),
            _ => return,
        }
    }
}
