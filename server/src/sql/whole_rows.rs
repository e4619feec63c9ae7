//! A relation's name where a value stands: `to_jsonb(t)`, `json_agg(t.*)`, `count(t)` mean the row of all its columns.
//!
//! It is spelled as a struct with the columns' names before planning; of a relation that an outer join can leave out, NULL where all
//! columns are. The name of a function in FROM is its column, also where that is called `value`. Columns come first,
//! as in PostgreSQL, and so do names of results in GROUP BY and ORDER BY.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, JoinOperator, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableAlias, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::sql::from_columns::{FromColumn, Scopes, columns_of};
use crate::sql::names;
use crate::sql::normalize::{build, factors, is_keyword, returns_value};
use crate::sql::planner::Planner;

/// Columns of a row that are looked at to tell whether it is there.
const LOOKED_AT_MAX: usize = 64;

/// Spells out the rows that relations' names stand for.
pub(super) fn spell_out(planner: &Planner, query: &mut Query, parameters: &[Option<FieldRef>]) {
    let mut names = Names::default();
    let _: ControlFlow<()> = Visit::visit(&*query, &mut names);
    if names.relations.is_disjoint(&names.used) {
        return;
    }
    let mut speller = Speller {
        planner,
        parameters,
        scopes: Scopes::default(),
    };
    let _: ControlFlow<()> = VisitMut::visit(query, &mut speller);
}

/// Names of relations, and names that stand alone, anywhere in a query.
#[derive(Default)]
struct Names {
    relations: HashSet<String>,
    used: HashSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.relations.extend(name_of(factor));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.used.insert(build::fold(name));
            }
            Expr::Function(function) => {
                if let FunctionArguments::List(list) = &function.args {
                    self.used.extend(list.args.iter().filter_map(wildcard));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `t` of an argument `t.*`.
fn wildcard(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => match name.0.as_slice() {
            [part] => part.as_ident().map(build::fold),
            _ => None,
        },
        _ => None,
    }
}

fn name_of(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
            match alias {
                Some(alias) => Some(build::fold(&alias.name)),
                None => name.0.last()?.as_ident().map(names::fold),
            }
        }
        TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(build::fold(&alias.name)),
        _ => None,
    }
}

struct Speller<'a> {
    planner: &'a Planner,
    parameters: &'a [Option<FieldRef>],
    scopes: Scopes,
}

impl VisitorMut for Speller<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.body(&mut query.body, query.order_by.as_mut());
        self.scopes.leave(query);
        ControlFlow::Continue(())
    }
}

/// A relation whose name can stand for a value.
#[derive(Clone)]
enum Relation {
    /// Its row; whether an outer join can leave it out.
    Row(Box<TableFactor>, bool),
    /// The column `value`.
    Value,
}

impl Speller<'_> {
    fn body(&self, body: &mut SetExpr, order_by: Option<&mut OrderBy>) {
        match body {
            SetExpr::Select(select) => self.select(select, order_by),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, None);
                self.body(right, None);
            }
            _ => {}
        }
    }

    fn select(&self, select: &mut Select, mut order_by: Option<&mut OrderBy>) {
        let mut relations = HashMap::new();
        for item in &select.from {
            let mut left_out: Vec<bool> = vec![false];
            for join in &item.joins {
                let (left, right) = match &join.join_operator {
                    JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
                    JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
                    JoinOperator::FullOuter(_) => (true, true),
                    _ => (false, false),
                };
                left_out.iter_mut().for_each(|before| *before |= left);
                left_out.push(right);
            }
            for (factor, left_out) in factors(item).zip(left_out) {
                if let (Some(name), Some(relation)) =
                    (name_of(factor), relation_of(factor, left_out))
                {
                    relations.insert(name, relation);
                }
            }
        }
        let mut found = Found {
            relations: &relations,
            meanings: HashMap::new(),
            depth: 0,
            replace: false,
        };
        found.visit(select, order_by.as_deref_mut());
        if found.meanings.is_empty() {
            return;
        }
        self.resolve(&mut found, select);
        found.replace = true;
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
                && let Some(expr) = found.meaning(name)
            {
                let alias = name.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        found.visit(select, order_by);
    }

    /// Finds what each name means, if it is no column.
    fn resolve(&self, found: &mut Found<'_>, select: &Select) {
        let mut columns: HashMap<String, Vec<FromColumn>> = HashMap::new();
        let mut unknown = false;
        for (relation, kind) in found.relations {
            if let Relation::Row(factor, _) = kind {
                match columns_of(self.planner, &self.scopes, factor, self.parameters) {
                    Ok(of) => {
                        columns.insert(relation.clone(), of);
                    }
                    // One over columns of others cannot be asked for its own, of which one could have the name.
                    Err(_) => unknown = true,
                }
            }
        }
        let of_functions = select.from.iter().flat_map(factors);
        let of_functions: HashSet<String> = of_functions.flat_map(columns_of_function).collect();
        for (name, meaning) in &mut found.meanings {
            let is_column = of_functions.contains(name)
                || columns
                    .values()
                    .flatten()
                    .any(|column| column.name == *name);
            *meaning = match found.relations.get(name) {
                _ if is_column => None,
                Some(Relation::Value) => Some(value_of(name)),
                Some(Relation::Row(_, left_out)) if !unknown => {
                    let columns = columns.get(name);
                    columns.map(|columns| row_of(columns, *left_out))
                }
                _ => None,
            };
        }
    }
}

