//! Owns the memory of `json_merge_agg`: the patches of all groups, and the bytes they are passed between partial and final stage in.
//!
//! Texts and ordering bytes are appended to a few large chunks and patches are chained by group, so a group costs one small entry, a
//! patch another, and neither an allocation of its own.

use crate::json_error::JsonError;

/// Bytes of text and ordering keys that one group may have. It bounds the memory and time one profile may take.
pub const GROUP_PATCH_BYTES_MAX: u64 = 256 << 20;

/// Bytes after which a new chunk is begun.
const CHUNK_BYTES: usize = 4 << 20;

/// End of a chain of patches.
const NO_PATCH: u32 = u32::MAX;

/// Bytes of the two lengths at the head of a patch in a state.
const STATE_HEAD_BYTES: u64 = 8;

/// One patch: the bytes it is ordered by and its text.
pub(super) type Patch<'a> = (&'a [u8], &'a str);

#[derive(Debug, Default)]
struct Chunk {
    keys: Vec<u8>,
    texts: String,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    chunk: u32,
    key_start: u32,
    key_length: u32,
    text_start: u32,
    text_length: u32,
    /// The patch of the same group that arrived before this one.
    previous: u32,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    last: u32,
    bytes: u64,
}

const EMPTY_GROUP: Group = Group {
    last: NO_PATCH,
    bytes: 0,
};

/// The patches of all groups.
#[derive(Debug, Default)]
pub(super) struct PatchStore {
    chunks: Vec<Chunk>,
    entries: Vec<Entry>,
    groups: Vec<Group>,
}

impl PatchStore {
    /// Makes room for `count` groups.
    pub(super) fn grow(&mut self, count: usize) {
        if count > self.groups.len() {
            self.groups.resize(count, EMPTY_GROUP);
        }
    }

    /// Number of groups, with or without patches.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Adds a patch to a group there is room for.
    ///
    /// # Errors
    /// SQLSTATE 54000 if the group's patches exceed [`GROUP_PATCH_BYTES_MAX`], or all patches what 32 bits can count.
    pub(super) fn push(&mut self, group: usize, key: &[u8], text: &str) -> Result<(), JsonError> {
        let Some(head) = self.groups.get(group).copied() else {
            return Ok(());
        };
        let bytes = head.bytes + STATE_HEAD_BYTES + key.len() as u64 + text.len() as u64;
        if bytes > GROUP_PATCH_BYTES_MAX {
            return Err(JsonError::limit(
                "merged profile is too large",
                format!("The documents of one group exceed {GROUP_PATCH_BYTES_MAX} bytes."),
            ));
        }
        let full = self.chunks.last().is_none_or(|chunk| {
            chunk.keys.len() + key.len() > CHUNK_BYTES
                || chunk.texts.len() + text.len() > CHUNK_BYTES
        });
        if full {
            // The first chunk grows from nothing: most single groups stay far below a chunk.
            let capacity = if self.chunks.is_empty() {
                0
            } else {
                CHUNK_BYTES
            };
            self.chunks.push(Chunk {
                keys: Vec::new(),
                texts: String::with_capacity(capacity),
            });
        }
        let too_many = || JsonError::limit("too many documents to merge", "");
        let last = u32::try_from(self.entries.len())
            .ok()
            .filter(|entry| *entry != NO_PATCH)
            .ok_or_else(too_many)?;
        let chunk = u32::try_from(self.chunks.len() - 1).map_err(|_| too_many())?;
        let Some(space) = self.chunks.last_mut() else {
            return Ok(());
        };
        let narrow = |length: usize| u32::try_from(length).map_err(|_| too_many());
        self.entries.push(Entry {
            chunk,
            key_start: narrow(space.keys.len())?,
            key_length: narrow(key.len())?,
            text_start: narrow(space.texts.len())?,
            text_length: narrow(text.len())?,
            previous: head.last,
        });
        space.keys.extend_from_slice(key);
        space.texts.push_str(text);
        if let Some(head) = self.groups.get_mut(group) {
            *head = Group { last, bytes };
        }
        Ok(())
    }

