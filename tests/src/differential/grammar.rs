//! Expressions, drawn from templates by the type of their result.
//!
//! A template is SQL with `{…}` where something is drawn: a type's placeholder stands for an expression of that type,
//! the other words are read in [`Generator::placeholder`].

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::tree::{Role, Tree};
use super::types::Type;

/// Expressions and subqueries of a statement.
const SIZE: i32 = 60;

/// Templates by the type of what they give.
type Templates = [(Type, &'static [&'static str])];

/// Templates of expressions of one row.
const SCALARS: &Templates = &[
    (
        Type::Integer,
        &[
            "({int} + {int})",
            "({int} - {int})",
            "({int} * {small})",
            "({int} / nullif({int}, 0))",
            "({int} % nullif({int}, 0))",
            "(- {int})",
            "abs({int})",
            "length({text})",
            "strpos({text}, {text})",
            "ascii({text})",
            "({date} - {date})",
            "extract(day FROM {date})::integer",
            "date_part('month', {ts})::integer",
            "cardinality({ints})",
            "array_length({ints}, 1)",
            "({ints})[{small}]",
            "({bool})::integer",
            "round({num})::integer",
            "sign({int})::integer",
            "array_position({ints}, {int})",
            "num_nulls({int}, {text}, {date})",
        ],
    ),
    (
        Type::Bigint,
        &[
            "({int})::bigint",
            "({big} + {int})",
            "({big} - {big})",
            "({big} * {small})",
            "({big} / nullif({int}, 0))",
            "abs({big})",
            "mod({big}, 3::bigint)",
        ],
    ),
    (
        Type::Numeric,
        &[
            "({int})::numeric",
            "({num} + {num})",
            "({num} - {int})",
            "({num} * {num})",
            "({num} / nullif({num}, 0))",
            "round({num}, 1)",
            "trunc({num})",
            "ceil({num})",
            "floor({num})",
            "abs({num})",
            "(- {num})",
            "({num} % nullif({num}, 0))",
            "round(({float})::numeric, 2)",
        ],
    ),
    (
        Type::Float,
        &[
            "({int})::double precision",
            "({float} + {float})",
            "({float} * {float})",
            "({float} - {int})",
            "({num})::double precision",
            "sqrt(abs({float}))",
            "(- {float})",
            "floor({float})",
            "({float} / nullif({float}, 0))",
        ],
    ),
    (
        Type::Text,
        &[
            "({text} || {text})",
            "upper({text})",
            "lower({text})",
            "left({text}, {small})",
            "right({text}, {small})",
            "substr({text}, {small}, 2)",
            "({int})::text",
            "({bool})::text",
            "({date})::text",
            "({ts})::text",
            "({ints})::text",
            "replace({text}, 'a', {text})",
            "btrim({text})",
            "lpad({text}, 4, '*')",
            "concat({text}, {int}, {bool})",
            "concat_ws('-', {text}, {date}, {text})",
            "reverse({text})",
            "split_part({text}, 'b', 1)",
            "initcap({text})",
            "repeat({text}, 2)",
            "to_char({date}, 'YYYY-MM-DD')",
            "format('%s/%s', {text}, {int})",
            "({text} || {int})",
            "array_to_string({ints}, ',', '*')",
            "translate({text}, 'ab', 'xy')",
            "overlay({text} placing 'Z' from 1 for 1)",
            "regexp_replace({text}, '[ab]', '_')",
        ],
    ),
    (
        Type::Boolean,
        &[
            "({int} {cmp} {int})",
            "({int} {cmp} {big})",
            "({int} {cmp} {num})",
            "({text} {cmp} {text})",
            "({num} {cmp} {num})",
            "({date} {cmp} {date})",
            "({date} {cmp} {ts})",
            "({ts} {cmp} {ts})",
            "({float} {cmp} {float})",
            "({bool} {cmp} {bool})",
            "({ints} {cmp} {ints})",
            "({any} IS NULL)",
            "({any} IS NOT NULL)",
            "({int} IS DISTINCT FROM {int})",
            "({text} IS NOT DISTINCT FROM {text})",
            "({bool} IS TRUE)",
            "({bool} IS NOT FALSE)",
            "({bool} IS UNKNOWN)",
            "({bool} AND {bool})",
            "({bool} OR {bool})",
            "(NOT {bool})",
            "({int} BETWEEN {int} AND {int})",
            "({num} NOT BETWEEN {int} AND {num})",
            "({date} BETWEEN {date} AND {date})",
            "({int} IN ({int}, {int}, {int}))",
            "({text} NOT IN ({text}, {text}))",
            "({text} LIKE {pattern})",
            "({text} NOT ILIKE {pattern})",
            "({text} ~ {pattern})",
            "starts_with({text}, {text})",
            "({int} = ANY ({ints}))",
            "({int} {cmp} ALL ({ints}))",
            "({ints} @> {ints})",
            "({ints} && {ints})",
            "(({int}, {text}) = ({int}, {text}))",
            "(({int}, {date}) < ({int}, {date}))",
            "(({int}, {int}) IN (({int}, {int}), ({int}, {int})))",
        ],
    ),
    (
        Type::Date,
        &[
            "({date} + {small})",
            "({date} - {small})",
            "({ts})::date",
            "make_date(2024, 1 + abs({int} % 12), 1)",
            "(date_trunc('month', {date}))::date",
        ],
    ),
    (
        Type::Timestamp,
        &[
            "({date})::timestamp",
            "({ts} + interval '1 day')",
            "({ts} - interval '1 month 2 hours')",
            "date_trunc('month', {ts})",
            "({date} + interval '3 hours')",
            "({ts} + {small} * interval '1 hour')",
        ],
    ),
    (
        Type::Integers,
        &[
            "ARRAY[{int}, {int}]",
            "array_append({ints}, {int})",
            "({ints} || {ints})",
            "array_remove({ints}, {int})",
            "({ints})[1:2]",
            "array_prepend({int}, {ints})",
        ],
    ),
];

