//! COPY: what a statement's options and names mean. The bytes are [`crate::pgwire::copy_format`]'s.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use nyala_catalog::Part;
use nyala_catalog::definitions::{Relation, Table};
use nyala_catalog::types::SqlType;
use sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Ident, ObjectName,
    Query, Statement,
};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::copy_format::{
    CopyError, CopyFormat, CopyOptions, Direction, ForceColumns, Header,
};
use crate::sql::planner::Planner;
use crate::sql::{casts, checks, dml, names, parse, query};

/// Internal name of as many rows as a batch of data has.
const COPIED: &str = "copied";

impl From<CopyError> for PgError {
    fn from(error: CopyError) -> Self {
        Self {
            context: error.context,
            ..Self::from(error.error)
        }
    }
}

/// COPY … FROM STDIN, ready to take data.
pub struct CopyFrom {
    /// The table.
    pub table: Arc<Table>,
    /// Positions of the columns that the data has, in its order.
    pub columns: Vec<usize>,
    /// How the data is written.
    pub options: CopyOptions,
}

/// COPY … TO STDOUT.
pub struct CopyTo {
    /// What to copy.
    pub query: Box<Query>,
    /// How to write it.
    pub options: CopyOptions,
}

/// A COPY statement.
pub enum Copy {
    /// FROM STDIN.
    From(CopyFrom),
    /// TO STDOUT.
    To(CopyTo),
}

/// Reads a COPY statement.
pub fn analyse(planner: &Planner, statement: &Statement) -> Result<Copy> {
    let Statement::Copy {
        source,
        to,
        target,
        options,
        legacy_options,
        ..
    } = statement
    else {
        return Err(PgError::internal("not a COPY statement"));
    };
    match target {
        CopyTarget::Stdin | CopyTarget::Stdout => {}
        CopyTarget::File { .. } | CopyTarget::Program { .. } => {
            return Err(PgError::new(
                "42501",
                "COPY to or from files of the server is not supported",
            )
            .with_hint("Use STDIN and STDOUT; psql's \\copy command does so."));
        }
    }
    let options = copy_options(options, legacy_options)?;
    match (to, source) {
        (false, CopySource::Query(_)) => {
            Err(PgError::syntax("COPY query cannot be used with FROM"))
        }
        (
            false,
            CopySource::Table {
                table_name,
                columns,
            },
        ) => {
            let table = target_table(planner, table_name)?;
            let columns = column_positions(&table, columns)?;
            let names = column_names(&table, &columns);
            options.validate(Direction::From, &names)?;
            Ok(Copy::From(CopyFrom {
                table,
                columns,
                options,
            }))
        }
        (true, CopySource::Query(query)) => {
            let query = query.clone();
            Ok(Copy::To(CopyTo { query, options }))
        }
        (
            true,
            CopySource::Table {
                table_name,
                columns,
            },
        ) => {
            let name = names::relation_name(table_name, &planner.database)?;
            if let Some((Relation::View(_), _)) = planner.find_relation(&name)? {
                return Err(PgError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("cannot copy from view \"{name}\""),
                )
                .with_hint("Try the COPY (SELECT ...) TO variant."));
            }
            let list = match columns.as_slice() {
                [] => "*".to_string(),
                columns => {
                    let quoted: Vec<_> = columns.iter().map(ToString::to_string).collect();
                    quoted.join(", ")
                }
            };
            let query = parse::parse_query(&format!("SELECT {list} FROM {table_name}"))?;
            Ok(Copy::To(CopyTo { query, options }))
        }
    }
}

fn target_table(planner: &Planner, name: &ObjectName) -> Result<Arc<Table>> {
    let name = names::relation_name(name, &planner.database)?;
    match planner.find_relation(&name)? {
        Some((Relation::Table(table), _)) if table.def.materialized.is_some() => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("cannot copy to materialized view \"{}\"", table.def.name),
        )),
        Some((Relation::Table(table), Part::All)) => Ok(Arc::clone(table)),
        Some(_) => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("cannot copy to \"{name}\""),
        )
        .with_detail("Only tables take rows.")),
        None => Err(names::undefined_relation(&name)),
    }
}

