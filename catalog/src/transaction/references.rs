//! FOREIGN KEY constraints of the rows that a transaction writes ([`crate::foreign_key`] has the protocol).

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::TryStreamExt;

use super::Transaction;
use super::dml::Place;
use crate::definitions::{Oid, Relation, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::foreign_key::{ForeignKeyDef, KeyOf, Marks, ReferentialAction};
use crate::hybrid_table::{TableScan, key_range_filter};
use crate::row_codec::Bytes;
use crate::row_text::row_text;

/// What a transaction has still to see to, and what the committer is to compare.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    pub marks: Marks,
    missing: Vec<Missing>,
    gone: VecDeque<Gone>,
    unreferenced: Vec<Unreferenced>,
    /// What SET CONSTRAINTS said of all, and then of single ones: whether they are deferred.
    deferred_all: Option<bool>,
    deferred: HashMap<Oid, bool>,
}

impl References {
    fn is_settled(&self) -> bool {
        self.missing.is_empty() && self.gone.is_empty() && self.unreferenced.is_empty()
    }

    /// Keys that have gone, with all others of the same key that went in the same way: the referencing rows are searched once.
    fn next_gone(&mut self) -> Result<Option<Gone>> {
        let Some(first) = self.gone.pop_front() else {
            return Ok(None);
        };
        let waiting = mem::take(&mut self.gone).into_iter();
        let (alike, others): (Vec<_>, Vec<_>) = waiting.partition(|gone| first.is_like(gone));
        self.gone = others.into();
        let all = || std::iter::once(&first).chain(&alike);
        let old = concat_batches(&first.old.schema(), all().map(|gone| &gone.old))?;
        let new = match &first.new {
            Some(new) => {
                let all = all().filter_map(|gone| gone.new.as_ref());
                Some(concat_batches(&new.schema(), all)?)
            }
            None => None,
        };
        Ok(Some(Gone { old, new, ..first }))
    }

    fn is_deferred(&self, key: &ForeignKeyDef) -> bool {
        let said = self.deferred.get(&key.oid).copied().or(self.deferred_all);
        key.deferrable && said.unwrap_or(key.initially_deferred)
    }
}

/// Values whose referenced rows were not there when their rows were written.
#[derive(Debug, Clone)]
struct Missing {
    table: Oid,
    foreign_key: Oid,
    values: RecordBatch,
}

/// Keys that rows of a table have given up.
#[derive(Debug, Clone)]
struct Gone {
    table: Oid,
    index: Oid,
    old: RecordBatch,
    /// What the rows have now, unless they were deleted.
    new: Option<RecordBatch>,
}

impl Gone {
    fn is_like(&self, other: &Self) -> bool {
        (self.table, self.index) == (other.table, other.index)
            && self.new.is_some() == other.new.is_some()
    }
}

/// Keys that no row of a constraint may reference.
#[derive(Debug, Clone)]
struct Unreferenced {
    foreign_key: Oid,
    gone: Gone,
    restrict: bool,
}

/// Referencing rows.
struct Found {
    addresses: RecordBatch,
    rows: RecordBatch,
    /// Which of the keys each of them references.
    of: Vec<u64>,
}

impl Found {
    fn all(found: Vec<Self>) -> Result<Option<Self>> {
        let Some(first) = found.first() else {
            return Ok(None);
        };
        let addresses = found.iter().map(|found| &found.addresses);
        let rows = found.iter().map(|found| &found.rows);
        Ok(Some(Self {
            addresses: concat_batches(&first.addresses.schema(), addresses)?,
            rows: concat_batches(&first.rows.schema(), rows)?,
            of: found.iter().flat_map(|found| found.of.clone()).collect(),
        }))
    }
}

impl Transaction {
    /// Runs what the statement's writes ask of rows that reference others, and fails if a constraint is violated that is not
    /// deferred. To be called at the end of each statement that writes.
    pub async fn finish_statement(&mut self) -> Result<()> {
        match self.changes.references.is_settled() {
            true => Ok(()),
            // Boxed: most transactions have nothing to settle.
            false => Box::pin(self.settle(false)).await,
        }
    }

