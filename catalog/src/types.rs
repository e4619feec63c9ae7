//! The SQL types a Nyala column can have, and the one mapping between them, Arrow and PostgreSQL.
//!
//! Arrow has fewer types than PostgreSQL (`jsonb`, `uuid` and `varchar(20)` are all strings), so a
//! column's [`Field`] carries the PostgreSQL type name under [`PG_TYPE_KEY`] wherever the Arrow type
//! alone does not say it. Nothing else in Nyala maps types: the wire, `pg_catalog`, DDL and the
//! stores all ask this file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// Field metadata key that holds the PostgreSQL type name of a column.
pub const PG_TYPE_KEY: &str = "nyala.pg_type";

/// Precision and scale that a `numeric` without a type modifier is stored with.
///
/// Arrow decimals have a fixed scale; PostgreSQL's unconstrained `numeric` has not. Trailing zeros
/// beyond a value's own digits are cut when such a column is printed.
pub const NUMERIC_DEFAULT: (u8, i8) = (38, 10);

/// Time zone of every `timestamptz` array.
pub const UTC: &str = "UTC";

/// A PostgreSQL type as Nyala stores and prints it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SqlType {
    /// `boolean`: Arrow `Boolean`.
    Bool,
    /// `smallint`: Arrow `Int16`.
    Int2,
    /// `integer`: Arrow `Int32`.
    Int4,
    /// `bigint`: Arrow `Int64`.
    Int8,
    /// `real`: Arrow `Float32`.
    Float4,
    /// `double precision`: Arrow `Float64`.
    Float8,
    /// `numeric(p,s)`, p at most 38: Arrow `Decimal128(p, s)`; `None` is `numeric` without modifier.
    Numeric(Option<(u8, i8)>),
    /// `text`: Arrow `Utf8View`.
    Text,
    /// `varchar(n)`, n in characters.
    Varchar(Option<u32>),
    /// `character(n)`, n in characters; stored without its trailing blanks.
    Bpchar(Option<u32>),
    /// `bytea`: Arrow `BinaryView`.
    Bytea,
    /// `date`: Arrow `Date32`.
    Date,
    /// `time`: Arrow `Time64(us)`.
    Time,
    /// `timestamp`: Arrow `Timestamp(us)`.
    Timestamp,
    /// `timestamptz`: Arrow `Timestamp(us, "UTC")`.
    Timestamptz,
    /// `interval`: Arrow `Interval(MonthDayNano)`.
    Interval,
    /// `uuid`: lower-case text in `Utf8View`, so that it compares with literals.
    Uuid,
    /// `json`: the text as it came, in `Utf8View`.
    Json,
    /// `jsonb`: canonical JSON text in `Utf8View`.
    Jsonb,
    /// `oid`: Arrow `Int32`. System relations only.
    Oid,
    /// `name`: Arrow `Utf8View`. System relations only.
    Name,
    /// `"char"`: Arrow `Utf8View`. System relations only.
    Char,
    /// `regclass`: the relation's name. System functions only.
    Regclass,
    /// `regtype`: the type's name. System functions only.
    Regtype,
    /// `regproc`: the function's OID, which prints as its name. System relations only.
    Regproc,
    /// `xid`: Arrow `Int32`, without sign. System relations only.
    Xid,
    /// `inet`: Arrow `Utf8View`. System relations and functions only.
    Inet,
    /// `aclitem`: always NULL. System relations only.
    Aclitem,
    /// `pg_node_tree`: an expression as text. System relations only.
    NodeTree,
    /// `anyarray`: always NULL. System relations only.
    Anyarray,
    /// `pg_lsn`: always NULL. System relations only.
    Lsn,
    /// `void`: empty text. Results of functions only.
    Void,
    /// `int2vector`: space-separated text. System relations only.
    Int2vector,
    /// `oidvector`: space-separated text. System relations only.
    Oidvector,
    /// An array of one dimension: Arrow `List`.
    Array(Box<SqlType>),
}

