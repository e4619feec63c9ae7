//! Changes of a column's type that leave what is stored as it is: each value of the old type is, cast, the same value of the
//! new one.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::types::{NUMERIC_DEFAULT, SqlType};

/// Whether every value of `from` is a value of `to`, and the cast of the stored one gives it.
pub fn widens(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{Bpchar, Float4, Float8, Int2, Int4, Int8, Numeric, Text, Varchar};
    if from == to {
        return true;
    }
    match (from, to) {
        (Int2, Int4 | Int8 | Float4 | Float8) | (Int4, Int8 | Float8) | (Float4, Float8) => true,
        (Int2 | Int4 | Int8, Numeric(modifier)) => {
            let digits = match from {
                Int2 => 5,
                Int4 => 10,
                _ => 19,
            };
            integer_digits(*modifier) >= digits && scale(*modifier) >= 0
        }
        (Numeric(from), Numeric(to)) => {
            integer_digits(*to) >= integer_digits(*from) && scale(*to) >= scale(*from)
        }
        (Text | Varchar(_), Text | Varchar(None)) => true,
        (Varchar(Some(from)), Varchar(Some(to))) | (Bpchar(Some(from)), Bpchar(Some(to))) => {
            from <= to
        }
        // Stored without trailing blanks, which the cast would take off.
        (Bpchar(_), Text | Varchar(None)) => true,
        (Bpchar(Some(from)), Varchar(Some(to))) => from <= to,
        _ => false,
    }
}

fn integer_digits(modifier: Option<(u8, i8)>) -> i16 {
    let (precision, scale) = modifier.unwrap_or(NUMERIC_DEFAULT);
    i16::from(precision) - i16::from(scale)
}

fn scale(modifier: Option<(u8, i8)>) -> i8 {
    modifier.unwrap_or(NUMERIC_DEFAULT).1
}

/// Stored values of a narrower type, as ones of the column's.
pub(crate) fn widened(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if values.data_type() == to {
        return Ok(ArrayRef::clone(values));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(values, to, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(name: &str) -> SqlType {
        name.parse().unwrap()
    }

    #[test]
    fn only_what_keeps_every_value_widens() {
        let wider = [
            ("int2", "int4"),
            ("int4", "int8"),
            ("int2", "float4"),
            ("int4", "float8"),
            ("float4", "float8"),
            ("int8", "numeric"),
            ("int8", "numeric(19,0)"),
            ("int4", "numeric(12,2)"),
            ("numeric(8,2)", "numeric(10,2)"),
            ("numeric(8,2)", "numeric(10,4)"),
            ("numeric(8,2)", "numeric"),
            ("varchar(5)", "varchar(6)"),
            ("varchar(5)", "text"),
            ("character(3)", "text"),
            ("text", "character varying"),
        ];
        for (from, to) in wider {
            assert!(widens(&ty(from), &ty(to)), "{from} to {to}");
        }
        let others = [
            ("int8", "int4"),
            ("int8", "float8"),
            ("int4", "float4"),
            ("int8", "numeric(18,0)"),
            ("int4", "numeric(10,2)"),
            ("numeric(8,2)", "numeric(9,4)"),
            ("numeric(8,2)", "numeric(8,1)"),
            ("numeric(38,0)", "numeric"),
            ("varchar(6)", "varchar(5)"),
            ("text", "varchar(5)"),
            ("text", "jsonb"),
            ("date", "timestamp"),
            ("int4", "text"),
        ];
        for (from, to) in others {
            assert!(!widens(&ty(from), &ty(to)), "{from} to {to}");
        }
    }
}