    /// The same for deferred constraints.
    pub(super) async fn finish_references(&mut self) -> Result<()> {
        match self.changes.references.is_settled() {
            true => Ok(()),
            false => Box::pin(self.settle(true)).await,
        }
    }

    /// Says whether constraints, or all of them, are checked at the commit only. Those that no longer are so are checked now.
    pub async fn set_constraints(&mut self, only: Option<&[Oid]>, deferred: bool) -> Result<()> {
        let references = &mut self.changes.references;
        match only {
            Some(oids) => references
                .deferred
                .extend(oids.iter().map(|oid| (*oid, deferred))),
            None => {
                references.deferred.clear();
                references.deferred_all = Some(deferred);
            }
        }
        self.finish_statement().await
    }

    /// The tables whose rows the end of the statement may change, which need their CHECK constraints compiled.
    pub fn reached_by_actions(&self) -> Vec<Arc<Table>> {
        let definitions = self.definitions();
        let gone = self.changes.references.gone.iter();
        let mut open: Vec<Oid> = gone.map(|gone| gone.table).collect();
        let mut known = HashSet::new();
        let mut reached = Vec::new();
        while let Some(oid) = open.pop() {
            for (table, _) in definitions.referencing(oid) {
                if known.insert(table.def.oid) {
                    open.push(table.def.oid);
                    reached.push(Arc::clone(table));
                }
            }
        }
        reached
    }

    /// Looks the rows up that new rows of a table reference. Those that are not there have to be at the statement's end.
    pub(super) async fn note_references(
        &mut self,
        table: &Table,
        rows: &RecordBatch,
    ) -> Result<()> {
        for foreign_key in &table.def.foreign_keys {
            let Some(values) = complete(table, foreign_key, foreign_key.values(rows)?)? else {
                continue;
            };
            self.rely_on_relation(foreign_key.referenced);
            if let Some(values) = self.without_row(foreign_key, &values).await? {
                self.changes.references.missing.push(Missing {
                    table: table.def.oid,
                    foreign_key: foreign_key.oid,
                    values,
                });
            }
        }
        Ok(())
    }

    /// The values, each once, for which there is no row; those for which there is one are held from now on.
    async fn without_row(
        &mut self,
        foreign_key: &ForeignKeyDef,
        values: &RecordBatch,
    ) -> Result<Option<RecordBatch>> {
        let referenced = self.referenced_table(foreign_key)?;
        let key = key_of(&referenced, foreign_key.index)?;
        let keys = foreign_key.keys(&key, values)?;
        let has_value = without_nulls(&keys);
        // A value that the key cannot have.
        let mut missing: Vec<u64> = positions(&has_value, false).collect();
        let asked: Vec<u64> = positions(&has_value, true).collect();
        let keys = take_record_batch(&keys, &UInt64Array::from(asked.clone()))?;
        let bytes = key.encode(&keys)?;
        let space = key.space();
        let mut seen = HashSet::new();
        let mut unknown = Vec::new();
        for (at, bytes) in bytes.iter().enumerate() {
            if seen.insert(bytes) && !self.changes.references.marks.holds(space, bytes) {
                unknown.push(at);
            }
        }
        let of_unknown = UInt64Array::from_iter_values(unknown.iter().map(|at| *at as u64));
        let present = self
            .present(&key, &take_record_batch(&keys, &of_unknown)?)
            .await?;
        for (at, present) in unknown.into_iter().zip(present) {
            match (present, bytes.get(at), asked.get(at)) {
                (true, Some(bytes), _) => {
                    self.changes.references.marks.hold(space, bytes.clone());
                }
                (false, _, Some(at)) => missing.push(*at),
                _ => {}
            }
        }
        if missing.is_empty() {
            return Ok(None);
        }
        missing.sort_unstable();
        let missing = take_record_batch(values, &UInt64Array::from(missing))?;
        Ok(Some(missing))
    }