/// Templates of every type, whose own placeholder is `{same}`.
const GENERIC: &[&str] = &[
    "coalesce({same}, {same})",
    "nullif({same}, {same})",
    "CASE WHEN {bool} THEN {same} ELSE {same} END",
    "CASE WHEN {bool} THEN {same} WHEN {bool} THEN {same} END",
    "CASE {int} WHEN {int} THEN {same} WHEN {int} THEN {same} ELSE {same} END",
    "greatest({same}, {same})",
    "least({same}, {same}, {same})",
];

/// Templates with subqueries.
const SUBQUERIES: &[&str] = &["{scalar}", "{scalar}", "{limited}"];
const SUBQUERY_CONDITIONS: &[&str] = &[
    "EXISTS {exists}",
    "NOT EXISTS {exists}",
    "({int} IN {column:int})",
    "({int} NOT IN {column:int})",
    "({text} IN {column:text})",
    "({text} NOT IN {column:text})",
    "({int} = ANY {column:int})",
    "({int} {cmp} ALL {column:int})",
    "({num} {cmp} ANY {column:num})",
    "({date} {cmp} ALL {column:date})",
    "(({int}, {text}) IN {columns})",
    "(({int}, {text}) NOT IN {columns})",
];

const AGGREGATES: &Templates = &[
    (
        Type::Bigint,
        &[
            "count(*){filter}",
            "count({any}){filter}",
            "count(DISTINCT {int}){filter}",
            "count(DISTINCT {text})",
            "sum({int}){filter}",
        ],
    ),
    (
        Type::Numeric,
        &[
            "sum({num}){filter}",
            "avg({int}){filter}",
            "avg({num})",
            "sum({big})",
            "sum(DISTINCT {num})",
            "round(avg({big}), 3)",
            "max({num})",
        ],
    ),
    (
        Type::Integer,
        &[
            "min({int}){filter}",
            "max({int}){filter}",
            "bit_or({int})",
            "percentile_disc(0.5) WITHIN GROUP (ORDER BY {int})",
        ],
    ),
    (
        Type::Float,
        &[
            "sum({float})",
            "max({float}){filter}",
            "avg({float})",
            "percentile_cont(0.5) WITHIN GROUP (ORDER BY {float})",
            "stddev_pop({float})",
        ],
    ),
    (
        Type::Text,
        &[
            "min({text}){filter}",
            "max({text})",
            "string_agg({text}, ',' ORDER BY {text_again}){filter}",
            "string_agg(DISTINCT {text}, ',')",
        ],
    ),
    (
        Type::Boolean,
        &[
            "bool_and({bool}){filter}",
            "bool_or({bool})",
            "every({bool})",
        ],
    ),
    (Type::Date, &["min({date}){filter}", "max({date})"]),
    (Type::Timestamp, &["min({ts})", "max({ts}){filter}"]),
    (
        Type::Integers,
        &[
            "array_agg({int} ORDER BY 1 + {int_again}){filter}",
            "array_agg(DISTINCT {int})",
        ],
    ),
];