impl SqlType {
    /// The Arrow type of this SQL type's arrays.
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 | Self::Oid | Self::Regproc | Self::Xid => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric(modifier) => {
                let (precision, scale) = modifier.unwrap_or(NUMERIC_DEFAULT);
                DataType::Decimal128(precision, scale)
            }
            Self::Bytea => DataType::BinaryView,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Array(element) => DataType::List(Arc::new(element.field("item", true))),
            Self::Text
            | Self::Varchar(_)
            | Self::Bpchar(_)
            | Self::Uuid
            | Self::Json
            | Self::Jsonb
            | Self::Name
            | Self::Char
            | Self::Regclass
            | Self::Regtype
            | Self::Inet
            | Self::Aclitem
            | Self::NodeTree
            | Self::Anyarray
            | Self::Lsn
            | Self::Void
            | Self::Int2vector
            | Self::Oidvector => DataType::Utf8View,
        }
    }

    /// An Arrow field of this type, with the metadata that [`SqlType::of_field`] reads back.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow_type(), nullable);
        if Self::of_arrow(field.data_type()) == *self {
            field
        } else {
            field.with_metadata([(PG_TYPE_KEY.to_string(), self.to_string())].into())
        }
    }

    /// The SQL type of a field: its metadata where it has any, else what its Arrow type says.
    pub fn of_field(field: &Field) -> Self {
        let named: Option<Self> = field
            .metadata()
            .get(PG_TYPE_KEY)
            .and_then(|name| name.parse().ok());
        // A cast that is computed while planning may leave a field with the mark of what was cast.
        let number = field.data_type().is_integer() || field.data_type().is_floating();
        named
            .filter(|named| !number || named.arrow_type() == *field.data_type())
            .unwrap_or_else(|| Self::of_arrow(field.data_type()))
    }

    /// The SQL type that an Arrow type without metadata stands for.
    ///
    /// Types that PostgreSQL does not have map to the next wider one it has; `UInt64` (what
    /// `row_number()` returns) is a `bigint`, as it is in PostgreSQL.
    pub fn of_arrow(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::Int2,
            DataType::UInt16 | DataType::Int32 => Self::Int4,
            DataType::UInt32 | DataType::Int64 | DataType::UInt64 => Self::Int8,
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => Self::Numeric(Some((*p, *s))),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytea,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => match Self::of_field(item) {
                // PostgreSQL has one array type for all dimensions.
                Self::Array(element) => Self::Array(element),
                element => Self::Array(Box::new(element)),
            },
            DataType::Dictionary(_, value) => Self::of_arrow(value),
            DataType::RunEndEncoded(_, value) => Self::of_field(value),
            _ => Self::Text,
        }
    }

    /// OID in `pg_type`.
    pub fn oid(&self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Char => 18,
            Self::Name => 19,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int2vector => 22,
            Self::Int4 => 23,
            Self::Regproc => 24,
            Self::Text => 25,
            Self::Oid => 26,
            Self::Xid => 28,
            Self::Oidvector => 30,
            Self::Json => 114,
            Self::NodeTree => 194,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Inet => 869,
            Self::Aclitem => 1033,
            Self::Bpchar(_) => 1042,
            Self::Varchar(_) => 1043,
            Self::Date => 1082,
            Self::Time => 1083,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Interval => 1186,
            Self::Numeric(_) => 1700,
            Self::Regclass => 2205,
            Self::Regtype => 2206,
            Self::Anyarray => 2277,
            Self::Void => 2278,
            Self::Uuid => 2950,
            Self::Lsn => 3220,
            Self::Jsonb => 3802,
            Self::Array(element) => element.array_oid(),
        }
    }

    /// OID in `pg_type` of the array of this type.
    pub fn array_oid(&self) -> u32 {
        match self {
            Self::Bool => 1000,
            Self::Bytea => 1001,
            Self::Char => 1002,
            Self::Name => 1003,
            Self::Int2 => 1005,
            Self::Int2vector => 1006,
            Self::Int4 => 1007,
            Self::Regproc => 1008,
            Self::Text => 1009,
            Self::Oidvector => 1013,
            Self::Bpchar(_) => 1014,
            Self::Varchar(_) => 1015,
            Self::Int8 => 1016,
            Self::Float4 => 1021,
            Self::Float8 => 1022,
            Self::Oid => 1028,
            Self::Timestamp => 1115,
            Self::Date => 1182,
            Self::Time => 1183,
            Self::Timestamptz => 1185,
            Self::Interval => 1187,
            Self::Json => 199,
            Self::Numeric(_) => 1231,
            Self::Regclass => 2210,
            Self::Regtype => 2211,
            Self::Xid => 1011,
            Self::Aclitem => 1034,
            Self::Inet => 1041,
            Self::Lsn => 3221,
            // There is no array of these.
            Self::Void | Self::NodeTree | Self::Anyarray => 0,
            Self::Uuid => 2951,
            Self::Jsonb => 3807,
            Self::Array(element) => element.array_oid(),
        }
    }

    /// The type of a `pg_type` OID, without modifier.
    pub fn of_oid(oid: u32) -> Option<Self> {
        let element = |ty: Self| Some(Self::Array(Box::new(ty)));
        match oid {
            16 => Some(Self::Bool),
            17 => Some(Self::Bytea),
            18 => Some(Self::Char),
            19 => Some(Self::Name),
            20 => Some(Self::Int8),
            21 => Some(Self::Int2),
            22 => Some(Self::Int2vector),
            23 => Some(Self::Int4),
            24 => Some(Self::Regproc),
            25 => Some(Self::Text),
            26 => Some(Self::Oid),
            28 => Some(Self::Xid),
            30 => Some(Self::Oidvector),
            114 => Some(Self::Json),
            700 => Some(Self::Float4),
            701 => Some(Self::Float8),
            1042 => Some(Self::Bpchar(None)),
            1043 => Some(Self::Varchar(None)),
            1082 => Some(Self::Date),
            1083 => Some(Self::Time),
            1114 => Some(Self::Timestamp),
            1184 => Some(Self::Timestamptz),
            1186 => Some(Self::Interval),
            1700 => Some(Self::Numeric(None)),
            2205 => Some(Self::Regclass),
            2206 => Some(Self::Regtype),
            2278 => Some(Self::Void),
            2950 => Some(Self::Uuid),
            3802 => Some(Self::Jsonb),
            1000 => element(Self::Bool),
            1001 => element(Self::Bytea),
            1002 => element(Self::Char),
            1003 => element(Self::Name),
            1005 => element(Self::Int2),
            1007 => element(Self::Int4),
            1008 => element(Self::Regproc),
            1009 => element(Self::Text),
            1011 => element(Self::Xid),
            1014 => element(Self::Bpchar(None)),
            1015 => element(Self::Varchar(None)),
            1016 => element(Self::Int8),
            1021 => element(Self::Float4),
            1022 => element(Self::Float8),
            1028 => element(Self::Oid),
            1115 => element(Self::Timestamp),
            1182 => element(Self::Date),
            1183 => element(Self::Time),
            1185 => element(Self::Timestamptz),
            1187 => element(Self::Interval),
            199 => element(Self::Json),
            1231 => element(Self::Numeric(None)),
            2210 => element(Self::Regclass),
            2211 => element(Self::Regtype),
            2951 => element(Self::Uuid),
            3807 => element(Self::Jsonb),
            _ => None,
        }
    }

    /// `typlen`: bytes of a value, or -1 where values vary in length.
    pub fn wire_length(&self) -> i16 {
        match self {
            Self::Bool | Self::Char => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date | Self::Oid => 4,
            Self::Regclass | Self::Regtype | Self::Regproc | Self::Xid | Self::Void => 4,
            Self::Lsn
            | Self::Int8
            | Self::Float8
            | Self::Time
            | Self::Timestamp
            | Self::Timestamptz => 8,
            Self::Aclitem => 12,
            Self::Interval | Self::Uuid => 16,
            Self::Name => 64,
            _ => -1,
        }
    }

    /// `atttypmod`: the type modifier as PostgreSQL packs it, or -1.
    pub fn modifier(&self) -> i32 {
        // PostgreSQL adds the size of its length header to each modifier.
        const VARHDRSZ: i32 = 4;
        match self {
            Self::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + VARHDRSZ
            }
            Self::Varchar(Some(length)) | Self::Bpchar(Some(length)) => {
                i32::try_from(*length).map_or(-1, |length| length + VARHDRSZ)
            }
            Self::Array(element) => element.modifier(),
            _ => -1,
        }
    }

    /// Whether columns of users' tables can have this type.
    pub fn is_storable(&self) -> bool {
        match self {
            Self::Array(element) => element.is_storable(),
            Self::Regclass
            | Self::Regtype
            | Self::Regproc
            | Self::Xid
            | Self::Void
            | Self::Int2vector
            | Self::Oidvector
            | Self::Oid
            | Self::Name
            | Self::Char => false,
            other => other.has_input(),
        }
    }

    /// Whether statements can make values of this type; if not, only system relations have it.
    pub fn has_input(&self) -> bool {
        match self {
            Self::Array(element) => element.has_input(),
            Self::Inet | Self::Aclitem | Self::NodeTree | Self::Anyarray | Self::Lsn => false,
            _ => true,
        }
    }

    /// Whether the storage of closed tables (Delta) has this type.
    pub fn storable_in_delta(&self) -> bool {
        match self {
            Self::Time | Self::Interval => false,
            Self::Array(element) => element.storable_in_delta(),
            _ => true,
        }
    }
}