    /// For each key, which has no NULLs, whether a row has it.
    async fn present(&self, key: &KeyOf<'_>, keys: &RecordBatch) -> Result<Vec<bool>> {
        let bytes = key.encode(keys)?;
        let table = match key {
            KeyOf::Primary(table) => *table,
            KeyOf::Index(table, index) => {
                let found = bytes.iter().map(|value| {
                    let keys = self.view.index_keys(table, index, value, 1)?;
                    Ok(keys.is_none_or(|keys| !keys.is_empty()))
                });
                return found.collect();
            }
        };
        let mut present = vec![false; bytes.len()];
        let mut perhaps_closed = Vec::new();
        for (at, (bytes, present)) in bytes.iter().zip(&mut present).enumerate() {
            match self.place(table, bytes)? {
                Place::Nowhere => {}
                Place::Open(_) => *present = true,
                Place::PerhapsClosed => perhaps_closed.push(at as u64),
            }
        }
        if !perhaps_closed.is_empty()
            && let Some(version) = self.closed_version(table).await?
        {
            let asked = UInt64Array::from(perhaps_closed);
            let schema = table.codec.address_schema();
            let addresses = RecordBatch::try_new(schema, keys.columns().to_vec())?;
            let addresses = take_record_batch(&addresses, &asked)?;
            let closed = self.view.catalog.closed_table(table)?;
            let exists = closed.contains_keys(&version, &addresses).await?;
            for (at, exists) in asked.values().iter().zip(exists.iter()) {
                if let Some(present) = present.get_mut(*at as usize) {
                    *present = exists == Some(true);
                }
            }
        }
        Ok(present)
    }

    /// Keeps the keys in mind that rows, which are still as they were, are about to give up.
    pub(super) fn note_gone(
        &mut self,
        table: &Table,
        addresses: &RecordBatch,
        new: Option<&RecordBatch>,
    ) -> Result<()> {
        let referencing = self.definitions().referencing(table.def.oid);
        let indexes: BTreeSet<Oid> = referencing.map(|(_, of)| of.index).collect();
        for index in indexes {
            let key = key_of(table, index)?;
            let old = match &key {
                KeyOf::Primary(_) => addresses.clone(),
                KeyOf::Index(..) => self.stored_values(table, &key, addresses)?,
            };
            let new = new.map(|rows| rows.project(&key.positions())).transpose()?;
            // What has a NULL nobody references.
            let mut given_up = without_nulls(&old);
            let old_bytes = key_bytes(&key, &old, &given_up)?;
            if let Some(new) = &new {
                let new_bytes = key_bytes(&key, new, &without_nulls(new))?;
                let changed = old_bytes
                    .iter()
                    .zip(&new_bytes)
                    .map(|(old, new)| old != new);
                given_up = given_up.iter().zip(changed).map(|(a, b)| *a && b).collect();
            }
            if !given_up.contains(&true) {
                continue;
            }
            let marks = &mut self.changes.references.marks;
            for (bytes, given_up) in old_bytes.into_iter().zip(&given_up) {
                if let (Some(bytes), true) = (bytes, given_up) {
                    marks.take_away(key.space(), bytes);
                }
            }
            let mask = BooleanArray::from(given_up);
            let gone = Gone {
                table: table.def.oid,
                index,
                old: filter_record_batch(&old, &mask)?,
                new: new
                    .map(|new| filter_record_batch(&new, &mask))
                    .transpose()?,
            };
            self.changes.references.gone.push_back(gone);
        }
        Ok(())
    }

    /// Columns of a key of open rows, as they are.
    fn stored_values(
        &self,
        table: &Table,
        key: &KeyOf<'_>,
        addresses: &RecordBatch,
    ) -> Result<RecordBatch> {
        let keys = table.codec.encode_keys(addresses)?;
        let mut values = Vec::with_capacity(keys.len());
        for key in &keys {
            let value = self.view.open_value(table, key)?;
            values.push(value.ok_or_else(|| CatalogError::internal("a row to change is gone"))?);
        }
        table.codec.decode(&key.positions(), &keys, &values)
    }

