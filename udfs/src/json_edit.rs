//! Owns the functions that change a document: `jsonb_set`, `jsonb_insert`, `jsonb_strip_nulls`, `jsonb_pretty`, and what stands for
//! the operators `-` and `#-`.
//!
//! A document is read into a tree, changed there, and written in canonical form. Paths, positions and errors are those of
//! PostgreSQL's `jsonfuncs.c`: a negative position counts from the end, one outside an array is its nearest end where something is
//! put in and nothing where something is taken out, and a path that ends early leaves the document as it is.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::json_args::{
    argument, coerce_key, coerce_keys, coerce_text, result, rows_to_evaluate, text_column,
    text_list,
};
use crate::json_error::{
    INVALID_PARAMETER_VALUE, INVALID_TEXT_REPRESENTATION, JsonError, NULL_VALUE_NOT_ALLOWED,
};
use crate::json_node::{JsonNode, Member, compare_keys, write_string};
use crate::json_reader::JsonReader;
use crate::pg_type::{json_field, jsonb_field};

/// Blanks by which `jsonb_pretty` indents a level.
const INDENT: usize = 4;

/// What is done to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Edit {
    /// Puts a value in the place that a path names; the last argument tells whether also where there is none.
    Set,
    /// Puts a value beside the element, or as the member, that a path names.
    Insert,
    /// Takes out a key, an element, or all keys of a list.
    Delete,
    /// Takes out what a path names.
    DeletePath,
    /// Takes out members that are null.
    StripNulls,
    /// Prints with line breaks.
    Pretty,
}

/// One of the functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonEdit {
    name: &'static str,
    edit: Edit,
    signature: Signature,
}

impl JsonEdit {
    /// All functions of this file.
    pub fn all() -> [Self; 7] {
        [
            Self::new("jsonb_set", Edit::Set),
            Self::new("jsonb_insert", Edit::Insert),
            Self::delete(),
            Self::delete_path(),
            Self::new("jsonb_strip_nulls", Edit::StripNulls),
            Self::new("json_strip_nulls", Edit::StripNulls),
            Self::new("jsonb_pretty", Edit::Pretty),
        ]
    }

    /// `document - key`
    pub fn delete() -> Self {
        Self::new("jsonb_delete", Edit::Delete)
    }

    /// `document #- path`
    pub fn delete_path() -> Self {
        Self::new("jsonb_delete_path", Edit::DeletePath)
    }