const WINDOWS: &Templates = &[
    (
        Type::Bigint,
        &[
            "row_number() OVER ({partition}{total})",
            "rank() OVER ({partition}{ordered})",
            "dense_rank() OVER ({partition}{ordered})",
            "count(*) OVER ({partition}{ordered})",
            "count({any}) OVER ({partition}{total}{frame})",
            "sum({int}) OVER ({partition}{total}{frame})",
            "sum({int}) OVER ({partition})",
        ],
    ),
    (
        Type::Numeric,
        &[
            "sum({num}) OVER ({partition}{ordered})",
            "avg({int}) OVER ({partition}{total}{frame})",
        ],
    ),
    (
        Type::Integer,
        &[
            "lag({int}) OVER ({partition}{total})",
            "lead({int}, 2, {int}) OVER ({partition}{total})",
            "first_value({int}) OVER ({partition}{total}{frame})",
            "last_value({int}) OVER ({partition}{total}{frame})",
            "nth_value({int}, 2) OVER ({partition}{total})",
            "ntile(3) OVER ({total})",
            "min({int}) OVER ({partition}{total}{frame})",
            "max({int}) OVER ({partition}{ordered})",
        ],
    ),
    (
        Type::Float,
        &[
            "percent_rank() OVER ({partition}{ordered})",
            "cume_dist() OVER ({partition}{ordered})",
        ],
    ),
    (
        Type::Text,
        &[
            "string_agg({text}, ',') OVER ({partition}{total})",
            "lag({text}, 1, 'none') OVER ({partition}{total})",
            "first_value({text}) OVER ({partition}{total})",
            "max({text}) OVER ({partition}{ordered})",
        ],
    ),
    (
        Type::Boolean,
        &[
            "bool_or({bool}) OVER ({partition}{ordered})",
            "lead({bool}) OVER ({partition}{total})",
        ],
    ),
    (
        Type::Date,
        &[
            "max({date}) OVER ({partition}{total}{frame})",
            "lag({date}) OVER ({partition}{total})",
        ],
    ),
    (Type::Timestamp, &["min({ts}) OVER ({partition}{ordered})"]),
    (
        Type::Integers,
        &["array_agg({int}) OVER ({partition}{total}{frame})"],
    ),
];

/// A column that an expression may name.
#[derive(Debug, Clone)]
pub struct Column {
    pub reference: String,
    pub kind: Type,
}

/// Where an expression stands: what it may name and hold.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Columns of the query's own FROM, or its group keys.
    pub local: Vec<Column>,
    /// Columns of the queries around it.
    pub outer: Vec<Column>,
    /// Columns that the arguments of aggregates may name, where aggregates may stand.
    pub aggregated: Option<Vec<Column>>,
    pub windows: bool,
    pub subqueries: bool,
}

impl Place {
    /// The same place without what may not stand inside of aggregates and windows.
    fn inside(&self, local: Vec<Column>) -> Self {
        Self {
            local,
            outer: Vec::new(),
            aggregated: None,
            windows: false,
            subqueries: false,
        }
    }

    /// What a subquery here may name.
    pub fn around(&self) -> Vec<Column> {
        let local = self
            .local
            .iter()
            .filter(|column| !column.reference.contains('('));
        local.chain(&self.outer).cloned().collect()
    }
}

/// Draws a statement.
pub struct Generator<'r> {
    pub random: &'r mut StdRng,
    names: u32,
    /// How much more may be drawn.
    pub left: i32,
}

impl<'r> Generator<'r> {
    pub fn new(random: &'r mut StdRng) -> Self {
        let left = random.random_range(4..SIZE);
        Self {
            random,
            names: 0,
            left,
        }
    }