    async fn settle(&mut self, at_commit: bool) -> Result<()> {
        while let Some(gone) = self.changes.references.next_gone()? {
            let referencing = self.referencing(gone.table, gone.index);
            for (table, foreign_key) in referencing {
                let action = match gone.new {
                    Some(_) => foreign_key.on_update,
                    None => foreign_key.on_delete,
                };
                match action {
                    ReferentialAction::NoAction | ReferentialAction::Restrict => {
                        self.changes.references.unreferenced.push(Unreferenced {
                            foreign_key: foreign_key.oid,
                            gone: gone.clone(),
                            restrict: action == ReferentialAction::Restrict,
                        });
                    }
                    ReferentialAction::Cascade | ReferentialAction::SetNull => {
                        let cascade = action == ReferentialAction::Cascade;
                        self.act(&table, &foreign_key, &gone, cascade).await?;
                    }
                }
            }
        }
        for check in mem::take(&mut self.changes.references.unreferenced) {
            self.check_unreferenced(check, at_commit).await?;
        }
        for missing in mem::take(&mut self.changes.references.missing) {
            self.check_missing(missing, at_commit).await?;
        }
        Ok(())
    }

    /// The constraints that reference a key, as they are by now.
    fn referencing(&self, table: Oid, index: Oid) -> Vec<(Arc<Table>, ForeignKeyDef)> {
        let referencing = self.definitions().referencing(table);
        referencing
            .filter(|(_, foreign_key)| foreign_key.index == index)
            .map(|(table, foreign_key)| (Arc::clone(table), foreign_key.clone()))
            .collect()
    }

    /// Deletes or changes the rows that reference keys which have gone.
    async fn act(
        &mut self,
        table: &Arc<Table>,
        foreign_key: &ForeignKeyDef,
        gone: &Gone,
        cascade: bool,
    ) -> Result<()> {
        let found = self
            .rows_referencing(table, foreign_key, &gone.old, usize::MAX)
            .await?;
        // All at once: a row may take the key that another one gives up.
        let Some(found) = Found::all(found)? else {
            return Ok(());
        };
        let values = match (&gone.new, cascade) {
            (None, true) => return self.delete(table, &found.addresses),
            (Some(new), true) => {
                let values = foreign_key.referencing_values(table, new)?;
                foreign_key.check_fits(table, new, &values)?;
                Some(take_record_batch(&values, &UInt64Array::from(found.of))?)
            }
            (_, false) => None,
        };
        let rows = foreign_key.with_values(table, &found.rows, values.as_ref())?;
        self.replace(table, &found.addresses, &rows).await
    }

    async fn check_unreferenced(&mut self, check: Unreferenced, at_commit: bool) -> Result<()> {
        let Unreferenced {
            foreign_key: oid,
            gone,
            restrict,
        } = &check;
        let mut referencing = self.referencing(gone.table, gone.index).into_iter();
        // A constraint that has been dropped since asks for nothing.
        let Some((table, foreign_key)) = referencing.find(|(_, of)| of.oid == *oid) else {
            return Ok(());
        };
        if !restrict && !at_commit && self.changes.references.is_deferred(&foreign_key) {
            self.changes.references.unreferenced.push(check);
            return Ok(());
        }
        let referenced = self.referenced_table(&foreign_key)?;
        let mut old = gone.old.clone();
        if !restrict {
            // Another row may have got the key.
            let key = key_of(&referenced, gone.index)?;
            let present = self.present(&key, &old).await?;
            let absent: BooleanArray = present.iter().map(|present| Some(!present)).collect();
            old = filter_record_batch(&old, &absent)?;
        }
        let found = self.rows_referencing(&table, &foreign_key, &old, 1).await?;
        let first = found
            .first()
            .and_then(|found| found.of.iter().min().copied());
        let Some(at) = first else {
            return Ok(());
        };
        let values = foreign_key.referencing_values(&table, &old)?;
        let names = referenced_names(&key_of(&referenced, gone.index)?, &foreign_key);
        let of = &referenced.def.name;
        let (name, by) = (&foreign_key.name, &table.def.name);
        let error = CatalogError::new(
            ErrorKind::ForeignKeyViolation,
            format!(
                "update or delete on table \"{of}\" violates foreign key constraint \"{name}\" on table \"{by}\""
            ),
        )
        .with_detail(format!(
            "Key ({names})=({}) is still referenced from table \"{by}\".",
            row_text(&values, at as usize)
        ))
        .with_table(by)
        .with_constraint(name);
        Err(self.with_schema(&table, error))
    }

