//! Functions of PostgreSQL over text and bytes that DataFusion does not have, or has otherwise, and those that make rows of arrays.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, Int64Builder, ListArray,
    ListBuilder, StringViewArray, StringViewBuilder, UInt32Builder, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field};
use base64::Engine;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use datafusion::logical_expr::{Expr, ScalarUDF, Signature, TypeSignature, Volatility};
use nyala_udfs::{JsonError, MemberForm};
use regex::{Regex, RegexBuilder};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::decode::parse_escaped;
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};

/// Characters of a line of base64, as MIME has it.
const BASE64_LINE: usize = 76;

/// The function of that name.
pub fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    let found = FUNCTIONS.iter().find(|function| function.name() == name);
    found.cloned()
}

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    use DataType::{BinaryView, Utf8View};
    let texts = || list_of(Utf8View);
    let of = |kernel: Kernel, takes: Vec<Vec<DataType>>| {
        let takes = takes.into_iter().map(TypeSignature::Exact).collect();
        let signature = Signature::one_of(takes, Volatility::Immutable);
        Arc::new(ScalarUDF::from(kernel.with_signature(signature)))
    };
    let any = |kernel: Kernel| Arc::new(ScalarUDF::from(kernel));
    vec![
        of(
            Kernel::new("convert_from", Utf8View, convert_from),
            vec![vec![BinaryView, Utf8View]],
        ),
        of(
            Kernel::new("convert_to", BinaryView, convert_to),
            vec![vec![Utf8View, Utf8View]],
        ),
        of(
            Kernel::new("decode", BinaryView, decode),
            vec![vec![Utf8View, Utf8View]],
        ),
        of(
            Kernel::new("encode", Utf8View, encode),
            vec![vec![BinaryView, Utf8View]],
        ),
        of(
            Kernel::new("regexp_split_to_array", texts(), split),
            vec![vec![Utf8View; 2], vec![Utf8View; 3]],
        ),
        of(
            Kernel::new("nyala_regexp_matches", texts(), matches),
            vec![vec![Utf8View; 2], vec![Utf8View; 3]],
        ),
        of(
            Kernel::new("nyala_json_fields", texts(), |arguments, _| {
                fields_of_json(arguments, nyala_udfs::field_of_elements, None)
            }),
            vec![vec![Utf8View; 4]],
        ),
        of(
            Kernel::new("nyala_json_field", texts(), |arguments, _| {
                // A record of nothing is a record of NULLs.
                fields_of_json(arguments, nyala_udfs::field_of_object, Some(&[None]))
            }),
            vec![vec![Utf8View; 4]],
        ),
        any(Kernel::new(
            "nyala_ordinals",
            list_of(DataType::Int64),
            ordinals,
        )),
    ]
});

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// An array that has one element at least, NULL if it would have none: what LEFT JOIN makes rows of.
pub fn one_element_at_least(list: Expr, ty: DataType) -> Expr {
    Kernel::new("nyala_one_at_least", ty, one_at_least).call(vec![list])
}

/// Arguments that are texts or bytes, row by row.
struct Rows<T> {
    columns: Vec<(T, bool)>,
    count: usize,
}

impl<T> Rows<T> {
    fn of(arguments: &[Argument], read: impl Fn(&ArrayRef) -> Result<T>) -> Result<Self> {
        let mut columns = Vec::with_capacity(arguments.len());
        for argument in arguments {
            columns.push((read(argument.values())?, argument.is_scalar()));
        }
        Ok(Self {
            columns,
            count: rows_of(arguments),
        })
    }
}

fn rows_of(arguments: &[Argument]) -> usize {
    let longest = arguments.iter().filter(|one| !one.is_scalar());
    longest.map(|one| one.values().len()).max().unwrap_or(1)
}

impl Rows<StringViewArray> {
    /// A text of a row; `None` for NULL or an argument that was not given.
    fn text(&self, number: usize, row: usize) -> Option<&str> {
        let (values, scalar) = self.columns.get(number)?;
        let row = if *scalar { 0 } else { row };
        values.is_valid(row).then(|| values.value(row))
    }

    /// The texts of a row; `None` if one is NULL.
    fn all(&self, row: usize) -> Option<Vec<&str>> {
        (0..self.columns.len())
            .map(|number| self.text(number, row))
            .collect()
    }
}

