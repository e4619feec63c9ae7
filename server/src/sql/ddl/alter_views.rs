//! Views over a table that is altered.
//!
//! A view is the text of its query. It may only stay if this text still means what it meant: if the query, cut to the columns that
//! the view has, is planned to the same plan before and after. So `SELECT *` does not show a new column, as in
//! PostgreSQL, and nothing else has to be known of how a query uses a column.

use std::sync::Arc;

use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use nyala_catalog::definitions::{Definitions, Oid, Table, ViewDef};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse;
use crate::sql::planner::Planner;

/// What a statement changes that views may use.
#[derive(Debug, Default)]
pub(super) struct Cause {
    /// Columns that it drops.
    pub(super) dropped: Vec<String>,
    /// Columns that it gives another type.
    pub(super) retyped: Vec<String>,
    /// Columns that it gives another name.
    pub(super) renamed: Vec<String>,
    /// Whether it gives the table another name.
    pub(super) renamed_table: bool,
    /// Whether it changes anything else.
    pub(super) other: bool,
}

impl Cause {
    /// Whether nothing but columns go, which CASCADE is about.
    pub(super) fn only_drops(&self) -> bool {
        !self.dropped.is_empty() && !self.other && self.retyped.is_empty()
    }

    fn any(&self) -> bool {
        !self.dropped.is_empty()
            || self.renamed_table
            || self.other
            || !self.retyped.is_empty()
            || !self.renamed.is_empty()
    }

    /// The error for a view that uses what changes.
    pub(super) fn refusal(&self, table: &str, view: &str) -> PgError {
        self.refusal_of(table, &format!("view {view}"))
    }

    /// The error for something that uses what changes.
    pub(super) fn refusal_of(&self, table: &str, dependent: &str) -> PgError {
        if let Some(column) = self.dropped.first() {
            return PgError::new(
                sqlstate::DEPENDENT_OBJECTS,
                format!(
                    "cannot drop column {column} of table {table} because other objects depend on it"
                ),
            )
            .with_detail(format!(
                "{dependent} depends on column {column} of table {table}"
            ))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too.");
        }
        if let Some(column) = self.retyped.first() {
            return PgError::unsupported("cannot alter type of a column used by a view or rule")
                .with_detail(format!("{dependent} depends on column \"{column}\""));
        }
        let what = match self.renamed.first() {
            Some(column) => format!("cannot rename column \"{column}\" of table \"{table}\""),
            None if self.renamed_table => format!("cannot rename table \"{table}\""),
            None => format!("cannot add a column to table \"{table}\""),
        };
        PgError::unsupported(format!("{what} because the meaning of a view would change"))
            .with_detail(format!("The text of {dependent} refers to it by name."))
            .with_hint("Drop the view and create it again after the change.")
    }
}

/// The views over a table, themselves or through other views, and what they meant before a change.
pub(super) struct Dependents {
    views: Vec<(Arc<ViewDef>, String)>,
}

impl Dependents {
    /// The views over `table`, as the planner sees them.
    pub(super) async fn of(planner: &mut Planner, table: &Table) -> Result<Self> {
        let definitions = Arc::clone(&planner.view.definitions);
        let mut views = Vec::new();
        for view in over(&definitions, table.def.oid) {
            let query = parse::parse_query(&view.query)?;
            planner.open_relations(query.as_ref()).await?;
            // A view that cannot be planned now is no worse after.
            if let Ok(meaning) = meaning(planner, &view) {
                views.push((view, meaning));
            }
        }
        Ok(Self { views })
    }

    /// Views that the planner, which sees the change, gives another meaning or none.
    pub(super) fn changed(&self, planner: &Planner, cause: &Cause) -> Result<Vec<Arc<ViewDef>>> {
        if !cause.any() {
            return Ok(Vec::new());
        }
        let views = self.views.iter();
        let changed = views
            .filter(|(view, before)| !meaning(planner, view).is_ok_and(|after| after == *before));
        Ok(changed.map(|(view, _)| Arc::clone(view)).collect())
    }
}

/// Views over a relation, with those over these.
fn over(definitions: &Definitions, oid: Oid) -> Vec<Arc<ViewDef>> {
    let mut found: Vec<Arc<ViewDef>> = Vec::new();
    let mut open = vec![oid];
    while let Some(oid) = open.pop() {
        for view in definitions.dependents(oid) {
            if !found.iter().any(|known| known.oid == view.oid) {
                open.push(view.oid);
                found.push(Arc::new(view.clone()));
            }
        }
    }
    found
}

/// The plan of a view's columns as text, with the types of what each step returns.
fn meaning(planner: &Planner, view: &ViewDef) -> Result<String> {
    let query = parse::parse_query(&view.query)?;
    let plan = planner.plan(&query, Vec::new())?;
    let outputs = plan.schema().columns().into_iter().zip(&view.columns);
    let outputs: Vec<_> = outputs
        .map(|(output, column)| col(output).alias(&column.name))
        .collect();
    if outputs.len() < view.columns.len() {
        return Err(PgError::internal("a view has lost columns"));
    }
    let plan = LogicalPlanBuilder::from(plan).project(outputs)?.build()?;
    // Columns that are not used leave the plan.
    let rules = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
    let plan = rules.optimize(plan, &OptimizerContext::new(), |_, _| {})?;
    let types = plan.schema().fields().iter();
    let types: Vec<_> = types
        .map(|field| nyala_catalog::SqlType::of_field(field).to_string())
        .collect();
    Ok(format!("{}\n{}", text(&plan), types.join(", ")))
}

fn text(plan: &LogicalPlan) -> String {
    plan.display_indent_schema().to_string()
}
