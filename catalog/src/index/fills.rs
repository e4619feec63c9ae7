//! The committer's part in building indexes: which rows were written since the builder last looked.

use std::collections::{HashMap, HashSet};

use crate::definitions::StorageId;
use crate::index::entry::Entry;
use crate::row_codec::Bytes;

/// What the builder of an index asks of the committer.
#[derive(Debug)]
pub(crate) enum Fill {
    /// Remember the keys written to the table from now on.
    Watch { table: StorageId, index: StorageId },
    /// Entries of rows of a snapshot that was taken after the last request.
    Entries {
        table: StorageId,
        index: StorageId,
        entries: Vec<Entry>,
    },
    /// Remember no more.
    End { table: StorageId, index: StorageId },
}

/// Keys written to tables of which an index is filled.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    /// By table and index.
    written: HashMap<StorageId, HashMap<StorageId, HashSet<Bytes>>>,
}

impl Fills {
    /// A row of a table is written, deleted or moved out.
    pub(crate) fn written(&mut self, table: StorageId, key: &[u8]) {
        if let Some(indexes) = self.written.get_mut(&table) {
            for keys in indexes.values_mut() {
                keys.insert(Bytes::from(key));
            }
        }
    }

    /// Whether the keys written to a table are remembered.
    pub(crate) fn watch(&self, table: StorageId) -> bool {
        self.written.contains_key(&table)
    }

    /// Serves a request; returns the entries that are to be written, with their index.
    pub(crate) fn serve(&mut self, fill: Fill) -> Option<(StorageId, Vec<Entry>)> {
        match fill {
            Fill::Watch { table, index } => {
                self.written
                    .entry(table)
                    .or_default()
                    .entry(index)
                    .or_default();
                None
            }
            Fill::Entries {
                table,
                index,
                mut entries,
            } => {
                // Whoever wrote to a row has brought its entry.
                let indexes = self.written.entry(table).or_default();
                let written = std::mem::take(indexes.entry(index).or_default());
                entries.retain(|entry| !written.contains(entry.row_key()));
                Some((index, entries))
            }
            Fill::End { table, index } => {
                if let Some(indexes) = self.written.get_mut(&table) {
                    indexes.remove(&index);
                    if indexes.is_empty() {
                        self.written.remove(&table);
                    }
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_written_since_the_snapshot_keep_their_writers_entries() {
        let mut fills = Fills::default();
        let (table, index) = (1, 2);
        let entries = || {
            [b"a", b"b"]
                .map(|key| Entry::new("i", b"v", key, false).unwrap())
                .to_vec()
        };
        let kept = |fills: &mut Fills| {
            let served = fills.serve(Fill::Entries {
                table,
                index,
                entries: entries(),
            });
            served.unwrap().1.len()
        };
        assert!(fills.serve(Fill::Watch { table, index }).is_none());
        fills.written(table, b"a");
        fills.written(7, b"b");
        assert_eq!(kept(&mut fills), 1);
        assert_eq!(kept(&mut fills), 2, "the next snapshot has seen it");
        assert!(fills.serve(Fill::End { table, index }).is_none());
        assert!(fills.written.is_empty());
    }
}
