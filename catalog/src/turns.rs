//! Gives the processor away between batches, so that what has to be quick need not wait for a query's slice of it.
//!
//! A thread that becomes ready, such as a connection's with a point lookup, gets a busy processor when the scheduler next looks: on
//! Linux at a tick, up to 4 ms later, whatever the priorities. A query is never that urgent. Threads that run queries say
//! so ([`begin`]), and every `TURN` or so, between two batches, offer the processor to whoever waits for it (`offer`). Where
//! nobody waits, that takes well under a microsecond.
//!
//! [`offered`] puts a `TurnsExec` over each leaf of a plan: operators above poll the leaves from their loops, and so it is
//! reached from nearly all work of a query. Jobs call `offer` themselves.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use futures::{Stream, StreamExt};

use crate::sieve::DELTA_SCAN;
use crate::stream_exec::StreamExec;

/// How long a query thread works before it offers its processor: a fraction of a lookup's time on the wire.
const TURN: Duration = Duration::from_micros(200);

thread_local! {
    /// When this thread last offered its processor; `None` on threads that never do.
    static OFFERED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on this thread offers its processor.
pub fn begin() {
    OFFERED.set(Some(Instant::now()));
}

/// Lets others have the processor, if this thread has had it for long and is one that offers it.
pub(crate) fn offer() {
    if let Some(offered) = OFFERED.get()
        && offered.elapsed() >= TURN
    {
        std::thread::yield_now();
        OFFERED.set(Some(Instant::now()));
    }
}

/// The plan with a `TurnsExec` over each leaf that has work to do.
pub fn offered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let offering = plan.transform_down(|node| {
        // delta-rs looks at the nodes of its scans when they begin; and one row or none is no work.
        let whole = node.name().starts_with(DELTA_SCAN);
        let works = !node.is::<PlaceholderRowExec>() && !node.is::<EmptyExec>();
        Ok(match whole || works && node.children().is_empty() {
            true => {
                let turns = StreamExec::new("TurnsExec", node, |input| Box::pin(Turns { input }));
                Transformed::new(Arc::new(turns) as _, true, TreeNodeRecursion::Jump)
            }
            false => Transformed::no(node),
        })
    });
    offering.data()
}

/// The rows of its input; between batches the processor is offered to others.
struct Turns {
    input: SendableRecordBatchStream,
}

impl Stream for Turns {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.input.poll_next_unpin(context);
        offer();
        polled
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