fn texts(arguments: &[Argument]) -> Result<Rows<StringViewArray>> {
    Rows::of(arguments, |values| {
        let values = cast(values, &DataType::Utf8View)?;
        Ok(values.as_string_view().clone())
    })
}

/// The bytes of the first argument and the texts of the others.
fn bytes_and_texts(
    arguments: &[Argument],
) -> Result<(BinaryViewArray, bool, Rows<StringViewArray>)> {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(PgError::internal("a function without its arguments"));
    };
    let bytes = cast(first.values(), &DataType::BinaryView)?;
    let mut texts = texts(rest)?;
    texts.count = rows_of(arguments);
    Ok((bytes.as_binary_view().clone(), first.is_scalar(), texts))
}

fn invalid(message: String) -> PgError {
    PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn encode(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let (bytes, scalar, formats) = bytes_and_texts(arguments)?;
    let mut encoded = StringViewBuilder::with_capacity(formats.count);
    for row in 0..formats.count {
        let at = if scalar { 0 } else { row };
        let Some(format) = formats.text(0, row).filter(|_| bytes.is_valid(at)) else {
            encoded.append_null();
            continue;
        };
        let bytes = bytes.value(at);
        encoded.append_value(match format.to_ascii_lowercase().as_str() {
            "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            "base64" => in_lines(&STANDARD.encode(bytes)),
            "escape" => escaped(bytes),
            _ => return Err(invalid(format!("unrecognized encoding: \"{format}\""))),
        });
    }
    Ok(Arc::new(encoded.finish()))
}

fn in_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / BASE64_LINE);
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % BASE64_LINE == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0 | 0x80.. => text.push_str(&format!("\\{byte:03o}")),
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

fn decode(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let texts = texts(arguments)?;
    let mut decoded = BinaryViewBuilder::new();
    for row in 0..texts.count {
        match texts.all(row).as_deref() {
            Some([text, format]) => decoded.append_value(decoded_text(text, format)?),
            _ => decoded.append_null(),
        }
    }
    Ok(Arc::new(decoded.finish()))
}

fn decoded_text(text: &str, format: &str) -> Result<Vec<u8>> {
    let plain = || text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    match format.to_ascii_lowercase().as_str() {
        "hex" => {
            let digits: Vec<u8> = plain().collect();
            if digits.len() % 2 == 1 {
                return Err(invalid(
                    "invalid hexadecimal data: odd number of digits".to_string(),
                ));
            }
            let digit = |byte: u8| {
                char::from(byte).to_digit(16).ok_or_else(|| {
                    invalid(format!(
                        "invalid hexadecimal digit: \"{}\"",
                        char::from(byte)
                    ))
                })
            };
            let mut bytes = Vec::with_capacity(digits.len() / 2);
            for pair in digits.chunks(2) {
                if let [high, low] = pair {
                    bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                }
            }
            Ok(bytes)
        }
        "base64" => {
            let lenient = GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
            let engine = GeneralPurpose::new(&STANDARD_ALPHABET, lenient);
            engine
                .decode(plain().collect::<Vec<u8>>())
                .map_err(|error| match error {
                    base64::DecodeError::InvalidByte(_, byte) => {
                        let symbol = char::from(byte);
                        invalid(format!(
                            "invalid symbol \"{symbol}\" found while decoding base64 sequence"
                        ))
                    }
                    _ => invalid("invalid base64 end sequence".to_string()).with_hint(
                        "Input data is missing padding, is truncated, or is otherwise corrupted.",
                    ),
                })
        }
        "escape" => Ok(parse_escaped(text)?.into_owned()),
        _ => Err(invalid(format!("unrecognized encoding: \"{format}\""))),
    }
}

/// UTF-8 is the one encoding that texts of others are not converted from.
fn is_utf8(name: &str) -> Result<()> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(PgError::unsupported(format!(
            "conversion between encodings \"{name}\" and \"UTF8\" is not supported"
        ))),
    }
}