/// Prints the type as `format_type()` does in PostgreSQL: `numeric(12,2)`, `timestamp with time zone`.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int2 => f.write_str("smallint"),
            Self::Int4 => f.write_str("integer"),
            Self::Int8 => f.write_str("bigint"),
            Self::Float4 => f.write_str("real"),
            Self::Float8 => f.write_str("double precision"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("character varying"),
            Self::Varchar(Some(length)) => write!(f, "character varying({length})"),
            Self::Bpchar(None) => f.write_str("character"),
            Self::Bpchar(Some(length)) => write!(f, "character({length})"),
            Self::Bytea => f.write_str("bytea"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time without time zone"),
            Self::Timestamp => f.write_str("timestamp without time zone"),
            Self::Timestamptz => f.write_str("timestamp with time zone"),
            Self::Interval => f.write_str("interval"),
            Self::Uuid => f.write_str("uuid"),
            Self::Json => f.write_str("json"),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Oid => f.write_str("oid"),
            Self::Name => f.write_str("name"),
            Self::Char => f.write_str("\"char\""),
            Self::Regclass => f.write_str("regclass"),
            Self::Regtype => f.write_str("regtype"),
            Self::Xid => f.write_str("xid"),
            Self::Inet => f.write_str("inet"),
            Self::Aclitem => f.write_str("aclitem"),
            Self::NodeTree => f.write_str("pg_node_tree"),
            Self::Anyarray => f.write_str("anyarray"),
            Self::Lsn => f.write_str("pg_lsn"),
            Self::Void => f.write_str("void"),
            Self::Regproc => f.write_str("regproc"),
            Self::Int2vector => f.write_str("int2vector"),
            Self::Oidvector => f.write_str("oidvector"),
            Self::Array(element) => write!(f, "{element}[]"),
        }
    }
}

