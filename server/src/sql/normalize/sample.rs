//! `FROM t TABLESAMPLE BERNOULLI (10)`: rows of which each is there with a probability.
//!
//! It is a subquery that asks chance for each row. SYSTEM takes whole pages in PostgreSQL; rows do not lie in pages here, so both
//! methods are one.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, SelectItem, TableAlias, TableFactor, TableSample, TableSampleKind,
    TableSampleMethod, TableWithJoins, Value, WildcardAdditionalOptions,
};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml;
use crate::sql::normalize::{build, last_name};

/// Makes a subquery of a table that is sampled.
pub fn rewrite(factor: &mut TableFactor) -> Result<()> {
    let TableFactor::Table {
        name,
        alias,
        sample,
        ..
    } = factor
    else {
        return Ok(());
    };
    let Some(TableSampleKind::BeforeTableAlias(asked) | TableSampleKind::AfterTableAlias(asked)) =
        sample.take()
    else {
        return Ok(());
    };
    let percentage = percentage(*asked)?;
    let alias = alias.take().unwrap_or_else(|| {
        let own = last_name(name).unwrap_or_default();
        TableAlias {
            explicit: true,
            name: Ident::with_quote('"', own),
            columns: Vec::new(),
            at: None,
        }
    });
    let chance = Expr::BinaryOp {
        left: Box::new(build::call("random", Vec::new())),
        op: BinaryOperator::Multiply,
        right: Box::new(build::number(100)),
    };
    let taken = Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(chance))),
        op: BinaryOperator::Lt,
        right: Box::new(Expr::Nested(Box::new(percentage))),
    };
    let all = SelectItem::Wildcard(WildcardAdditionalOptions {
        wildcard_token: AttachedToken::empty(),
        ..WildcardAdditionalOptions::default()
    });
    let table = TableWithJoins {
        relation: factor.clone(),
        joins: Vec::new(),
    };
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: dml::select(vec![all], vec![table], Some(taken))?,
        alias: Some(alias),
        sample: None,
    };
    Ok(())
}

/// The percentage of rows that is asked for.
fn percentage(sample: TableSample) -> Result<Expr> {
    match &sample.name {
        Some(TableSampleMethod::Bernoulli | TableSampleMethod::System) => {}
        Some(other) => {
            let method = other.to_string().to_lowercase();
            return Err(PgError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("tablesample method {method} does not exist"),
            ));
        }
        None => return Err(PgError::syntax("TABLESAMPLE takes BERNOULLI or SYSTEM")),
    }
    if sample.seed.is_some() {
        return Err(PgError::unsupported(
            "TABLESAMPLE REPEATABLE is not supported",
        ));
    }
    let quantity = sample.quantity.filter(|quantity| quantity.unit.is_none());
    let value = match (quantity, sample.bucket, sample.offset) {
        (Some(quantity), None, None) => quantity.value,
        _ => return Err(PgError::syntax("a sample has a percentage")),
    };
    let literal = match &value {
        Expr::Value(literal) => match &literal.value {
            Value::Number(text, _) => text.parse::<f64>().ok(),
            _ => None,
        },
        Expr::UnaryOp { .. } => Some(-1.0),
        _ => None,
    };
    match literal {
        Some(percentage) if (0.0..=100.0).contains(&percentage) => Ok(value),
        Some(_) => Err(PgError::new(
            sqlstate::INVALID_TABLESAMPLE_ARGUMENT,
            "sample percentage must be between 0 and 100",
        )),
        None => Err(PgError::syntax("a sample has a percentage")),
    }
}