    async fn check_missing(&mut self, missing: Missing, at_commit: bool) -> Result<()> {
        let Some(Relation::Table(table)) = self.definitions().relation_by_oid(missing.table) else {
            return Ok(());
        };
        let table = Arc::clone(table);
        let mut foreign_keys = table.def.foreign_keys.iter();
        let Some(foreign_key) = foreign_keys.find(|key| key.oid == missing.foreign_key) else {
            return Ok(());
        };
        if !at_commit && self.changes.references.is_deferred(foreign_key) {
            self.changes.references.missing.push(missing);
            return Ok(());
        }
        let Some(values) = self.without_row(foreign_key, &missing.values).await? else {
            return Ok(());
        };
        // The row may have gone again, or have other values by now.
        let found = self.rows_with(&table, foreign_key, &values, 1).await?;
        let first = found
            .first()
            .and_then(|found| found.of.iter().min().copied());
        let Some(at) = first else {
            return Ok(());
        };
        let referenced = self.referenced_table(foreign_key)?;
        let error = violation(&table, foreign_key, &referenced, &values, at as usize);
        Err(self.with_schema(&table, error))
    }

    /// The rows that reference keys, at least one if there is any, and not many more than `max`.
    async fn rows_referencing(
        &self,
        table: &Arc<Table>,
        foreign_key: &ForeignKeyDef,
        keys: &RecordBatch,
        max: usize,
    ) -> Result<Vec<Found>> {
        let values = foreign_key.referencing_values(table, keys)?;
        self.rows_with(table, foreign_key, &values, max).await
    }