fn column_positions(table: &Table, columns: &[Ident]) -> Result<Vec<usize>> {
    if columns.is_empty() {
        return Ok((0..table.def.columns.len()).collect());
    }
    let mut positions = Vec::with_capacity(columns.len());
    for column in columns {
        let name = names::fold(column);
        let at = table
            .def
            .columns
            .iter()
            .position(|column| column.name == name);
        let at = at.ok_or_else(|| {
            PgError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!(
                    "column \"{name}\" of relation \"{}\" does not exist",
                    table.def.name
                ),
            )
        })?;
        if positions.contains(&at) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        positions.push(at);
    }
    Ok(positions)
}

fn column_names(table: &Table, positions: &[usize]) -> Vec<String> {
    let columns = positions.iter().filter_map(|at| table.def.columns.get(*at));
    columns.map(|column| column.name.clone()).collect()
}

impl CopyFrom {
    /// Names and types of the data's columns.
    pub fn columns(&self) -> Vec<(String, SqlType)> {
        let columns = self
            .columns
            .iter()
            .filter_map(|at| self.table.def.columns.get(*at));
        columns
            .map(|column| (column.name.clone(), column.ty.clone()))
            .collect()
    }
}

/// Values of the columns that the data of a COPY does not have.
pub struct Defaults {
    /// One row with the default of each column of the table.
    row: RecordBatch,
    /// Columns whose default is another for each row, and are not in the data.
    volatile: Vec<usize>,
}