fn convert_from(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let (bytes, scalar, names) = bytes_and_texts(arguments)?;
    let mut converted = StringViewBuilder::with_capacity(names.count);
    for row in 0..names.count {
        let at = if scalar { 0 } else { row };
        let Some(name) = names.text(0, row).filter(|_| bytes.is_valid(at)) else {
            converted.append_null();
            continue;
        };
        is_utf8(name)?;
        let text = std::str::from_utf8(bytes.value(at)).map_err(|error| {
            let wrong = bytes.value(at).get(error.valid_up_to()).copied();
            PgError::new(
                sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
                format!(
                    "invalid byte sequence for encoding \"UTF8\": 0x{:02x}",
                    wrong.unwrap_or_default()
                ),
            )
        })?;
        converted.append_value(text);
    }
    Ok(Arc::new(converted.finish()))
}

fn convert_to(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let texts = texts(arguments)?;
    let mut converted = BinaryViewBuilder::new();
    for row in 0..texts.count {
        match texts.all(row).as_deref() {
            Some([text, name]) => {
                is_utf8(name)?;
                converted.append_value(text.as_bytes());
            }
            _ => converted.append_null(),
        }
    }
    Ok(Arc::new(converted.finish()))
}

/// A pattern under PostgreSQL's flags, and whether all matches are asked for.
fn compiled(pattern: &str, flags: &str) -> Result<(Regex, bool)> {
    let literal = flags.contains('q').then(|| regex::escape(pattern));
    let mut builder = RegexBuilder::new(literal.as_deref().unwrap_or(pattern));
    let mut all = false;
    for flag in flags.chars() {
        match flag {
            'g' => all = true,
            // A pattern that is taken as it is.
            'q' => {}
            'i' => {
                builder.case_insensitive(true);
            }
            'c' => {
                builder.case_insensitive(false);
            }
            'n' | 'm' => {
                builder.multi_line(true).dot_matches_new_line(false);
            }
            's' => {
                builder.multi_line(false).dot_matches_new_line(true);
            }
            'x' => {
                builder.ignore_whitespace(true);
            }
            _ => {
                return Err(invalid(format!(
                    "invalid regular expression option: \"{flag}\""
                )));
            }
        }
    }
    // A dot is any character, where no flag says otherwise.
    if !flags.contains(['n', 'm']) {
        builder.dot_matches_new_line(true);
    }
    let regex = builder.build().map_err(|error| {
        PgError::new(
            sqlstate::INVALID_REGULAR_EXPRESSION,
            format!("invalid regular expression: {}", reason(&error)),
        )
    })?;
    Ok((regex, all))
}

/// What is wrong, without the drawing of where.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_string()
}

/// Calls `each` with the text and the compiled pattern of each row, and ends the row's list; NULL gives NULL.
fn by_pattern(
    arguments: &[Argument],
    mut each: impl FnMut(&str, &Regex, bool, &mut StringViewBuilder),
) -> Result<ArrayRef> {
    let texts = texts(arguments)?;
    let mut known: HashMap<(String, String), (Regex, bool)> = HashMap::new();
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for row in 0..texts.count {
        let (text, pattern, flags) = match texts.all(row).as_deref() {
            Some([text, pattern]) => (*text, *pattern, ""),
            Some([text, pattern, flags]) => (*text, *pattern, *flags),
            _ => {
                lists.append(false);
                continue;
            }
        };
        let key = (pattern.to_string(), flags.to_string());
        let (regex, all) = match known.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(compiled(pattern, flags)?)
            }
        };
        each(text, regex, *all, lists.values());
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// `regexp_split_to_array`: an empty match at either end, or right behind a match, splits nothing off.
fn split(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    by_pattern(arguments, |text, regex, _, parts| {
        let mut begin = 0;
        for found in regex.find_iter(text) {
            if found.is_empty() && (found.start() == begin || found.start() == text.len()) {
                continue;
            }
            parts.append_value(text.get(begin..found.start()).unwrap_or_default());
            begin = found.end();
        }
        parts.append_value(text.get(begin..).unwrap_or_default());
    })
}

/// The groups of each match, or the match itself where there are none, each an array literal.
fn matches(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    by_pattern(arguments, |text, regex, all, literals| {
        let most = if all { usize::MAX } else { 1 };
        for captures in regex.captures_iter(text).take(most) {
            let skipped = usize::from(captures.len() > 1);
            let groups = captures.iter().skip(skipped);
            let groups = groups.map(|group| match group {
                Some(group) => quoted(group.as_str()),
                None => "NULL".to_string(),
            });
            let literal = groups.collect::<Vec<_>>().join(",");
            literals.append_value(format!("{{{literal}}}"));
        }
    })
}