    fn new(name: &'static str, edit: Edit) -> Self {
        Self {
            name,
            edit,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for JsonEdit {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(match self.name {
            "jsonb_pretty" => Field::new(self.name, DataType::Utf8View, true),
            "json_strip_nulls" => json_field(self.name, true),
            _ => jsonb_field(self.name, true),
        }))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let text = |given| coerce_text(self.name, given);
        Ok(match (self.edit, arg_types) {
            (Edit::Set | Edit::Insert, [document, path, value]) => {
                vec![text(document)?, coerce_keys(self.name, path)?, text(value)?]
            }
            (Edit::Set | Edit::Insert, [document, path, value, _]) => {
                let path = coerce_keys(self.name, path)?;
                vec![text(document)?, path, text(value)?, DataType::Boolean]
            }
            (Edit::Delete, [document, key]) => {
                let key = match key {
                    DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                        coerce_keys(self.name, key)?
                    }
                    _ => coerce_key(self.name, key)?,
                };
                vec![text(document)?, key]
            }
            (Edit::DeletePath, [document, path]) => {
                vec![text(document)?, coerce_keys(self.name, path)?]
            }
            (Edit::StripNulls | Edit::Pretty, [document]) => vec![text(document)?],
            _ => return plan_err!("function {} does not take these arguments", self.name),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = rows_to_evaluate(&args);
        let documents = text_column(&args, 0, rows)?;
        let arguments = Arguments::of(self.edit, &args, rows)?;
        let mut changed = StringViewBuilder::with_capacity(rows);
        let mut text = String::new();
        for (row, document) in documents.iter().enumerate() {
            let change = arguments.of_row(row)?;
            let (Some(document), Some(change)) = (document, change) else {
                changed.append_null();
                continue;
            };
            text.clear();
            self.write(document, &change, &mut text)
                .map_err(|error| error.in_row(row))?;
            changed.append_value(&text);
        }
        result(&args, Arc::new(changed.finish()))
    }
}

impl JsonEdit {
    /// Appends the changed document.
    fn write(
        &self,
        document: &str,
        change: &Change<'_>,
        out: &mut String,
    ) -> Result<(), JsonError> {
        if self.name == "json_strip_nulls" {
            let mut reader = JsonReader::new(document);
            strip_text(&mut reader, 0, out)?;
            return reader.finish();
        }
        let mut node = JsonNode::parse(document)?;
        match change {
            Change::Put { path, value, flag } => {
                let put = Put {
                    value: JsonNode::parse(value)?,
                    insert: self.edit == Edit::Insert,
                    flag: *flag,
                };
                if is_scalar(&node) {
                    return Err(refused("cannot set path in scalar"));
                }
                put.at(&mut node, path, 0)?;
            }
            Change::DeleteKeys(keys) => delete_keys(&mut node, keys)?,
            Change::DeleteAt(position) => delete_element(&mut node, *position)?,
            Change::DeletePath(path) => {
                if is_scalar(&node) {
                    return Err(refused("cannot delete path in scalar"));
                }
                delete_path(&mut node, path, 0)?;
            }
            Change::None if self.edit == Edit::Pretty => {
                pretty(&node, 0, out);
                return Ok(());
            }
            Change::None => strip_nulls(&mut node),
        }
        node.write(out);
        Ok(())
    }
}

/// What one row asks for.
enum Change<'a> {
    Put {
        path: Vec<Option<String>>,
        value: &'a str,
        flag: bool,
    },
    DeleteKeys(Vec<Option<String>>),
    DeleteAt(i64),
    DeletePath(Vec<Option<String>>),
    None,
}

/// The arguments behind the document, by row.
struct Arguments {
    edit: Edit,
    second: Option<ArrayRef>,
    values: Option<StringViewArray>,
    flags: Option<ArrayRef>,
}

impl Arguments {
    fn of(edit: Edit, args: &ScalarFunctionArgs, rows: usize) -> Result<Self> {
        let column = |position| match args.args.len() > position {
            true => argument(args, position)?.to_array(rows).map(Some),
            false => Ok(None),
        };
        let is_put = matches!(edit, Edit::Set | Edit::Insert);
        Ok(Self {
            edit,
            second: column(1)?,
            values: is_put.then(|| text_column(args, 2, rows)).transpose()?,
            flags: if is_put { column(3)? } else { None },
        })
    }

    /// What is asked for in a row; `None` where an argument is NULL.
    fn of_row(&self, row: usize) -> Result<Option<Change<'_>>> {
        let Some(second) = &self.second else {
            return Ok(Some(Change::None));
        };
        Ok(match self.edit {
            Edit::Set | Edit::Insert => {
                let values = self.values.as_ref();
                let values = values.ok_or_else(|| exec_datafusion_err!("the value is missing"))?;
                let flag = match &self.flags {
                    // A value that is not there is put in; it is put in front of an element.
                    None => Some(self.edit == Edit::Set),
                    Some(flags) => flags
                        .as_boolean_opt()
                        .filter(|flags| flags.is_valid(row))
                        .map(|flags| flags.value(row)),
                };
                match (text_list(second, row)?, flag) {
                    (Some(path), Some(flag)) if values.is_valid(row) => Some(Change::Put {
                        path,
                        value: values.value(row),
                        flag,
                    }),
                    _ => None,
                }
            }
            Edit::Delete => match second.as_primitive_opt::<Int64Type>() {
                Some(positions) => positions
                    .is_valid(row)
                    .then(|| Change::DeleteAt(positions.value(row))),
                None => match second.data_type() {
                    DataType::List(_) => text_list(second, row)?.map(Change::DeleteKeys),
                    _ => {
                        let keys = second.as_string_view_opt();
                        let key = keys.filter(|keys| keys.is_valid(row));
                        key.map(|keys| Change::DeleteKeys(vec![Some(keys.value(row).to_string())]))
                    }
                },
            },
            Edit::DeletePath => text_list(second, row)?.map(Change::DeletePath),
            Edit::StripNulls | Edit::Pretty => Some(Change::None),
        })
    }
}