    /// Replaces the content of `patches` by the patches of a group, in the order they arrived.
    pub(super) fn patches_of<'a>(&'a self, group: usize, patches: &mut Vec<Patch<'a>>) {
        patches.clear();
        let mut next = self.groups.get(group).map_or(NO_PATCH, |group| group.last);
        while let Some(entry) = self.entries.get(next as usize) {
            patches.extend(self.patch(entry));
            next = entry.previous;
        }
        patches.reverse();
    }

    fn patch(&self, entry: &Entry) -> Option<Patch<'_>> {
        let chunk = self.chunks.get(entry.chunk as usize)?;
        let (key, text) = (entry.key_start as usize, entry.text_start as usize);
        Some((
            chunk.keys.get(key..key + entry.key_length as usize)?,
            chunk.texts.get(text..text + entry.text_length as usize)?,
        ))
    }

    /// Forgets the first `count` groups and gives back their memory; the others move down by `count`.
    ///
    /// # Errors
    /// None in practice: what is kept has been in bounds before.
    pub(super) fn forget_first(&mut self, count: usize) -> Result<(), JsonError> {
        let old = std::mem::take(self);
        let kept = old.group_count().saturating_sub(count);
        self.grow(kept);
        let mut patches = Vec::new();
        for group in 0..kept {
            old.patches_of(group + count, &mut patches);
            for (key, text) in &patches {
                self.push(group, key, text)?;
            }
        }
        Ok(())
    }

    /// Bytes of memory held, as allocated.
    pub(super) fn size(&self) -> usize {
        let chunks: usize = self
            .chunks
            .iter()
            .map(|chunk| chunk.keys.capacity() + chunk.texts.capacity())
            .sum();
        chunks
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.groups.capacity() * size_of::<Group>()
    }
}

/// Appends one patch to a state: both lengths as 32 bits, little-endian, then the ordering bytes and the text.
///
/// Lengths are below [`GROUP_PATCH_BYTES_MAX`] for stored patches; a longer one is refused when the state is read.
pub(super) fn write_patch((key, text): Patch<'_>, state: &mut Vec<u8>) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    state.extend_from_slice(&length(key.len()));
    state.extend_from_slice(&length(text.len()));
    state.extend_from_slice(key);
    state.extend_from_slice(text.as_bytes());
}

/// Reads the first patch of a state and returns what is left of it; none if the state is damaged.
pub(super) fn read_patch(state: &[u8]) -> Option<(Patch<'_>, &[u8])> {
    let (key_length, rest) = state.split_first_chunk::<4>()?;
    let (text_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*text_length) as usize)?;
    Some(((key, std::str::from_utf8(text).ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(store: &PatchStore, group: usize) -> Vec<(Vec<u8>, String)> {
        let mut patches = Vec::new();
        store.patches_of(group, &mut patches);
        patches
            .iter()
            .map(|(key, text)| (key.to_vec(), (*text).to_string()))
            .collect()
    }

    #[test]
    fn groups_keep_their_patches_in_order_and_move_down() {
        let mut store = PatchStore::default();
        store.grow(3);
        for (group, text) in [(0, "a"), (2, "b"), (0, "c"), (2, "é")] {
            store
                .push(group, text.as_bytes(), text)
                .expect("below the limit");
        }
        assert_eq!(
            listed(&store, 0),
            vec![
                (b"a".to_vec(), "a".to_string()),
                (b"c".to_vec(), "c".to_string())
            ]
        );
        assert!(listed(&store, 1).is_empty());
        store.forget_first(2).expect("in bounds");
        assert_eq!(store.group_count(), 1);
        assert_eq!(
            listed(&store, 0),
            vec![
                (b"b".to_vec(), "b".to_string()),
                ("é".as_bytes().to_vec(), "é".to_string())
            ]
        );
    }

    #[test]
    fn chunks_are_filled_one_after_another_and_counted() {
        let mut store = PatchStore::default();
        store.grow(1);
        let text = "x".repeat(CHUNK_BYTES / 3);
        for _ in 0..7 {
            store.push(0, b"key", &text).expect("below the limit");
        }
        assert_eq!(store.chunks.len(), 3);
        assert!(store.size() >= 7 * text.len());
        assert_eq!(listed(&store, 0).len(), 7);
        store.forget_first(1).expect("in bounds");
        assert_eq!(store.size(), 0);
    }

    #[test]
    fn one_group_is_limited() {
        let mut store = PatchStore::default();
        store.grow(2);
        let text = "x".repeat(64 << 20);
        for _ in 0..3 {
            store.push(0, b"", &text).expect("below the limit");
        }
        assert_eq!(
            store
                .push(0, b"", &text)
                .expect_err("beyond the limit")
                .sqlstate,
            "54000"
        );
        store.push(1, b"", &text).expect("another group");
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut state = Vec::new();
        write_patch((b"key", "{}"), &mut state);
        write_patch((b"", "é"), &mut state);
        let (first, rest) = read_patch(&state).expect("first");
        let (second, rest) = read_patch(rest).expect("second");
        assert_eq!(
            (first, second, rest.len()),
            ((&b"key"[..], "{}"), (&b""[..], "é"), 0)
        );
        for damaged in [&state[..3], &state[..9], &[0, 0, 0, 0, 1, 0, 0, 0, 0xff]] {
            assert!(read_patch(damaged).is_none());
        }
    }
}