/// A type name that [`SqlType::from_str`] does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("type \"{0}\" does not exist")]
pub struct UnknownType(pub String);

/// Reads the names that [`SqlType`]'s `Display` prints, and PostgreSQL's short ones (`int8`, `bool`, …).
impl FromStr for SqlType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownType(text.to_string());
        if let Some(element) = text.strip_suffix("[]") {
            return Ok(Self::Array(Box::new(element.parse()?)));
        }
        if let Some((name, arguments)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
            let length = || arguments.trim().parse::<u32>().map_err(|_| unknown());
            return match name.trim() {
                "numeric" | "decimal" => {
                    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
                    let precision = precision.trim().parse().map_err(|_| unknown())?;
                    let scale = scale.trim().parse().map_err(|_| unknown())?;
                    Ok(Self::Numeric(Some((precision, scale))))
                }
                "varchar" | "character varying" => Ok(Self::Varchar(Some(length()?))),
                "char" | "bpchar" | "character" => Ok(Self::Bpchar(Some(length()?))),
                _ => Err(unknown()),
            };
        }
        Ok(match text {
            "bool" | "boolean" => Self::Bool,
            "int2" | "smallint" => Self::Int2,
            "int4" | "int" | "integer" => Self::Int4,
            "int8" | "bigint" => Self::Int8,
            "float4" | "real" => Self::Float4,
            "float8" | "double precision" => Self::Float8,
            "numeric" | "decimal" => Self::Numeric(None),
            "text" => Self::Text,
            "varchar" | "character varying" => Self::Varchar(None),
            "bpchar" | "character" => Self::Bpchar(None),
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" | "time without time zone" => Self::Time,
            "timestamp" | "timestamp without time zone" => Self::Timestamp,
            "timestamptz" | "timestamp with time zone" => Self::Timestamptz,
            "interval" => Self::Interval,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "oid" => Self::Oid,
            "name" => Self::Name,
            "\"char\"" => Self::Char,
            "regclass" => Self::Regclass,
            "regtype" => Self::Regtype,
            "xid" => Self::Xid,
            "inet" => Self::Inet,
            "aclitem" => Self::Aclitem,
            "pg_node_tree" => Self::NodeTree,
            "anyarray" => Self::Anyarray,
            "pg_lsn" => Self::Lsn,
            "void" => Self::Void,
            "regproc" => Self::Regproc,
            "int2vector" => Self::Int2vector,
            "oidvector" => Self::Oidvector,
            _ => return Err(unknown()),
        })
    }
}

