//! `nextval`, `currval`, `lastval` and `setval`.
//!
//! They are bound to the session when a plan is made: what `currval` tells is the session's own. A sequence is found by its
//! name, as `regclass` would find it, or by its OID, which is how defaults name theirs. Values are taken at once, whatever
//! becomes of the transaction.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use nyala_catalog::Catalog;
use nyala_catalog::definitions::{Definitions, Oid, Relation};
use nyala_catalog::sequence::{Position, SequenceDef};
use parking_lot::Mutex;
use sqlparser::ast::{
    CastKind, DataType as AstType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
    VisitMut, visit_expressions_mut,
};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::names::split_name;
use crate::sql::names::{self, RelationName};

/// What a session remembers of the sequences it has taken values from.
#[derive(Debug, Default)]
pub struct SequenceMemory {
    values: HashMap<Oid, i64>,
    last: Option<Oid>,
}

impl SequenceMemory {
    /// DISCARD SEQUENCES.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What the functions need of their statement.
#[derive(Clone)]
pub struct SequenceContext {
    /// Who gives out values.
    pub catalog: Arc<Catalog>,
    /// What exists.
    pub definitions: Arc<Definitions>,
    /// Schemas that are searched.
    pub search_path: Vec<String>,
    /// What the session remembers.
    pub memory: Arc<Mutex<SequenceMemory>>,
    /// Whether the transaction only reads.
    pub read_only: bool,
}

impl std::fmt::Debug for SequenceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequenceContext").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Next,
    Current,
    Last,
    Set,
}

const FUNCTIONS: [(&str, Function); 4] = [
    ("nextval", Function::Next),
    ("currval", Function::Current),
    ("lastval", Function::Last),
    ("setval", Function::Set),
];

/// Whether a function is one of this file. What it computes has an effect, so that it is not computed more or less often
/// than it is written.
pub fn is_sequence_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

/// The function of that name, for one statement.
pub fn function(name: &str, context: impl FnOnce() -> SequenceContext) -> Option<Arc<ScalarUDF>> {
    let (name, function) = FUNCTIONS.into_iter().find(|(known, _)| *known == name)?;
    Some(Arc::new(ScalarUDF::from(Bound {
        name,
        function,
        context: context(),
        signature: Signature::one_of(
            vec![
                datafusion::logical_expr::TypeSignature::Nullary,
                datafusion::logical_expr::TypeSignature::VariadicAny,
            ],
            Volatility::Volatile,
        ),
    })))
}

