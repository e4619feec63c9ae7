//! Running a query.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use sqlparser::ast::Query;

use crate::error::Result;
use crate::sql::casts;
use crate::sql::normalize::column_label;
use crate::sql::planner::Planner;

/// Runs a query; the rows come as they are asked for.
pub async fn run(planner: &mut Planner, query: &Query) -> Result<SendableRecordBatchStream> {
    planner.open_relations(query).await?;
    let plan = planner.plan(query, Vec::new())?;
    run_plan(planner, &plan).await
}

/// Runs a logical plan. The stream has the plan's schema, with the metadata that tells SQL types.
pub async fn run_plan(planner: &Planner, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let schema = output_schema(plan);
    let physical = planner.physical(plan).await?;
    let rows = planner.run(physical);
    // Optimisers rename and forget metadata; what the client was told stays.
    let told = Arc::clone(&schema);
    // As long as rows come, no file that they come from is removed.
    let view = planner.view.clone();
    let rows = rows.map(move |batch| {
        let _ = &view;
        let batch = batch?;
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch
            .columns()
            .iter()
            .zip(told.fields())
            .map(
                |(column, field)| match column.data_type() == field.data_type() {
                    true => Ok(Arc::clone(column)),
                    false => casts::as_type(column, field.data_type()),
                },
            )
            .collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&told),
            columns,
            &options,
        )?)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The columns that clients are told of.
pub fn output_schema(plan: &LogicalPlan) -> SchemaRef {
    let fields: Vec<_> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let name = column_label(field.name());
            Arc::new(field.as_ref().clone().with_name(name).with_nullable(true))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// All rows of a query, with its schema.
pub async fn collect(
    planner: &mut Planner,
    query: &Query,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let stream = run(planner, query).await?;
    let schema = stream.schema();
    Ok((schema, stream.try_collect().await?))
}

/// One batch as a stream.
pub fn stream_of(batch: RecordBatch) -> SendableRecordBatchStream {
    stream_of_all(batch.schema(), vec![batch])
}

/// Batches as a stream.
pub fn stream_of_all(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let batches = futures::stream::iter(batches.into_iter().map(Ok));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}