fn refused(message: &str) -> JsonError {
    JsonError {
        message: message.to_string(),
        detail: String::new(),
        sqlstate: INVALID_PARAMETER_VALUE,
    }
}

fn is_scalar(node: &JsonNode<'_>) -> bool {
    !matches!(node, JsonNode::Array(_) | JsonNode::Object(_))
}

/// A step of a path; NULL is none.
fn step(path: &[Option<String>], level: usize) -> Result<Option<&str>, JsonError> {
    match path.get(level) {
        None => Ok(None),
        Some(Some(step)) => Ok(Some(step)),
        Some(None) => Err(JsonError {
            message: format!("path element at position {} is null", level + 1),
            detail: String::new(),
            sqlstate: NULL_VALUE_NOT_ALLOWED,
        }),
    }
}

/// The position that a step names in an array.
fn position(step: &str, level: usize) -> Result<i64, JsonError> {
    step.trim().parse().map_err(|_| JsonError {
        message: format!(
            "path element at position {} is not an integer: \"{step}\"",
            level + 1
        ),
        detail: String::new(),
        sqlstate: INVALID_TEXT_REPRESENTATION,
    })
}

/// Where an element is whose position may count from the end; `Err` tells on which side it would be.
fn index(position: i64, length: usize) -> std::result::Result<usize, Side> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if position < 0 {
        position.saturating_add(length)
    } else {
        position
    };
    if at < 0 {
        return Err(Side::Front);
    }
    if at >= length {
        return Err(Side::Back);
    }
    usize::try_from(at).map_err(|_| Side::Back)
}

enum Side {
    Front,
    Back,
}

fn member_at(members: &[Member<'_>], key: &str) -> std::result::Result<usize, usize> {
    members.binary_search_by(|member| compare_keys(&member.key, key))
}

/// A value to be put at the end of a path.
struct Put<'a> {
    value: JsonNode<'a>,
    insert: bool,
    /// Of a value that is set: whether also where there is none. Of one that is inserted: whether behind the element.
    flag: bool,
}

