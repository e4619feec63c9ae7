//! What a transaction changes in one index.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::index::entry::Entry;

/// Entries that have to be there after the commit, and entries that may not. What holds of an entry is what was said last;
/// whether the index had it before does not matter, so that an index that is still being filled is kept the same way.
#[derive(Debug, Clone, Default)]
pub(crate) struct IndexDelta {
    added: BTreeSet<Entry>,
    removed: BTreeSet<Entry>,
}

impl IndexDelta {
    /// The entry of a row that is deleted or changed.
    pub(crate) fn remove(&mut self, entry: Entry) {
        self.added.remove(&entry);
        self.removed.insert(entry);
    }

    /// The entry of a new row.
    pub(crate) fn add(&mut self, entry: Entry) {
        self.removed.remove(&entry);
        self.added.insert(entry);
    }

    /// Entries that come.
    pub(crate) fn added(&self) -> impl Iterator<Item = &Entry> {
        self.added.iter()
    }

    /// Entries that go.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &Entry> {
        self.removed.iter()
    }

    /// Entries that come, in a range.
    pub(crate) fn added_in(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> impl Iterator<Item = &Entry> {
        // An empty range is an error for a BTreeSet.
        let empty = match (start, end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
            _ => false,
        };
        let range = (!empty).then(|| self.added.range::<[u8], _>((start, end)));
        range.into_iter().flatten()
    }

    /// Whether this transaction has said anything about an entry.
    pub(crate) fn decides(&self, entry: &[u8]) -> bool {
        self.removed.contains(entry) || self.added.contains(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let entry = || Entry::new("i", b"v", b"k", false).unwrap();
        let mut delta = IndexDelta::default();
        delta.remove(entry());
        delta.add(entry());
        assert_eq!((delta.added().count(), delta.removed().count()), (1, 0));
        delta.remove(entry());
        assert_eq!((delta.added().count(), delta.removed().count()), (0, 1));
        assert!(delta.decides(b"vk") && !delta.decides(b"v"));
    }

    #[test]
    fn ranges_may_be_empty() {
        let mut delta = IndexDelta::default();
        delta.add(Entry::new("i", b"v", b"k", false).unwrap());
        let count = |start, end| delta.added_in(start, end).count();
        assert_eq!(count(Bound::Included(b"v"), Bound::Excluded(b"w")), 1);
        assert_eq!(count(Bound::Included(b"w"), Bound::Excluded(b"v")), 0);
        assert_eq!(count(Bound::Excluded(b"v"), Bound::Excluded(b"v")), 0);
    }
}
