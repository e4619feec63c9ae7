//! Owns the building of a `Utf8View` column whose values are mostly slices of another one's.
//!
//! A slice is a view into the source's buffers, so taking a value out of a document copies nothing. Values that have to be written
//! anew (unescaped strings, rewritten documents) go to buffers of their own.

use datafusion::arrow::array::{Array, StringViewArray, StringViewBuilder};

/// Longest value a view holds in itself.
const INLINE_BYTES_MAX: usize = 12;

/// Builds one value for each row of a source column, in order.
pub(crate) struct VerbatimViews<'a> {
    source: &'a StringViewArray,
    builder: StringViewBuilder,
}

impl<'a> VerbatimViews<'a> {
    pub(crate) fn new(source: &'a StringViewArray) -> Self {
        let mut builder = StringViewBuilder::with_capacity(source.len());
        for buffer in source.data_buffers() {
            builder.append_block(buffer.clone());
        }
        Self { source, builder }
    }

    /// Appends `part`. If it lies within the value of `row` it is not copied.
    pub(crate) fn append_slice(&mut self, row: usize, part: &str) {
        if part.len() <= INLINE_BYTES_MAX || !self.try_append_view(row, part) {
            self.builder.append_value(part);
        }
    }

    /// Appends a value that is in no row of the source.
    pub(crate) fn append_text(&mut self, text: &str) {
        self.builder.append_value(text);
    }

    pub(crate) fn append_null(&mut self) {
        self.builder.append_null();
    }

    pub(crate) fn finish(mut self) -> StringViewArray {
        self.builder.finish()
    }

    fn try_append_view(&mut self, row: usize, part: &str) -> bool {
        let Some(view) = self.source.views().get(row) else {
            return false;
        };
        // Arrow's columnar format lays a long view out as length, prefix, buffer and offset, 32 bits each.
        let [length, _, buffer, offset] = [0, 32, 64, 96].map(|shift| (view >> shift) as u32);
        if length as usize <= INLINE_BYTES_MAX {
            return false;
        }
        let value = self.source.value(row);
        // Addresses are compared as numbers only: whatever `part` is, the builder checks the range it is given, and the length and
        // address together make it the same bytes.
        let Some(start) = (part.as_ptr() as usize).checked_sub(value.as_ptr() as usize) else {
            return false;
        };
        if start + part.len() > value.len() {
            return false;
        }
        let Ok(start) = u32::try_from(start) else {
            return false;
        };
        let Ok(part_length) = u32::try_from(part.len()) else {
            return false;
        };
        self.builder
            .try_append_view(buffer, offset + start, part_length)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_the_buffers_of_the_source() {
        let source = StringViewArray::from(vec![
            "a value that is longer than twelve bytes",
            "short",
            "x",
        ]);
        let mut views = VerbatimViews::new(&source);
        let first = source.value(0);
        views.append_slice(0, first.get(2..30).expect("in range"));
        views.append_slice(1, source.value(1));
        views.append_slice(2, "a text from somewhere else, and long");
        let built = views.finish();
        assert_eq!(built.value(0), "value that is longer than tw");
        assert_eq!(built.value(1), "short");
        assert_eq!(built.value(2), "a text from somewhere else, and long");
        assert_eq!(
            built.value(0).as_ptr() as usize,
            first.as_ptr() as usize + 2
        );
    }

    #[test]
    fn a_sliced_source_keeps_its_rows() {
        let source = StringViewArray::from(vec![
            "the first row of the source column",
            "the second row of the source column",
        ]);
        let source = source.slice(1, 1);
        let mut views = VerbatimViews::new(&source);
        views.append_slice(0, source.value(0).get(4..).expect("in range"));
        assert_eq!(views.finish().value(0), "second row of the source column");
    }
}