impl<'a> Put<'a> {
    fn at(
        &self,
        node: &mut JsonNode<'a>,
        path: &[Option<String>],
        level: usize,
    ) -> Result<(), JsonError> {
        let Some(step) = step(path, level)? else {
            return Ok(());
        };
        let last = level + 1 == path.len();
        match node {
            JsonNode::Object(members) => match (member_at(members, step), last) {
                (Ok(_), true) if self.insert => Err(JsonError {
                    detail: "Try using the function jsonb_set to replace key value.".to_string(),
                    ..refused("cannot replace existing key")
                }),
                (Ok(at), true) => {
                    if let Some(member) = members.get_mut(at) {
                        member.value = self.value.clone();
                    }
                    Ok(())
                }
                (Ok(at), false) => match members.get_mut(at) {
                    Some(member) => self.at(&mut member.value, path, level + 1),
                    None => Ok(()),
                },
                (Err(at), true) if self.insert || self.flag => {
                    let member = Member {
                        key: Cow::Owned(step.to_string()),
                        value: self.value.clone(),
                    };
                    members.insert(at, member);
                    Ok(())
                }
                (Err(_), _) => Ok(()),
            },
            JsonNode::Array(elements) => {
                let found = index(position(step, level)?, elements.len());
                match (found, last) {
                    (Ok(at), true) if self.insert => {
                        elements.insert(at + usize::from(self.flag), self.value.clone());
                    }
                    (Ok(at), true) => {
                        if let Some(element) = elements.get_mut(at) {
                            *element = self.value.clone();
                        }
                    }
                    (Ok(at), false) => {
                        if let Some(element) = elements.get_mut(at) {
                            self.at(element, path, level + 1)?;
                        }
                    }
                    (Err(side), true) if self.insert || self.flag => match side {
                        Side::Front => elements.insert(0, self.value.clone()),
                        Side::Back => elements.push(self.value.clone()),
                    },
                    (Err(_), _) => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn delete_keys(node: &mut JsonNode<'_>, keys: &[Option<String>]) -> Result<(), JsonError> {
    let named = |name: &str| keys.iter().flatten().any(|key| key == name);
    match node {
        JsonNode::Object(members) => members.retain(|member| !named(&member.key)),
        JsonNode::Array(elements) => {
            elements.retain(|element| !matches!(element, JsonNode::String(text) if named(text)));
        }
        _ => return Err(refused("cannot delete from scalar")),
    }
    Ok(())
}

fn delete_element(node: &mut JsonNode<'_>, position: i64) -> Result<(), JsonError> {
    match node {
        JsonNode::Array(elements) => {
            if let Ok(at) = index(position, elements.len()) {
                elements.remove(at);
            }
            Ok(())
        }
        JsonNode::Object(_) => Err(refused("cannot delete from object using integer index")),
        _ => Err(refused("cannot delete from scalar")),
    }
}

fn delete_path(
    node: &mut JsonNode<'_>,
    path: &[Option<String>],
    level: usize,
) -> Result<(), JsonError> {
    let Some(step) = step(path, level)? else {
        return Ok(());
    };
    let last = level + 1 == path.len();
    match node {
        JsonNode::Object(members) => {
            let Ok(at) = member_at(members, step) else {
                return Ok(());
            };
            if last {
                members.remove(at);
            } else if let Some(member) = members.get_mut(at) {
                delete_path(&mut member.value, path, level + 1)?;
            }
        }
        JsonNode::Array(elements) => {
            let Ok(at) = index(position(step, level)?, elements.len()) else {
                return Ok(());
            };
            if last {
                elements.remove(at);
            } else if let Some(element) = elements.get_mut(at) {
                delete_path(element, path, level + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn strip_nulls(node: &mut JsonNode<'_>) {
    match node {
        JsonNode::Object(members) => {
            members.retain(|member| member.value != JsonNode::Null);
            members
                .iter_mut()
                .for_each(|member| strip_nulls(&mut member.value));
        }
        JsonNode::Array(elements) => elements.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Appends a value as `json_strip_nulls` prints it: its members in their order, without any blanks.
fn strip_text(
    reader: &mut JsonReader<'_>,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    match reader.peek() {
        Some(b'[') => {
            out.push('[');
            let mut more = reader.enter(depth)?.begin_array()?;
            while more {
                strip_text(reader, depth + 1, out)?;
                more = reader.next_element()?;
                if more {
                    out.push(',');
                }
            }
            out.push(']');
        }
        Some(b'{') => {
            out.push('{');
            let mut first = true;
            let mut more = reader.enter(depth)?.begin_object()?;
            while more {
                let key = reader.key()?;
                if reader.peek() == Some(b'n') {
                    reader.skip_value(depth + 1)?;
                } else {
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    write_string(&key, out);
                    out.push(':');
                    strip_text(reader, depth + 1, out)?;
                }
                more = reader.next_member()?;
            }
            out.push('}');
        }
        _ => {
            let start = reader.position();
            reader.skip_value(depth)?;
            out.push_str(reader.slice(start, reader.position()));
        }
    }
    Ok(())
}

/// Appends a document with one member or element on each line.
fn pretty(node: &JsonNode<'_>, level: usize, out: &mut String) {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level * INDENT));
    };
    match node {
        JsonNode::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                pretty(element, level + 1, out);
            }
            line(level, out);
            out.push(']');
        }
        JsonNode::Object(members) => {
            out.push('{');
            for (at, member) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                write_string(&member.key, out);
                out.push_str(": ");
                pretty(&member.value, level + 1, out);
            }
            line(level, out);
            out.push('}');
        }
        scalar => scalar.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[&str]) -> Vec<Option<String>> {
        steps.iter().map(|step| Some(step.to_string())).collect()
    }

    fn put(function: &str, document: &str, steps: &[&str], value: &str, flag: bool) -> String {
        let change = Change::Put {
            path: path(steps),
            value,
            flag,
        };
        changed(function, document, &change).unwrap()
    }

    fn changed(function: &str, document: &str, change: &Change<'_>) -> Result<String, JsonError> {
        let mut all = JsonEdit::all().into_iter();
        let edit = all.find(|edit| edit.name == function).unwrap();
        let mut out = String::new();
        edit.write(document, change, &mut out)?;
        Ok(out)
    }

    #[test]
    fn values_are_set() {
        let set = |document, steps: &[&str], flag| put("jsonb_set", document, steps, "9", flag);
        assert_eq!(
            set(r#"{"a": {"b": 1}}"#, &["a", "b"], true),
            r#"{"a": {"b": 9}}"#
        );
        assert_eq!(set(r#"{"b": 1}"#, &["a"], true), r#"{"a": 9, "b": 1}"#);
        assert_eq!(set(r#"{"b": 1}"#, &["a"], false), r#"{"b": 1}"#);
        assert_eq!(set(r#"{"b": 1}"#, &["a", "c"], true), r#"{"b": 1}"#);
        assert_eq!(set("[1, 2]", &["-1"], true), "[1, 9]");
        assert_eq!(set("[1, 2]", &["7"], true), "[1, 2, 9]");
        assert_eq!(set("[1, 2]", &["-7"], true), "[9, 1, 2]");
        assert_eq!(set("[1, 2]", &[], true), "[1, 2]");
    }

    #[test]
    fn values_are_inserted() {
        let insert =
            |document, steps: &[&str], behind| put("jsonb_insert", document, steps, "9", behind);
        assert_eq!(insert("[1, 2]", &["1"], false), "[1, 9, 2]");
        assert_eq!(insert("[1, 2]", &["1"], true), "[1, 2, 9]");
        assert_eq!(
            insert(r#"{"a": [1]}"#, &["a", "0"], false),
            r#"{"a": [9, 1]}"#
        );
        assert_eq!(insert("{}", &["a"], false), r#"{"a": 9}"#);
        let twice = Change::Put {
            path: path(&["a"]),
            value: "9",
            flag: false,
        };
        let error = changed("jsonb_insert", r#"{"a": 1}"#, &twice).unwrap_err();
        assert_eq!(error.message, "cannot replace existing key");
    }

    #[test]
    fn members_and_elements_are_taken_out() {
        let keys = |document, keys: &[&str]| {
            changed("jsonb_delete", document, &Change::DeleteKeys(path(keys)))
        };
        assert_eq!(
            keys(r#"{"a": 1, "b": 2}"#, &["a", "x"]).unwrap(),
            r#"{"b": 2}"#
        );
        assert_eq!(keys(r#"["a", 1, "b"]"#, &["a"]).unwrap(), r#"[1, "b"]"#);
        assert_eq!(keys("1", &["a"]).unwrap_err().sqlstate, "22023");
        let at = |document, at| changed("jsonb_delete", document, &Change::DeleteAt(at));
        assert_eq!(at("[1, 2, 3]", -1).unwrap(), "[1, 2]");
        assert_eq!(at("[1]", 5).unwrap(), "[1]");
        assert!(at("{}", 0).is_err());
        let by_path = |document, steps: &[&str]| {
            changed(
                "jsonb_delete_path",
                document,
                &Change::DeletePath(path(steps)),
            )
        };
        assert_eq!(
            by_path(r#"{"a": [1, {"b": 2}]}"#, &["a", "1", "b"]).unwrap(),
            r#"{"a": [1, {}]}"#
        );
        assert_eq!(by_path(r#"{"a": 1}"#, &["a", "b"]).unwrap(), r#"{"a": 1}"#);
        let error = by_path("[1]", &["x"]).unwrap_err();
        assert_eq!(error.sqlstate, INVALID_TEXT_REPRESENTATION);
    }

    #[test]
    fn nulls_are_stripped_and_documents_printed() {
        let document = r#"{"b": null, "a": [null, {"c": null}]}"#;
        let stripped = changed("jsonb_strip_nulls", document, &Change::None);
        assert_eq!(stripped.unwrap(), r#"{"a": [null, {}]}"#);
        let stripped = changed("json_strip_nulls", document, &Change::None);
        assert_eq!(stripped.unwrap(), r#"{"a":[null,{}]}"#);
        let stripped = changed(
            "json_strip_nulls",
            r#"{"b": 1, "n": null, "a" : "x"}"#,
            &Change::None,
        );
        assert_eq!(stripped.unwrap(), r#"{"b":1,"a":"x"}"#);
        let printed = changed("jsonb_pretty", r#"{"a": [1], "b": {}}"#, &Change::None);
        let expected = "{\n    \"a\": [\n        1\n    ],\n    \"b\": {\n    }\n}";
        assert_eq!(printed.unwrap(), expected);
    }
}
