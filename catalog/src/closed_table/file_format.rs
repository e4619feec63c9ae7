//! How the Parquet files of a closed table are encoded.
//!
//! Numbers take lz4, which decodes almost as fast as no compression; text takes zstd, where the
//! space matters. Key columns get bloom filters, and every column a page index, so that
//! a key probe decodes one page. Row groups and pages say in their metadata that they are sorted.
//!
//! The sizes were measured on two cores with TPC-H at scale 1 and 3 million short records, all in closed tables, against
//! dictionaries of 1 MiB and row groups of 1 Mi rows, the defaults of most writers. What stands here is the third line:
//!
//! | | 22 queries | lookups of closed rows | rows written | bytes a row |
//! | --- | --- | --- | --- | --- |
//! | dictionaries of up to 64 KiB | 0.96x the time | 5.1x | 1.0x | 1.05x |
//! | none | 1.10x | 6.2x | 1.03x | 1.36x |
//! | up to 64 KiB, row groups of 256 Ki rows | 0.93x | 5.2x | 1.07x | 1.06x |
//! | up to 64 KiB, numbers by zstd 1 | 1.14x | 2.4x | 1.03x | 0.90x |
//!
//! Text by lz4 took 1.7x the bytes for JSON and 1.2x for TPC-H and was read no faster; by zstd 3 it was no smaller and slower to
//! write. Pages of 2,048 to 20,000 rows, and other encodings of floating-point numbers, made no difference beyond noise.

use arrow::datatypes::{DataType, Field};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{Layout, Result};

/// Rows of a row group, and the memory its columns may take while it is written.
const ROW_GROUP_ROWS: usize = 1 << 18;
const ROW_GROUP_BYTES: usize = 256 << 20;

/// Rows of a page: what a key probe decodes to look at one row.
const PAGE_ROWS: usize = 8_192;

/// Bytes of the dictionary of a column of a row group. A key probe reads one for each column of the row, whereas larger ones save
/// little: a column with more values than fit here is written without.
const DICTIONARY_BYTES: usize = 64 << 10;

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
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
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