impl From<SqlType> for String {
    fn from(ty: SqlType) -> Self {
        ty.to_string()
    }
}

impl TryFrom<String> for SqlType {
    type Error = UnknownType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<SqlType> {
        let scalars = vec![
            SqlType::Bool,
            SqlType::Int2,
            SqlType::Int4,
            SqlType::Int8,
            SqlType::Float4,
            SqlType::Float8,
            SqlType::Numeric(None),
            SqlType::Numeric(Some((12, 2))),
            SqlType::Text,
            SqlType::Varchar(None),
            SqlType::Varchar(Some(20)),
            SqlType::Bpchar(Some(3)),
            SqlType::Bytea,
            SqlType::Date,
            SqlType::Time,
            SqlType::Timestamp,
            SqlType::Timestamptz,
            SqlType::Interval,
            SqlType::Uuid,
            SqlType::Json,
            SqlType::Jsonb,
            SqlType::Oid,
            SqlType::Name,
            SqlType::Char,
            SqlType::Regclass,
            SqlType::Int2vector,
            SqlType::Xid,
            SqlType::Inet,
            SqlType::Aclitem,
            SqlType::NodeTree,
            SqlType::Anyarray,
            SqlType::Lsn,
        ];
        let arrays: Vec<_> = scalars
            .iter()
            .map(|ty| SqlType::Array(Box::new(ty.clone())))
            .collect();
        [scalars, arrays].concat()
    }

    #[test]
    fn a_field_tells_its_sql_type() {
        for ty in all() {
            assert_eq!(SqlType::of_field(&ty.field("c", true)), ty);
        }
    }

    #[test]
    fn names_and_oids_are_read_back() {
        for ty in all() {
            assert_eq!(ty.to_string().parse::<SqlType>(), Ok(ty.clone()));
            if let Some(back) = SqlType::of_oid(ty.oid()) {
                assert_eq!(back.oid(), ty.oid());
            }
        }
    }

    #[test]
    fn modifiers_are_packed_as_in_postgresql() {
        assert_eq!(SqlType::Numeric(Some((12, 2))).modifier(), 786_438);
        assert_eq!(SqlType::Varchar(Some(20)).modifier(), 24);
        assert_eq!(SqlType::Text.modifier(), -1);
    }
}
