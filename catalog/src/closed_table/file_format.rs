//! How the Parquet files of a closed table are encoded.
//!
//! Numbers take lz4, which decodes almost as fast as no compression; text takes zstd, where the
//! space matters. Key columns get bloom filters, and every column a page index, so that
//! a key probe decodes one page. Row groups and pages say in their metadata that they are sorted.

use arrow::datatypes::{DataType, Field};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{Layout, Result};

/// Rows of a row group, and the memory its columns may take while it is written.
const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 256 << 20;

/// Rows of a page: what a key probe decodes to look at one row.
const PAGE_ROWS: usize = 8_192;

/// Level of zstd for text.
const TEXT_ZSTD_LEVEL: i32 = 1;

/// Probability that a bloom filter says "maybe" for a key that is not there.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The properties of a file of this table.
pub(super) fn properties(layout: &Layout) -> Result<WriterProperties> {
    let text = Compression::ZSTD(ZstdLevel::try_new(TEXT_ZSTD_LEVEL)?);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Names list elements as the Parquet specification does, so that all readers find them.
        .set_coerce_types(true)
        .set_created_by(format!("nyala {}", env!("CARGO_PKG_VERSION")));
    let key = &layout.spec.key;
    for (index, field) in layout.file_schema.fields().iter().enumerate() {
        let path = values_of(field);
        match field.data_type() {
            DataType::Utf8View | DataType::BinaryView | DataType::List(_) => {
                builder = builder.set_column_compression(path.clone(), text);
            }
            // Parquet's bounds leave NaN out, so a reader would skip rows that match.
            DataType::Float32 | DataType::Float64 => {
                builder =
                    builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
            }
            _ => {}
        }
        if key.contains(&index) {
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FALSE_POSITIVES);
            if is_integer(field.data_type()) {
                // Sorted, or nearly so: differences are small, and a dictionary does not pay.
                builder = builder
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
    }
    // A column has one leaf, lists included, so its index is that of its leaf.
    let sorting = key.iter().filter_map(|index| {
        let column_idx = i32::try_from(*index).ok()?;
        Some(SortingColumn {
            column_idx,
            descending: false,
            nulls_first: true,
        })
    });
    Ok(builder.set_sorting_columns(Some(sorting.collect())).build())
}

/// Path of a column's values in a file.
fn values_of(field: &Field) -> ColumnPath {
    let mut path = vec![field.name().clone()];
    if matches!(field.data_type(), DataType::List(_)) {
        path.extend(["list", "element"].map(str::to_string));
    }
    ColumnPath::new(path)
}

/// Whether Parquet stores a type as an integer of 32 or 64 bits.
fn is_integer(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(_, _)
    )
}