impl Defaults {
    /// Evaluates the defaults once for the whole statement.
    pub async fn evaluate(planner: &mut Planner, copy: &CopyFrom) -> Result<Self> {
        let table = copy.table.as_ref();
        checks::prepare(planner, table)?;
        let mut volatile = Vec::new();
        for (at, column) in table.def.columns.iter().enumerate() {
            let Some(default) = column.default.as_deref() else {
                continue;
            };
            let given = copy.columns.contains(&at);
            if given
                || planner
                    .expression(default, &DFSchema::empty())?
                    .is_volatile()
            {
                volatile.push(at);
            }
        }
        let items: Vec<String> = table
            .def
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let default = column
                    .default
                    .as_deref()
                    .filter(|_| !volatile.contains(&at));
                let default = default.unwrap_or("NULL");
                format!("({default}) AS \"$column{at}\"")
            })
            .collect();
        let query = parse::parse_query(&format!("SELECT {}", items.join(", ")))?;
        let (schema, batches) = query::collect(planner, &query).await?;
        let row = arrow::compute::concat_batches(&schema, &batches)?;
        volatile.retain(|at| !copy.columns.contains(at));
        Ok(Self { row, volatile })
    }

    /// The defaults that are others for each row, for so many rows.
    async fn of_rows(
        &self,
        planner: &mut Planner,
        table: &Table,
        rows: usize,
    ) -> Result<HashMap<usize, (ArrayRef, FieldRef)>> {
        if self.volatile.is_empty() || rows == 0 {
            return Ok(HashMap::new());
        }
        let fields = vec![Field::new("n", DataType::Null, true)];
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let nulls = new_null_array(&DataType::Null, rows);
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![nulls])?;
        planner.add_transient(COPIED, vec![batch], schema)?;
        let items = self.volatile.iter().map(|at| {
            let default = dml::insert::default_of(table, *at)?;
            Ok(dml::aliased(default, &format!("$column{at}")))
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        let from = vec![dml::internal_table(COPIED, &dml::quoted(COPIED))?];
        let query = dml::select(items, from, None)?;
        let (schema, batches) = query::collect(planner, &query).await?;
        let values = arrow::compute::concat_batches(&schema, &batches)?;
        let columns = values.columns().iter().zip(schema.fields());
        let columns = columns.map(|(values, field)| (Arc::clone(values), Arc::clone(field)));
        Ok(self.volatile.iter().copied().zip(columns).collect())
    }

    /// The full rows of a batch of data: other columns get their defaults.
    pub async fn rows(
        &self,
        planner: &mut Planner,
        copy: &CopyFrom,
        data: &RecordBatch,
    ) -> Result<RecordBatch> {
        let table = &copy.table;
        let volatile = self.of_rows(planner, table, data.num_rows()).await?;
        let mut columns = Vec::with_capacity(table.def.columns.len());
        for (at, column) in table.def.columns.iter().enumerate() {
            let given = copy.columns.iter().position(|given| *given == at);
            let values = match given.and_then(|slot| data.columns().get(slot)) {
                Some(values) => Arc::clone(values),
                None if volatile.contains_key(&at) => match volatile.get(&at) {
                    Some((values, field)) => {
                        let (input, format) = (&planner.input, &planner.format);
                        casts::assign(values, field, &column.ty, input, format)?
                    }
                    None => return Err(PgError::internal("column without a default")),
                },
                None if column.default.is_some() => {
                    let schema = self.row.schema();
                    let (Some(value), Some(field)) =
                        (self.row.columns().get(at), schema.fields().get(at))
                    else {
                        return Err(PgError::internal("column without a default"));
                    };
                    let (input, format) = (&planner.input, &planner.format);
                    let value = casts::assign(value, field, &column.ty, input, format)?;
                    let repeat = arrow::array::UInt32Array::from(vec![0; data.num_rows()]);
                    arrow::compute::take(&value, &repeat, None)?
                }
                None => new_null_array(&column.ty.arrow_type(), data.num_rows()),
            };
            columns.push(values);
        }
        let fields: Vec<_> = table
            .schema
            .fields()
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

fn copy_options(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyOptions> {
    let mut parsed = CopyOptions::default();
    let single = |name: &str, character: &char| {
        CopyOptions::single_byte(name, &character.to_string()).map_err(PgError::from)
    };
    let force = |columns: &[Ident]| match columns {
        [] => ForceColumns::All,
        [all] if all.value == parse::ALL_COLUMNS => ForceColumns::All,
        columns => ForceColumns::Named(columns.iter().map(names::fold).collect()),
    };
    for option in options {
        match option {
            CopyOption::Format(format) => match names::fold(format).as_str() {
                "text" => parsed.format = CopyFormat::Text,
                "csv" => parsed.format = CopyFormat::Csv,
                "binary" => parsed.format = CopyFormat::Binary,
                other => {
                    return Err(PgError::new(
                        sqlstate::INVALID_PARAMETER_VALUE,
                        format!("COPY format \"{other}\" not recognized"),
                    ));
                }
            },
            // It spares a later VACUUM its work; there is none here to spare.
            CopyOption::Freeze(_) => {}
            CopyOption::Delimiter(character) => {
                parsed.delimiter = Some(single("delimiter", character)?);
            }
            CopyOption::Null(text) => parsed.null = Some(text.clone()),
            CopyOption::Header(true) => parsed.header = Header::Yes,
            CopyOption::Header(false) => parsed.header = Header::No,
            CopyOption::Quote(character) => parsed.quote = Some(single("quote", character)?),
            CopyOption::Escape(character) => parsed.escape = Some(single("escape", character)?),
            CopyOption::ForceQuote(columns) => parsed.force_quote = force(columns),
            CopyOption::ForceNotNull(columns) => parsed.force_not_null = force(columns),
            CopyOption::ForceNull(columns) => parsed.force_null = force(columns),
            CopyOption::Encoding(name) => CopyOptions::check_encoding(name)?,
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Delimiter(character) => {
                parsed.delimiter = Some(single("delimiter", character)?);
            }
            CopyLegacyOption::Null(text) => parsed.null = Some(text.clone()),
            CopyLegacyOption::Binary => parsed.format = CopyFormat::Binary,
            CopyLegacyOption::Header => parsed.header = Header::Yes,
            CopyLegacyOption::Csv(options) => {
                parsed.format = CopyFormat::Csv;
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => parsed.header = Header::Yes,
                        CopyLegacyCsvOption::Quote(character) => {
                            parsed.quote = Some(single("quote", character)?);
                        }
                        CopyLegacyCsvOption::Escape(character) => {
                            parsed.escape = Some(single("escape", character)?);
                        }
                        CopyLegacyCsvOption::ForceQuote(columns) => {
                            parsed.force_quote = force(columns);
                        }
                        CopyLegacyCsvOption::ForceNotNull(columns) => {
                            parsed.force_not_null = force(columns);
                        }
                    }
                }
            }
            other => {
                return Err(PgError::unsupported(format!(
                    "COPY option {other} is not supported"
                )));
            }
        }
    }
    Ok(parsed)
}