    /// A new name.
    pub fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(self.random).copied().unwrap_or_default()
    }

    /// An expression of the type.
    pub fn value(&mut self, kind: Type, place: &Place) -> Tree {
        self.left -= 1;
        if self.left <= 0 || self.chance(0.45) {
            return self.leaf(kind, place);
        }
        let template = if place.subqueries && self.chance(0.12) {
            if kind == Type::Boolean && self.chance(0.8) {
                self.pick(SUBQUERY_CONDITIONS)
            } else {
                self.pick(SUBQUERIES)
            }
        } else if place.aggregated.is_some() && self.chance(0.6) {
            self.pick(of(AGGREGATES, kind))
        } else if place.windows && self.chance(0.5) {
            self.pick(of(WINDOWS, kind))
        } else if self.chance(0.2) {
            self.pick(GENERIC)
        } else {
            self.pick(of(SCALARS, kind))
        };
        self.fill(template, kind, place)
    }

    fn leaf(&mut self, kind: Type, place: &Place) -> Tree {
        let role = Role::Value(kind);
        let mut columns: Vec<&Column> = Vec::new();
        let near = !self.chance(0.3);
        if near {
            columns.extend(place.local.iter().filter(|column| column.kind == kind));
        }
        if columns.is_empty() {
            columns.extend(place.outer.iter().filter(|column| column.kind == kind));
        }
        if !columns.is_empty() && self.chance(0.8) {
            let column = columns[self.random.random_range(0..columns.len())];
            return Tree::of_text(role, column.reference.clone());
        }
        if place.aggregated.is_some() && self.chance(0.5) {
            let template = self.pick(of(AGGREGATES, kind));
            return self.fill(template, kind, place);
        }
        if self.chance(0.1) {
            return Tree::of_text(role, format!("NULL::{}", kind.name()));
        }
        Tree::constant(kind, kind.draw_value(self.random))
    }

    fn fill(&mut self, template: &str, kind: Type, place: &Place) -> Tree {
        let is = |list: &Templates| of(list, kind).contains(&template);
        let inner = if is(WINDOWS) {
            place.inside(place.local.clone())
        } else if let Some(columns) = place.aggregated.as_ref().filter(|_| is(AGGREGATES)) {
            place.inside(columns.clone())
        } else {
            place.clone()
        };
        let mut tree = Tree::new(Role::Value(kind));
        let mut last: Option<Tree> = None;
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((word, after)) = after.split_once('}') else {
                break;
            };
            let drawn = if word.ends_with("_again") {
                last.clone().unwrap_or_else(|| Tree::new(Role::Fixed))
            } else {
                self.placeholder(word, kind, &inner)
            };
            if matches!(drawn.role, Role::Value(_)) {
                last = Some(Tree {
                    role: Role::Fixed,
                    ..drawn.clone()
                });
            }
            // What is said twice must stay the same.
            let drawn = if after.contains("_again") {
                last.clone().unwrap_or(drawn)
            } else {
                drawn
            };
            tree = tree.text(before).tree(drawn);
            rest = after;
        }
        tree.text(rest)
    }

    fn placeholder(&mut self, word: &str, kind: Type, place: &Place) -> Tree {
        if let Some(kind) = Type::of_placeholder(word) {
            return self.value(kind, place);
        }
        let fixed = |text: String| Tree::of_text(Role::Fixed, text);
        match word {
            "same" => self.value(kind, place),
            "any" => {
                let kind = Type::draw(self.random);
                self.value(kind, place)
            }
            "small" => fixed(self.random.random_range(1..4).to_string()),
            "cmp" => fixed(self.pick(&["=", "=", "<>", "<", "<=", ">", ">="]).into()),
            "pattern" => fixed(
                self.pick(&["'a%'", "'%b'", "'_'", "'%a%'", "'^a'", "'b$'", "''"])
                    .into(),
            ),
            "scalar" => self.scalar_subquery(kind, place),
            "limited" => self.limited_subquery(kind, place),
            "exists" => {
                let kind = Type::draw(self.random);
                self.subquery(&[kind], place)
            }
            "columns" => self.subquery(&[Type::Integer, Type::Text], place),
            "filter" => {
                if self.chance(0.75) {
                    return Tree::new(Role::Optional);
                }
                let condition = self.value(Type::Boolean, place);
                Tree::of_text(Role::Optional, " FILTER (WHERE ")
                    .tree(condition)
                    .text(")")
            }
            "partition" => {
                if self.chance(0.4) {
                    return Tree::new(Role::Optional);
                }
                let kind = Type::draw(self.random);
                let key = self.value(kind, place);
                Tree::of_text(Role::Optional, "PARTITION BY ")
                    .tree(key)
                    .text(" ")
            }
            "ordered" => {
                let kind = Type::draw(self.random);
                let key = self.value(kind, place);
                let direction = self.direction();
                Tree::of_text(Role::Fixed, "ORDER BY ")
                    .tree(key)
                    .text(direction)
            }
            "total" => self.total_order(place),
            "frame" => fixed(
                self.pick(&[
                    "",
                    "",
                    " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                    " ROWS UNBOUNDED PRECEDING",
                    " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                    " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING",
                    " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                    " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                ])
                .into(),
            ),
            other => match other.strip_prefix("column:").and_then(Type::of_placeholder) {
                Some(kind) => self.subquery(&[kind], place),
                None => fixed(format!("{{{other}}}")),
            },
        }
    }

    /// All columns, so that only equal rows are peers.
    fn total_order(&mut self, place: &Place) -> Tree {
        let mut keys: Vec<String> = Vec::new();
        let mut columns = place.local.clone();
        while !columns.is_empty() {
            let column = columns.swap_remove(self.random.random_range(0..columns.len()));
            let direction = self.direction();
            keys.push(format!("{}{direction}", column.reference));
        }
        if keys.is_empty() {
            return Tree::of_text(Role::Fixed, "ORDER BY 1 + 1");
        }
        Tree::of_text(Role::Fixed, format!("ORDER BY {}", keys.join(", ")))
    }

    pub fn direction(&mut self) -> &'static str {
        self.pick(&["", "", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    }
}

fn of(list: &Templates, kind: Type) -> &'static [&'static str] {
    list.iter()
        .find(|(of, _)| *of == kind)
        .map_or(&[], |(_, templates)| templates)
}
