//! What one writer was told: the last acknowledged state of each of its keys, and the one operation
//! whose acknowledgement never came.

use std::collections::BTreeMap;

/// The columns a writer sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub version: i64,
    pub body: String,
    pub closed: bool,
}

/// Rows by key; `None` is a deleted row.
pub type Changes = BTreeMap<i64, Option<Row>>;

/// The ledger of one writer.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every key the writer ever acknowledged a write of; `None` when it was deleted.
    acknowledged: BTreeMap<i64, Option<Row>>,
    /// Sent, and neither acknowledged nor refused when the connection broke.
    in_flight: Option<Changes>,
    /// Row writes acknowledged since the start.
    pub writes: u64,
}

impl Ledger {
    /// Rows that exist, by key.
    pub fn rows(&self) -> impl Iterator<Item = (i64, &Row)> {
        self.acknowledged
            .iter()
            .filter_map(|(key, row)| row.as_ref().map(|row| (*key, row)))
    }

    /// About to send an operation that turns these keys into these rows.
    pub fn sending(&mut self, changes: Changes) {
        self.in_flight = Some(changes);
    }

    /// The server said yes.
    pub fn confirm(&mut self) {
        if let Some(changes) = self.in_flight.take() {
            self.writes += changes.len() as u64;
            self.acknowledged.extend(changes);
        }
    }

    /// The server said no: nothing happened.
    pub fn refuse(&mut self) {
        self.in_flight = None;
    }

    /// Compares with what the table holds of this writer's keys. What was in flight is settled by
    /// what is found, and must be found whole or not at all.
    pub fn settle(&mut self, found: &BTreeMap<i64, Row>) -> Vec<String> {
        if let Some(changes) = self.in_flight.take() {
            let matching = |state: &dyn Fn(&i64) -> Option<Row>| {
                changes
                    .keys()
                    .all(|key| found.get(key).cloned() == state(key))
            };
            let before = |key: &i64| self.acknowledged.get(key).cloned().flatten();
            let after = |key: &i64| changes.get(key).cloned().flatten();
            if matching(&after) {
                self.acknowledged.extend(changes);
            } else if !matching(&before) {
                return vec![format!(
                    "half of an unacknowledged operation is there: {changes:?}"
                )];
            }
        }
        let mut faults = Vec::new();
        for (key, row) in &self.acknowledged {
            let there = found.get(key);
            if there != row.as_ref() {
                faults.push(format!("key {key}: acknowledged {row:?}, found {there:?}"));
            }
        }
        let unknown = found
            .keys()
            .filter(|key| !self.acknowledged.contains_key(key));
        faults.extend(unknown.map(|key| format!("key {key} was never acknowledged or in flight")));
        faults
    }
}
