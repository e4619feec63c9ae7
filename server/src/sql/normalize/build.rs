//! Small parts of syntax trees.

use std::mem;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Value,
};

/// Takes an expression out of its place.
pub fn take(expr: &mut Expr) -> Expr {
    mem::replace(expr, null())
}

/// The constant NULL.
pub fn null() -> Expr {
    Expr::value(Value::Null)
}

/// An integer constant.
pub fn number(value: impl ToString) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

/// A name as it is known: folded to lower case unless it was quoted.
pub fn fold(name: &Ident) -> String {
    if name.quote_style.is_some() {
        name.value.clone()
    } else {
        name.value.to_lowercase()
    }
}

/// Arguments without names.
pub fn arguments(arguments: Vec<Expr>) -> FunctionArguments {
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.collect(),
        clauses: Vec::new(),
    })
}

/// A name without a schema.
pub fn name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

/// A call of a function.
pub fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: arguments(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The arguments of a call that has nothing but plain arguments.
pub fn plain_arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let plain = list.duplicate_treatment.is_none() && list.clauses.is_empty();
    if !plain {
        return None;
    }
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}