fn quoted(element: &str) -> String {
    let escaped = element.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Reads a field of the records in a document.
type ReadFields =
    fn(&str, &str, &str, MemberForm) -> std::result::Result<Vec<Option<String>>, JsonError>;

/// A field of the records in each document; what there is of no document.
fn fields_of_json(
    arguments: &[Argument],
    read: ReadFields,
    of_null: Option<&[Option<String>]>,
) -> Result<ArrayRef> {
    let texts = texts(arguments)?;
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for row in 0..texts.count {
        let values = match texts.all(row).as_deref() {
            Some([document, field, function, form]) => {
                let form = match *form {
                    "json" => MemberForm::Json,
                    _ => MemberForm::Text,
                };
                Some(read(function, document, field, form)?)
            }
            _ => of_null.map(<[_]>::to_vec),
        };
        let is_some = values.is_some();
        for value in values.into_iter().flatten() {
            lists.values().append_option(value);
        }
        lists.append(is_some);
    }
    Ok(Arc::new(lists.finish()))
}

/// For arrays side by side, the numbers of the rows that they make.
fn ordinals(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let mut arrays = Vec::with_capacity(arguments.len());
    for argument in arguments {
        arrays.push((lists(argument.values())?, argument.is_scalar()));
    }
    let mut numbers = ListBuilder::new(Int64Builder::new());
    for row in 0..rows_of(arguments) {
        let lengths = arrays.iter().map(|(lists, scalar)| {
            let row = if *scalar { 0 } else { row };
            match lists.is_valid(row) {
                true => lists.value_length(row),
                false => 0,
            }
        });
        let longest = i64::from(lengths.max().unwrap_or(0));
        numbers.append_value((1..=longest).map(Some));
    }
    Ok(Arc::new(numbers.finish()))
}

fn lists(values: &ArrayRef) -> Result<ListArray> {
    let item = match values.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item,
        DataType::Null => {
            let none = new_null_array(&list_of(DataType::Null), values.len());
            return Ok(none.as_list::<i32>().clone());
        }
        other => return Err(PgError::internal(format!("{other} is no array"))),
    };
    let lists = cast(values, &DataType::List(Arc::clone(item)))?;
    Ok(lists.as_list::<i32>().clone())
}

fn one_at_least(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let [argument] = arguments else {
        return Err(PgError::internal("nyala_one_at_least takes one array"));
    };
    let of = lists(argument.values())?;
    let DataType::List(item) = of.data_type() else {
        return Err(PgError::internal("a list of another type"));
    };
    // The element behind the last one is NULL.
    let null = new_null_array(item.data_type(), 1);
    let elements = concat(&[of.values().as_ref(), null.as_ref()])?;
    let behind = u32::try_from(of.values().len())
        .map_err(|_| PgError::unsupported("arrays of so many elements in LEFT JOIN"))?;
    let mut taken = UInt32Builder::new();
    let mut lengths = Vec::with_capacity(of.len());
    let offsets = of.value_offsets();
    for row in 0..of.len() {
        let bound = |at: usize| offsets.get(at).map_or(0, |offset| *offset as u32);
        let (first, end) = (bound(row), bound(row + 1));
        if of.is_null(row) || first == end {
            taken.append_value(behind);
            lengths.push(1);
        } else {
            (first..end).for_each(|element| taken.append_value(element));
            lengths.push((end - first) as usize);
        }
    }
    let elements = take(&elements, &taken.finish(), None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        elements,
        None,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        for format in ["hex", "base64", "escape"] {
            let bytes: Vec<u8> = (0..=255).collect();
            let text = match format {
                "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                "base64" => in_lines(&STANDARD.encode(&bytes)),
                _ => escaped(&bytes),
            };
            assert_eq!(decoded_text(&text, format).unwrap(), bytes, "{format}");
        }
        assert!(in_lines(&STANDARD.encode([0; 100])).contains('\n'));
        for (text, format) in [
            ("abc", "hex"),
            ("zz", "hex"),
            ("QQ", "base64"),
            ("\\9", "escape"),
        ] {
            assert!(decoded_text(text, format).is_err(), "{text}");
        }
    }

    #[test]
    fn groups_are_array_literals() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert!(compiled("(", "").is_err() && compiled("a", "y").is_err());
    }
}