    /// The rows that have one of some values in the columns of a constraint.
    async fn rows_with(
        &self,
        table: &Arc<Table>,
        foreign_key: &ForeignKeyDef,
        values: &RecordBatch,
        max: usize,
    ) -> Result<Vec<Found>> {
        let has_value = without_nulls(values);
        let wanted: Vec<u64> = positions(&has_value, true).collect();
        let values = take_record_batch(values, &UInt64Array::from(wanted.clone()))?;
        if values.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let encoder = Encoder::new(&values)?;
        let mut at: HashMap<Bytes, u64> = HashMap::with_capacity(wanted.len());
        for (bytes, of) in encoder.encode(&values)?.into_iter().zip(wanted) {
            at.entry(bytes).or_insert(of);
        }
        let filters = key_range_filter(&values)?;
        let session = self.view.catalog.session();
        let scan = TableScan::with_addresses(self.view.clone(), Arc::clone(table))?;
        let plan = scan.scan(session, None, &filters, None).await?;
        let columns: Vec<usize> = (0..table.schema.fields().len()).collect();
        let mut found = Vec::new();
        let mut count = 0;
        for partition in 0..plan.output_partitioning().partition_count() {
            let mut stream = plan.execute(partition, session.task_ctx())?;
            while let Some(batch) = stream.try_next().await? {
                let rows = batch.project(&columns)?;
                let keys = encoder.encode(&foreign_key.values(&rows)?)?;
                let of: Vec<Option<u64>> = keys.iter().map(|key| at.get(key).copied()).collect();
                let mask: BooleanArray = of.iter().map(|of| Some(of.is_some())).collect();
                if mask.true_count() == 0 {
                    continue;
                }
                let rows = filter_record_batch(&rows, &mask)?;
                let addresses = match table.codec.has_row_numbers() {
                    true => {
                        let number = batch.project(&[columns.len()])?;
                        let columns = filter_record_batch(&number, &mask)?.columns().to_vec();
                        RecordBatch::try_new(table.codec.address_schema(), columns)?
                    }
                    false => table.codec.project_key(&rows)?,
                };
                count += rows.num_rows();
                found.push(Found {
                    addresses,
                    rows,
                    of: of.into_iter().flatten().collect(),
                });
                if count >= max {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn referenced_table(&self, foreign_key: &ForeignKeyDef) -> Result<Arc<Table>> {
        match self.definitions().relation_by_oid(foreign_key.referenced) {
            Some(Relation::Table(table)) => Ok(Arc::clone(table)),
            _ => Err(CatalogError::corrupted(
                "the table that a foreign key references is not there",
            )),
        }
    }
}

/// Values of a constraint as bytes that are the same where the values are.
struct Encoder(arrow::row::RowConverter);

impl Encoder {
    fn new(values: &RecordBatch) -> Result<Self> {
        let schema = values.schema();
        let fields = schema.fields().iter();
        let fields = fields.map(|field| arrow::row::SortField::new(field.data_type().clone()));
        Ok(Self(arrow::row::RowConverter::new(fields.collect())?))
    }

    fn encode(&self, values: &RecordBatch) -> Result<Vec<Bytes>> {
        let rows = self.0.convert_columns(values.columns())?;
        Ok(rows.iter().map(|row| Bytes::from(row.as_ref())).collect())
    }
}

fn key_of(table: &Table, index: Oid) -> Result<KeyOf<'_>> {
    KeyOf::of(table, index).ok_or_else(|| {
        CatalogError::corrupted("the key that a foreign key references is not there")
    })
}

/// For each row, whether it has no NULL.
fn without_nulls(rows: &RecordBatch) -> Vec<bool> {
    let mut whole = vec![true; rows.num_rows()];
    for column in rows.columns() {
        if let Some(nulls) = column.logical_nulls() {
            for (whole, valid) in whole.iter_mut().zip(nulls.iter()) {
                *whole &= valid;
            }
        }
    }
    whole
}

fn positions(mask: &[bool], wanted: bool) -> impl Iterator<Item = u64> + '_ {
    let all = (0..).zip(mask);
    all.filter(move |(_, is)| **is == wanted).map(|(at, _)| at)
}

/// Keys as bytes, where they have no NULL.
fn key_bytes(key: &KeyOf<'_>, keys: &RecordBatch, whole: &[bool]) -> Result<Vec<Option<Bytes>>> {
    let wanted = UInt64Array::from_iter_values(positions(whole, true));
    let mut bytes = key.encode(&take_record_batch(keys, &wanted)?)?.into_iter();
    let bytes = whole.iter().map(|whole| match whole {
        true => bytes.next(),
        false => None,
    });
    Ok(bytes.collect())
}

/// The values that reference a row: those without NULL.
fn complete(
    table: &Table,
    foreign_key: &ForeignKeyDef,
    values: RecordBatch,
) -> Result<Option<RecordBatch>> {
    let whole = without_nulls(&values);
    if foreign_key.match_full {
        let mixed = |at: usize| values.columns().iter().any(|column| column.is_valid(at));
        if positions(&whole, false).map(|at| at as usize).any(mixed) {
            let name = &foreign_key.name;
            return Err(
                CatalogError::new(ErrorKind::ForeignKeyViolation, inserted(table, name))
                    .with_detail("MATCH FULL does not allow mixing of null and nonnull key values.")
                    .with_table(&table.def.name)
                    .with_constraint(name),
            );
        }
    }
    match whole.contains(&true) {
        true if whole.contains(&false) => Ok(Some(filter_record_batch(
            &values,
            &BooleanArray::from(whole),
        )?)),
        true => Ok(Some(values)),
        false => Ok(None),
    }
}

fn inserted(table: &Table, constraint: &str) -> String {
    format!(
        "insert or update on table \"{}\" violates foreign key constraint \"{constraint}\"",
        table.def.name
    )
}

/// 23503 for a row that references none.
fn violation(
    table: &Table,
    foreign_key: &ForeignKeyDef,
    referenced: &Table,
    values: &RecordBatch,
    at: usize,
) -> CatalogError {
    let schema = values.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names: Vec<_> = names.collect();
    let name = &foreign_key.name;
    CatalogError::new(ErrorKind::ForeignKeyViolation, inserted(table, name))
        .with_detail(format!(
            "Key ({})=({}) is not present in table \"{}\".",
            names.join(", "),
            row_text(values, at),
            referenced.def.name
        ))
        .with_table(&table.def.name)
        .with_constraint(name)
}

/// The referenced columns in the order of those that reference them.
fn referenced_names(key: &KeyOf<'_>, foreign_key: &ForeignKeyDef) -> String {
    let positions = key.positions();
    let names = foreign_key.places.iter().filter_map(|place| {
        let column = key.table().def.columns.get(*positions.get(*place)?)?;
        Some(column.name.as_str())
    });
    names.collect::<Vec<_>>().join(", ")
}
