//! Joins that let others run: their streamed side comes in small pieces, with pauses.
//!
//! A join takes a batch of its streamed side and looks for partners before it asks for the next one. If it finds none it returns
//! nothing meanwhile, so nothing above it gets a chance to pause, to see that the statement was cancelled, or to let
//! another query have the thread. `PacedExec` below it does: it pauses when it has been asked again and again
//! for longer than a slice of time. A nested loop compares each row of a batch with all of the other side, so batches are cut into pieces
//! as well, as large as the join gets done in a slice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use futures::{Stream, StreamExt};
use nyala_catalog::stream_exec::StreamExec;

/// How long a join keeps its thread.
const SLICE: Duration = Duration::from_millis(10);

/// Rows of the first piece.
const ROWS_AT_FIRST: usize = 16;

/// Rows of a piece at most.
const ROWS_MAX: usize = 8_192;

/// Paces the streamed side of a plan that is a join; other plans stay as they are.
pub fn paced(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if !plan.is::<NestedLoopJoinExec>() && !plan.is::<HashJoinExec>() {
        return Ok(plan);
    }
    let mut children: Vec<_> = plan.children().into_iter().cloned().collect();
    if let Some(streamed) = children.pop() {
        children.push(Arc::new(StreamExec::new("PacedExec", streamed, |input| {
            Box::pin(Paced {
                input,
                rows: ROWS_AT_FIRST,
                rest: None,
                since: None,
                given: None,
            })
        })));
    }
    replace_children_if_necessary(plan, children)
}

/// The rows of its input, in pieces, with pauses.
struct Paced {
    input: SendableRecordBatchStream,
    rows: usize,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    /// When the thread was taken.
    since: Option<Instant>,
    /// When the last piece was given out.
    given: Option<Instant>,
}

impl Paced {
    /// The size of the next piece, by how long the last one took.
    fn adapt(&mut self) {
        let Some(took) = self.given.take().map(|given| given.elapsed()) else {
            return;
        };
        if took > SLICE {
            self.rows = (self.rows / 2).max(1);
        } else if took < SLICE / 4 {
            self.rows = (self.rows * 2).min(ROWS_MAX);
        }
    }
}

impl Stream for Paced {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.adapt();
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SLICE {
            self.since = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let next = self.input.poll_next_unpin(context);
                if next.is_pending() {
                    self.since = None;
                }
                match ready!(next) {
                    Some(Ok(batch)) => batch,
                    ended => return Poll::Ready(ended),
                }
            }
        };
        let taken = batch.num_rows().min(self.rows);
        if taken < batch.num_rows() {
            self.rest = Some(batch.slice(taken, batch.num_rows() - taken));
        }
        self.given = Some(Instant::now());
        Poll::Ready(Some(Ok(batch.slice(0, taken))))
    }
}

impl RecordBatchStream for Paced {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