fn relation_of(factor: &TableFactor, left_out: bool) -> Option<Relation> {
    match factor {
        TableFactor::Table { args: None, .. } | TableFactor::Derived { .. } => {
            Some(Relation::Row(Box::new(factor.clone()), left_out))
        }
        TableFactor::Table {
            name,
            alias: Some(alias),
            ..
        }
        | TableFactor::Function {
            name,
            alias: Some(alias),
            ..
        } => (alias.columns.is_empty() && returns_value(name)).then_some(Relation::Value),
        _ => None,
    }
}

/// The names of the columns of a function in FROM, as far as they are written there.
fn columns_of_function(factor: &TableFactor) -> Vec<String> {
    let named = |alias: &Option<TableAlias>, value: bool| match alias {
        Some(alias) if alias.columns.is_empty() && !value => vec![build::fold(&alias.name)],
        Some(alias) => {
            let columns = alias.columns.iter();
            columns.map(|column| build::fold(&column.name)).collect()
        }
        None => Vec::new(),
    };
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, alias, .. } => named(alias, returns_value(name)),
        TableFactor::UNNEST { alias, .. } => named(alias, false),
        _ => Vec::new(),
    }
}

fn value_of(alias: &str) -> Expr {
    let alias = Ident::with_quote('"', alias);
    Expr::CompoundIdentifier(vec![alias, Ident::new("value")])
}

fn row_of(columns: &[FromColumn], left_out: bool) -> Expr {
    let fields = columns.iter().flat_map(|column| {
        let label = Value::SingleQuotedString(column.name.clone());
        [Expr::value(label), column.reference()]
    });
    let row = build::call("named_struct", fields.collect());
    if !left_out {
        return row;
    }
    let there = columns.iter().take(LOOKED_AT_MAX);
    let there = there.map(|column| Expr::IsNotNull(Box::new(column.reference())));
    let there = there.reduce(|one, other| Expr::BinaryOp {
        left: Box::new(one),
        op: BinaryOperator::Or,
        right: Box::new(other),
    });
    let Some(condition) = there else {
        return row;
    };
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition,
            result: row,
        }],
        else_result: None,
    }
}

/// The parts of an access to a field or an element that are names: what is in front, and fields.
fn names_of_access(expr: &mut Expr) -> Vec<&mut Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return Vec::new();
    };
    let fields = access_chain.iter_mut().filter_map(|access| match access {
        AccessExpr::Dot(field) => Some(field),
        AccessExpr::Subscript(_) => None,
    });
    std::iter::once(root.as_mut()).chain(fields).collect()
}

/// Names of relations that stand where a value does, and what they mean once that is known.
struct Found<'a> {
    relations: &'a HashMap<String, Relation>,
    meanings: HashMap<String, Option<Expr>>,
    depth: usize,
    replace: bool,
}

impl Found<'_> {
    /// All places of a SELECT but its FROM, whose functions see what stands before them only.
    fn visit(&mut self, select: &mut Select, order_by: Option<&mut OrderBy>) {
        let labels: HashSet<String> = select
            .projection
            .iter()
            .filter_map(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(build::fold(alias)),
                _ => None,
            })
            .collect();
        let is_label = |expr: &Expr| matches!(expr, Expr::Identifier(name) if labels.contains(&build::fold(name)));
        let from = std::mem::take(&mut select.from);
        let none = GroupByExpr::Expressions(Vec::new(), Vec::new());
        let mut groups = std::mem::replace(&mut select.group_by, none);
        let _: ControlFlow<()> = VisitMut::visit(select, self);
        if let GroupByExpr::Expressions(keys, _) = &mut groups {
            for key in keys.iter_mut().filter(|key| !is_label(key)) {
                let _: ControlFlow<()> = VisitMut::visit(key, self);
            }
        }
        if let Some(OrderBy {
            kind: OrderByKind::Expressions(keys),
            ..
        }) = order_by
        {
            for key in keys.iter_mut().filter(|key| !is_label(&key.expr)) {
                let _: ControlFlow<()> = VisitMut::visit(&mut key.expr, self);
            }
        }
        select.group_by = groups;
        select.from = from;
    }

    /// What a name means; noted as asked for while that is not known.
    fn meaning(&mut self, name: &Ident) -> Option<Expr> {
        match is_keyword(name) {
            true => None,
            false => self.meaning_of(build::fold(name)),
        }
    }

    fn meaning_of(&mut self, name: String) -> Option<Expr> {
        if !self.relations.contains_key(&name) {
            return None;
        }
        if self.replace {
            return self.meanings.get(&name).cloned().flatten();
        }
        self.meanings.entry(name).or_default();
        None
    }

    /// `f(t.*)` is `f(t)`.
    fn arguments(&mut self, function: &mut Function) {
        let FunctionArguments::List(list) = &mut function.args else {
            return;
        };
        for argument in &mut list.args {
            if let Some(name) = wildcard(argument)
                && let Some(row) = self.meaning_of(name)
            {
                *argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(row));
            }
        }
    }
}

impl VisitorMut for Found<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // In `t.array[1]` and `(row).t` the name is no value; it is put out of the way until the node is left.
        for part in names_of_access(expr) {
            if let Expr::Identifier(name) = part {
                *part = Expr::CompoundIdentifier(vec![name.clone()]);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        for part in names_of_access(expr) {
            if let Expr::CompoundIdentifier(parts) = part
                && parts.len() == 1
                && let Some(name) = parts.pop()
            {
                *part = Expr::Identifier(name);
            }
        }
        // A subquery may have a relation of that name, or a column.
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(name) => {
                if let Some(meaning) = self.meaning(name) {
                    *expr = meaning;
                }
            }
            Expr::Function(function) => self.arguments(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
