//! The text of `closed_partition_by`: a list of columns and of transforms of columns.

use nyala_catalog::definitions::ColumnDef;
use nyala_catalog::partitioning::{BUCKETS_MAX, PartitionField, Transform};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value,
};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{PgError, Result, sqlstate};
use crate::sql::dialect::PLAIN_DIALECT;
use crate::sql::names;

/// Most transforms of one table.
const FIELDS_MAX: usize = 16;

/// Reads the list; the columns have to be there, and the transforms to be defined for them.
pub(super) fn parse(text: &str, columns: &[ColumnDef]) -> Result<Vec<PartitionField>> {
    let list = list(text).map_err(|error| invalid(text, format!("{error}.")))?;
    if list.is_empty() {
        return Err(invalid(text, "The list is empty.".to_string()));
    }
    if list.len() > FIELDS_MAX {
        let detail = format!("There can be at most {FIELDS_MAX} transforms.");
        return Err(invalid(text, detail));
    }
    let mut fields: Vec<PartitionField> = Vec::with_capacity(list.len());
    for item in &list {
        let field = field(text, item, columns)?;
        if fields.contains(&field) {
            return Err(invalid(text, format!("\"{item}\" appears twice.")));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn list(text: &str) -> std::result::Result<Vec<Expr>, sqlparser::parser::ParserError> {
    let dialect = PLAIN_DIALECT;
    let mut parser = Parser::new(&dialect).try_with_sql(text)?;
    if parser.peek_token().token == Token::EOF {
        return Ok(Vec::new());
    }
    let list = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::EOF)?;
    Ok(list)
}

fn field(text: &str, item: &Expr, columns: &[ColumnDef]) -> Result<PartitionField> {
    let (column, transform) = match item {
        Expr::Identifier(column) => (column, Transform::Identity),
        Expr::Function(function) => transform(text, function)?,
        other => {
            let detail = format!("\"{other}\" is neither a column nor a transform.");
            return Err(invalid(text, detail));
        }
    };
    let name = names::fold(column);
    let at = columns.iter().position(|column| column.name == name);
    let at = at.ok_or_else(|| {
        PgError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" named in closed_partition_by does not exist"),
        )
    })?;
    let field = PartitionField {
        column: at,
        transform,
    };
    let ty = columns.get(at).map(|column| &column.ty);
    match ty {
        Some(ty) if !transform.applies_to(ty) => Err(PgError::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("closed_partition_by cannot use column \"{name}\" of type {ty} in this way"),
        )
        .with_detail(format!(
            "The transform {transform} is not defined for type {ty}."
        ))),
        _ => Ok(field),
    }
}

fn transform<'a>(text: &str, function: &'a Function) -> Result<(&'a Ident, Transform)> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return Err(unknown(text, function));
    };
    let arguments: Vec<&Expr> = list
        .args
        .iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument),
            _ => None,
        })
        .collect();
    if arguments.len() != list.args.len() || !list.clauses.is_empty() {
        return Err(unknown(text, function));
    }
    match (name.as_str(), arguments.as_slice()) {
        ("year", [Expr::Identifier(column)]) => Ok((column, Transform::Year)),
        ("month", [Expr::Identifier(column)]) => Ok((column, Transform::Month)),
        ("day", [Expr::Identifier(column)]) => Ok((column, Transform::Day)),
        ("hour", [Expr::Identifier(column)]) => Ok((column, Transform::Hour)),
        ("bucket", [Expr::Value(count), Expr::Identifier(column)]) => {
            let count = match &count.value {
                Value::Number(number, _) => number.parse::<u32>().ok(),
                _ => None,
            };
            match count {
                Some(count) if (1..=BUCKETS_MAX).contains(&count) => {
                    Ok((column, Transform::Bucket(count)))
                }
                _ => Err(invalid(
                    text,
                    format!("The number of buckets must be between 1 and {BUCKETS_MAX}."),
                )),
            }
        }
        _ => Err(unknown(text, function)),
    }
}

fn unknown(text: &str, function: &Function) -> PgError {
    invalid(text, format!("\"{function}\" is no transform.")).with_hint(
        "There are year(column), month(column), day(column), hour(column), bucket(n, column), and a column by itself.",
    )
}

fn invalid(text: &str, detail: String) -> PgError {
    PgError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"closed_partition_by\": \"{text}\""),
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use crate::pg_catalog::names::quote_ident;
    use nyala_catalog::SqlType;
    use nyala_catalog::partitioning::to_text;

    use super::*;

    fn columns() -> Vec<ColumnDef> {
        let columns = [
            ("id", SqlType::Int8),
            ("at", SqlType::Timestamptz),
            ("day", SqlType::Date),
            ("Odd name", SqlType::Text),
            ("doc", SqlType::Jsonb),
        ];
        let columns = columns
            .into_iter()
            .map(|(name, ty)| ColumnDef::new(name, ty));
        columns.collect()
    }

    #[test]
    fn texts_come_back() {
        for (text, canonical) in [
            ("month(at)", "month(at)"),
            (" Year( AT ),\"Odd name\" ", "year(at), \"Odd name\""),
            ("bucket(16, id), hour(at)", "bucket(16, id), hour(at)"),
            ("day(day), day", "day(day), day"),
        ] {
            let fields = parse(text, &columns()).unwrap();
            let shown = to_text(&fields, &columns(), |name| quote_ident(name).into_owned());
            assert_eq!(shown, canonical);
            assert_eq!(parse(&shown, &columns()).unwrap(), fields);
        }
    }

    #[test]
    fn wrong_ones_are_refused() {
        for (text, code) in [
            ("", "22023"),
            ("month(at", "22023"),
            ("month(at) id", "22023"),
            ("week(at)", "22023"),
            ("month(at, id)", "22023"),
            ("bucket(0, id)", "22023"),
            ("bucket(70000, id)", "22023"),
            ("bucket(id)", "22023"),
            ("month(at), MONTH(at)", "22023"),
            ("id + 1", "22023"),
            ("7", "22023"),
            ("nothing", "42703"),
            ("month(nothing)", "42703"),
            ("month(id)", "42804"),
            ("hour(day)", "42804"),
            ("doc", "42804"),
            ("bucket(4, doc)", "42804"),
        ] {
            let error = parse(text, &columns()).unwrap_err();
            assert_eq!(error.code, code, "{text}: {}", error.message);
        }
    }
}