/// A function, bound to a statement.
#[derive(Debug)]
struct Bound {
    name: &'static str,
    function: Function,
    context: SequenceContext,
    signature: Signature,
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function && Arc::ptr_eq(&self.context.memory, &other.context.memory)
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DataFusionResult<DataType> {
        let fits = match self.function {
            Function::Next | Function::Current => arguments.len() == 1,
            Function::Last => arguments.is_empty(),
            Function::Set => matches!(arguments.len(), 2 | 3),
        };
        match fits {
            true => Ok(DataType::Int64),
            false => Err(PgError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!(
                    "function {} does not take {} arguments",
                    self.name,
                    arguments.len()
                ),
            )
            .into()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let rows = arguments.number_rows;
        let values = self
            .context
            .evaluate(self.function, &arguments.args, rows)?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

impl SequenceContext {
    fn evaluate(
        &self,
        function: Function,
        arguments: &[ColumnarValue],
        rows: usize,
    ) -> Result<Int64Array> {
        let writes = match function {
            Function::Next => Some("nextval"),
            Function::Set => Some("setval"),
            Function::Current | Function::Last => None,
        };
        if let Some(name) = writes.filter(|_| self.read_only) {
            return Err(PgError::new(
                sqlstate::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {name}() in a read-only transaction"),
            ));
        }
        // All values of a batch at once: the usual case, a default.
        if let (Function::Next, [ColumnarValue::Scalar(name)]) = (function, arguments) {
            let name = name.to_array_of_size(1)?;
            return match self.named(&name, 0)? {
                None => Ok(Int64Array::new_null(rows)),
                Some(sequence) => Ok(Int64Array::from(self.next(sequence, rows)?)),
            };
        }
        let arguments = arguments
            .iter()
            .map(|argument| argument.to_array(rows))
            .collect::<DataFusionResult<Vec<_>>>()?;
        let mut values = Vec::with_capacity(rows);
        for at in 0..rows {
            let null = arguments.iter().any(|argument| is_null(argument, at));
            values.push(match null {
                true => None,
                false => Some(self.one(function, &arguments, at)?),
            });
        }
        Ok(Int64Array::from(values))
    }

    fn one(&self, function: Function, arguments: &[ArrayRef], at: usize) -> Result<i64> {
        let missing = || PgError::internal("a sequence function without its arguments");
        if function == Function::Last {
            return self.last();
        }
        let name = arguments.first().ok_or_else(missing)?;
        let sequence = self.named(name, at)?.ok_or_else(missing)?;
        match function {
            Function::Next => self.next(sequence, 1)?.pop().ok_or_else(missing),
            Function::Current => {
                let memory = self.memory.lock();
                memory.values.get(&sequence.oid).copied().ok_or_else(|| {
                    PgError::new(
                        sqlstate::NOT_IN_PREREQUISITE_STATE,
                        format!(
                            "currval of sequence \"{}\" is not yet defined in this session",
                            sequence.name
                        ),
                    )
                })
            }
            _ => {
                let last = cast(arguments.get(1).ok_or_else(missing)?, &DataType::Int64)?;
                let last = last.as_primitive::<Int64Type>().value(at);
                let is_called = match arguments.get(2) {
                    None => true,
                    Some(called) => cast(called, &DataType::Boolean)?.as_boolean().value(at),
                };
                let position = Position { last, is_called };
                self.catalog.set_position(sequence, position)?;
                if is_called {
                    self.memory.lock().values.insert(sequence.oid, last);
                }
                Ok(last)
            }
        }
    }

    fn next(&self, sequence: &SequenceDef, count: usize) -> Result<Vec<i64>> {
        let values = self.catalog.next_values(sequence, count)?;
        if let Some(last) = values.last() {
            let mut memory = self.memory.lock();
            memory.values.insert(sequence.oid, *last);
            memory.last = Some(sequence.oid);
        }
        Ok(values)
    }

    fn last(&self) -> Result<i64> {
        let memory = self.memory.lock();
        let exists = |oid: &Oid| self.definitions.relation_by_oid(*oid).is_some();
        let value = memory.last.filter(exists);
        let value = value.and_then(|oid| memory.values.get(&oid).copied());
        value.ok_or_else(|| {
            PgError::new(
                sqlstate::NOT_IN_PREREQUISITE_STATE,
                "lastval is not yet defined in this session",
            )
        })
    }

    /// The sequence that a row of an argument names; `None` for NULL.
    fn named(&self, names: &ArrayRef, at: usize) -> Result<Option<&SequenceDef>> {
        if is_null(names, at) {
            return Ok(None);
        }
        if names.data_type().is_integer() {
            let oids = cast(names, &DataType::Int64)?;
            let oid = Oid::try_from(oids.as_primitive::<Int64Type>().value(at));
            return self.by_oid(oid.unwrap_or_default()).map(Some);
        }
        let texts = cast(names, &DataType::Utf8View)?;
        let text = texts.as_string_view().value(at);
        match text.parse() {
            Ok(oid) => self.by_oid(oid).map(Some),
            Err(_) => find(&self.definitions, &self.search_path, text).map(Some),
        }
    }

    fn by_oid(&self, oid: Oid) -> Result<&SequenceDef> {
        match self.definitions.relation_by_oid(oid) {
            Some(relation) => sequence(relation),
            None => Err(PgError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("could not open relation with OID {oid}"),
            )),
        }
    }
}

/// An array of the type of NULL has no null buffer.
fn is_null(values: &ArrayRef, at: usize) -> bool {
    values.is_null(at) || *values.data_type() == DataType::Null
}

/// A sequence by the text of its name, as `regclass` reads it.
fn find<'a>(
    definitions: &'a Definitions,
    search_path: &[String],
    text: &str,
) -> Result<&'a SequenceDef> {
    let mut parts = split_name(text)?;
    let name = parts.pop().unwrap_or_default();
    let name = RelationName {
        schema: parts.pop(),
        name,
    };
    match names::find(definitions, search_path, &name)? {
        Some(relation) => sequence(relation),
        None => Err(names::undefined_relation(&name)),
    }
}

fn sequence(relation: &Relation) -> Result<&SequenceDef> {
    match relation {
        Relation::Sequence(def) => Ok(def),
        other => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a sequence", other.name()),
        )),
    }
}

/// Makes the constant names in calls of `nextval` and its like OIDs, so that a default finds its sequence whatever becomes of
/// names and of the search path.
pub fn pin(
    expr: &mut impl VisitMut,
    definitions: &Definitions,
    search_path: &[String],
) -> Result<()> {
    let pinned = visit_expressions_mut(expr, |part| {
        let Expr::Function(call) = part else {
            return std::ops::ControlFlow::Continue(());
        };
        let name = call.function_name();
        if !name.is_some_and(|name| is_sequence_function(&name)) {
            return std::ops::ControlFlow::Continue(());
        }
        call.name = sqlparser::ast::ObjectName::from(
            call.name
                .0
                .last()
                .and_then(|last| last.as_ident())
                .cloned()
                .into_iter()
                .collect::<Vec<_>>(),
        );
        if let FunctionArguments::List(list) = &mut call.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) =
                list.args.first_mut()
            && let Some(text) = constant_name(argument)
        {
            match find(definitions, search_path, &text) {
                Ok(sequence) => {
                    let oid = Value::Number(sequence.oid.to_string(), false);
                    *argument = Expr::Value(oid.into());
                }
                Err(error) => return std::ops::ControlFlow::Break(error),
            }
        }
        std::ops::ControlFlow::Continue(())
    });
    match pinned {
        std::ops::ControlFlow::Break(error) => Err(error),
        std::ops::ControlFlow::Continue(()) => Ok(()),
    }
}

trait FunctionName {
    /// Name without `pg_catalog`, as far as it has no other schema.
    fn function_name(&self) -> Option<String>;
}

impl FunctionName for sqlparser::ast::Function {
    fn function_name(&self) -> Option<String> {
        let parts: Vec<_> = self
            .name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .collect();
        match parts.as_slice() {
            [name] => Some(names::fold(name)),
            [schema, name] if names::fold(schema) == "pg_catalog" => Some(names::fold(name)),
            _ => None,
        }
    }
}

/// The text of a constant name, with or without a cast to `regclass`.
fn constant_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type: AstType::Regclass | AstType::Text,
            ..
        } => constant_name(expr),
        Expr::Nested(inner) => constant_name(inner),
        _ => None,
    }
}
