//! Queries and what they read.

use rand::Rng;

use super::grammar::{Column, Generator, Place};
use super::tables::{COLUMNS, TABLES};
use super::tree::{Role, Tree};
use super::types::Type;

/// Columns of a statement's result.
const RESULT_COLUMNS: usize = 4;

/// A query as a statement, with some columns of any types.
pub fn statement(generator: &mut Generator) -> Tree {
    let columns = generator.random.random_range(1..=RESULT_COLUMNS);
    let types: Vec<Type> = (0..columns).map(|_| Type::draw(generator.random)).collect();
    generator.query(&types, &[])
}

impl Generator<'_> {
    /// A query in parentheses.
    pub fn subquery(&mut self, types: &[Type], place: &Place) -> Tree {
        let around = place.around();
        let query = self.query(types, &around);
        Tree::of_text(Role::Fixed, "(").tree(query).text(")")
    }

    /// `(SELECT aggregate …)`: always one row.
    pub fn scalar_subquery(&mut self, kind: Type, place: &Place) -> Tree {
        let around = place.around();
        let (from, columns) = self.from(&around);
        let inner = Place {
            local: Vec::new(),
            outer: around.clone(),
            aggregated: Some(columns.clone()),
            windows: false,
            subqueries: true,
        };
        let value = self.value(kind, &inner);
        // Without an aggregate in it, the value would come once a row.
        let condition = self.condition(" WHERE ", &columns, &around);
        Tree::of_text(Role::Value(kind), "(SELECT ")
            .tree(value)
            .text(" FROM ")
            .tree(from)
            .tree(condition)
            .text(" HAVING count(*) >= 0)")
    }

    /// `(SELECT … ORDER BY … LIMIT 1)`: one row or none.
    pub fn limited_subquery(&mut self, kind: Type, place: &Place) -> Tree {
        let query = self.query(&[kind], &place.around());
        let (name, direction) = (self.name("q"), self.direction());
        Tree::of_text(Role::Value(kind), "(SELECT c1 FROM (")
            .tree(query)
            .text(format!(") {name}(c1) ORDER BY c1{direction} LIMIT 1)"))
    }

    /// A query with columns of these types. `outer`: what it may name of the queries around it.
    pub fn query(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        self.left -= 2;
        let query = match self.random.random_range(0..100) {
            _ if self.left <= 0 => self.plain(types, outer),
            0..48 => self.plain(types, outer),
            48..68 => self.grouped(types, outer),
            68..75 => self.windowed(types, outer),
            75..85 => self.combined(types, outer),
            85..90 => self.rows(types, outer),
            _ => self.with(types, outer),
        };
        if !self.chance(0.12) {
            return query;
        }
        // Which rows a limit leaves must be known: all columns are in the order.
        let keys: Vec<String> = (1..=types.len())
            .map(|number| format!("{number}{}", self.direction()))
            .collect();
        let limit = match self.random.random_range(0..4) {
            0 => String::new(),
            1 => format!(" OFFSET {}", self.random.random_range(0..3)),
            2 => format!(" LIMIT {}", self.random.random_range(0..6)),
            _ => format!(" LIMIT {} OFFSET 1", self.random.random_range(0..4)),
        };
        let name = self.name("q");
        let order = format!(" ORDER BY {}{limit}", keys.join(", "));
        Tree::of_text(Role::Query(types.to_vec()), "SELECT * FROM (")
            .tree(query)
            .text(format!(") {name}"))
            .tree(Tree::of_text(Role::Optional, order))
    }

    fn plain(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let (from, columns) = self.from(outer);
        let place = Place {
            local: columns.clone(),
            outer: outer.to_vec(),
            subqueries: true,
            ..Place::default()
        };
        let distinct = if self.chance(0.15) { "DISTINCT " } else { "" };
        let tree = Tree::of_text(Role::Query(types.to_vec()), "SELECT ")
            .tree(Tree::of_text(Role::Optional, distinct));
        let tree = self.items(tree, types, &place);
        let condition = self.condition(" WHERE ", &columns, outer);
        tree.text(" FROM ").tree(from).tree(condition)
    }

    fn windowed(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let (from, columns) = self.from(outer);
        let place = Place {
            local: columns.clone(),
            outer: outer.to_vec(),
            windows: true,
            ..Place::default()
        };
        let tree = Tree::of_text(Role::Query(types.to_vec()), "SELECT ");
        let tree = self.items(tree, types, &place);
        let condition = self.condition(" WHERE ", &columns, outer);
        tree.text(" FROM ").tree(from).tree(condition)
    }

    fn grouped(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let (from, columns) = self.from(outer);
        let number = self.random.random_range(0..3);
        let mut keys: Vec<Column> = Vec::new();
        for _ in 0..number {
            if columns.is_empty() || self.chance(0.25) {
                let kind = Type::draw(self.random);
                let place = Place {
                    local: columns.clone(),
                    ..Place::default()
                };
                let key = self.value(kind, &place).sql();
                if !columns.iter().any(|column| key.contains(&column.reference)) {
                    continue;
                }
                // A bare number would be a column's position.
                keys.push(Column {
                    reference: format!("({key})"),
                    kind,
                });
            } else {
                keys.push(columns[self.random.random_range(0..columns.len())].clone());
            }
        }
        let place = Place {
            local: keys.clone(),
            outer: outer.to_vec(),
            aggregated: Some(columns.clone()),
            windows: false,
            subqueries: true,
        };
        let tree = Tree::of_text(Role::Query(types.to_vec()), "SELECT ");
        let tree = self.items(tree, types, &place);
        let condition = self.condition(" WHERE ", &columns, outer);
        let references: Vec<&str> = keys.iter().map(|key| key.reference.as_str()).collect();
        let list = references.join(", ");
        let group = match self.random.random_range(0..10) {
            _ if references.is_empty() => " GROUP BY ()".to_string(),
            0 => format!(" GROUP BY ROLLUP ({list})"),
            1 => format!(" GROUP BY CUBE ({list})"),
            2 => format!(" GROUP BY GROUPING SETS (({list}), ({}))", references[0]),
            _ => format!(" GROUP BY {list}"),
        };
        let having = if self.chance(0.25) {
            let condition = self.value(Type::Boolean, &place);
            Tree::of_text(Role::Optional, " HAVING ").tree(condition)
        } else {
            Tree::new(Role::Optional)
        };
        tree.text(" FROM ")
            .tree(from)
            .tree(condition)
            .text(group)
            .tree(having)
    }

    fn combined(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let operator = self.pick(&[
            "UNION",
            "UNION ALL",
            "UNION ALL",
            "INTERSECT",
            "INTERSECT ALL",
            "EXCEPT",
            "EXCEPT ALL",
        ]);
        let left = self.query(types, outer);
        let right = self.query(types, outer);
        Tree::of_text(Role::Query(types.to_vec()), "(")
            .tree(left)
            .text(format!(") {operator} ("))
            .tree(right)
            .text(")")
    }

    fn rows(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let place = Place {
            outer: outer.to_vec(),
            subqueries: true,
            ..Place::default()
        };
        let mut tree = Tree::of_text(Role::Query(types.to_vec()), "VALUES ");
        for number in 0..self.random.random_range(1..4) {
            let row = if number == 0 {
                Tree::of_text(Role::Fixed, "(")
            } else {
                Tree::of_text(Role::Optional, ", (")
            };
            let row = self.items(row, types, &place).text(")");
            tree = tree.tree(row);
        }
        tree
    }

    fn with(&mut self, types: &[Type], outer: &[Column]) -> Tree {
        let kinds: Vec<Type> = (0..self.random.random_range(1..4))
            .map(|_| Type::draw(self.random))
            .collect();
        let table = self.name("w");
        let definition = self.query(&kinds, &[]);
        let names: Vec<String> = (1..=kinds.len())
            .map(|number| format!("c{number}"))
            .collect();
        let columns = |alias: &str| -> Vec<Column> {
            let named = names.iter().zip(&kinds);
            named
                .map(|(name, kind)| Column {
                    reference: format!("{alias}.{name}"),
                    kind: *kind,
                })
                .collect()
        };
        let how = self.pick(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
        // One place that reads it, or two.
        let first = self.name("q");
        let mut local = columns(&first);
        let mut from = Tree::of_text(Role::From, format!("{table} {first}"));
        if self.chance(0.5) {
            let second = self.name("q");
            let right = Tree::of_text(Role::From, format!("{table} {second}"));
            (from, local) = self.join((from, local), (right, columns(&second)), outer);
        }
        let place = Place {
            local: local.clone(),
            outer: outer.to_vec(),
            subqueries: true,
            ..Place::default()
        };
        let tree = Tree::of_text(Role::Query(types.to_vec()), format!("WITH {table}("))
            .text(names.join(", "))
            .text(format!(") AS {how}("))
            .tree(definition)
            .text(") SELECT ");
        let tree = self.items(tree, types, &place);
        let condition = self.condition(" WHERE ", &local, outer);
        tree.text(" FROM ").tree(from).tree(condition)
    }

    fn items(&mut self, mut tree: Tree, types: &[Type], place: &Place) -> Tree {
        for (number, kind) in types.iter().enumerate() {
            let value = self.value(*kind, place);
            tree = if number == 0 {
                tree.tree(value)
            } else {
                tree.tree(Tree::of_text(Role::Optional, ", ").tree(value))
            };
        }
        tree
    }

    fn condition(&mut self, before: &str, columns: &[Column], outer: &[Column]) -> Tree {
        if !self.chance(0.6) {
            return Tree::new(Role::Optional);
        }
        let place = Place {
            local: columns.to_vec(),
            outer: outer.to_vec(),
            subqueries: true,
            ..Place::default()
        };
        let condition = self.value(Type::Boolean, &place);
        Tree::of_text(Role::Optional, before).tree(condition)
    }

    /// What a query reads, and the columns it gives.
    pub fn from(&mut self, outer: &[Column]) -> (Tree, Vec<Column>) {
        let first = self.item(outer);
        if self.left <= 0 || self.chance(0.6) {
            return first;
        }
        let second = if self.chance(0.2) {
            return self.lateral(first, outer);
        } else {
            self.item(outer)
        };
        let joined = self.join(first, second, outer);
        if self.left > 0 && self.chance(0.3) {
            let third = self.item(outer);
            return if self.chance(0.5) {
                self.join(joined, third, outer)
            } else {
                self.join(third, joined, outer)
            };
        }
        joined
    }

    /// A table, a subquery, a list of rows or a function.
    fn item(&mut self, outer: &[Column]) -> (Tree, Vec<Column>) {
        let name = self.name("q");
        match self.random.random_range(0..20) {
            0..3 if self.left > 0 => {
                let types: Vec<Type> = (0..self.random.random_range(1..4))
                    .map(|_| Type::draw(self.random))
                    .collect();
                let query = self.query(&types, &[]);
                derived("", query, &name, &types)
            }
            3 => {
                let start =
                    Tree::constant(Type::Integer, self.random.random_range(0..3).to_string());
                let end = if outer.is_empty() || self.chance(0.6) {
                    Tree::constant(Type::Integer, self.random.random_range(1..6).to_string())
                } else {
                    // Arguments may name the queries around.
                    let place = Place {
                        outer: outer.to_vec(),
                        ..Place::default()
                    };
                    let value = self.value(Type::Integer, &place);
                    Tree::of_text(Role::Fixed, "least(5, ")
                        .tree(value)
                        .text(")")
                };
                let from = Tree::of_text(Role::From, "generate_series(")
                    .tree(start)
                    .text(", ")
                    .tree(end)
                    .text(format!(") {name}(c1)"));
                (from, columns(&name, &[Type::Integer]))
            }
            _ => {
                let table = self.pick(TABLES);
                let columns = COLUMNS
                    .iter()
                    .map(|(column, kind)| Column {
                        reference: format!("{name}.{column}"),
                        kind: *kind,
                    })
                    .collect();
                (
                    Tree::of_text(Role::From, format!("{table} {name}")),
                    columns,
                )
            }
        }
    }

    fn join(
        &mut self,
        (left, mut columns): (Tree, Vec<Column>),
        (right, more): (Tree, Vec<Column>),
        outer: &[Column],
    ) -> (Tree, Vec<Column>) {
        let kind = self.pick(&[
            "JOIN",
            "JOIN",
            "LEFT JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "CROSS JOIN",
        ]);
        let equality = self.equality(&columns, &more);
        columns.extend(more);
        let place = Place {
            local: columns.clone(),
            outer: outer.to_vec(),
            subqueries: kind == "JOIN" && self.chance(0.3),
            ..Place::default()
        };
        let condition = match (kind, equality) {
            ("CROSS JOIN", _) => Tree::new(Role::Fixed),
            ("FULL JOIN", equality) => {
                // PostgreSQL joins both sides only by keys.
                let equality = equality.unwrap_or_else(|| "true".into());
                Tree::of_text(Role::Fixed, format!(" ON {equality}"))
            }
            (_, Some(equality)) if self.chance(0.7) => {
                let tree = Tree::of_text(Role::Fixed, format!(" ON {equality}"));
                if self.chance(0.3) {
                    let also = self.value(Type::Boolean, &place);
                    tree.tree(Tree::of_text(Role::Optional, " AND ").tree(also))
                } else {
                    tree
                }
            }
            _ => {
                let condition = self.value(Type::Boolean, &place);
                Tree::of_text(Role::Fixed, " ON ").tree(condition)
            }
        };
        let tree = Tree::of_text(Role::From, "(")
            .tree(left)
            .text(format!(" {kind} "))
            .tree(right)
            .tree(condition)
            .text(")");
        (tree, columns)
    }

    /// An equality of two columns of one type.
    fn equality(&mut self, left: &[Column], right: &[Column]) -> Option<String> {
        for _ in 0..8 {
            let one = left.get(self.random.random_range(0..left.len().max(1)))?;
            let other: Vec<&Column> = right
                .iter()
                .filter(|column| column.kind == one.kind)
                .collect();
            if !other.is_empty() {
                let other = other[self.random.random_range(0..other.len())];
                return Some(format!("{} = {}", one.reference, other.reference));
            }
        }
        None
    }

    /// An item, and a subquery that names it.
    fn lateral(
        &mut self,
        (left, mut columns): (Tree, Vec<Column>),
        outer: &[Column],
    ) -> (Tree, Vec<Column>) {
        let mut around = columns.clone();
        around.extend_from_slice(outer);
        let name = self.name("q");
        let types: Vec<Type> = (0..self.random.random_range(1..3))
            .map(|_| Type::draw(self.random))
            .collect();
        let (right, more) = if self.chance(0.25)
            && let Some(array) = columns.iter().find(|column| column.kind == Type::Integers)
        {
            let function = format!("unnest({}) WITH ORDINALITY {name}(c1, c2)", array.reference);
            (
                Tree::of_text(Role::From, function),
                self::columns(&name, &[Type::Integer, Type::Bigint]),
            )
        } else {
            let query = self.query(&types, &around);
            derived("LATERAL ", query, &name, &types)
        };
        columns.extend(more);
        let (kind, condition) = match self.random.random_range(0..3) {
            0 => ("CROSS JOIN", Tree::new(Role::Fixed)),
            1 => ("LEFT JOIN", Tree::of_text(Role::Fixed, " ON true")),
            _ => {
                let place = Place {
                    local: columns.clone(),
                    ..Place::default()
                };
                let condition = self.value(Type::Boolean, &place);
                let kind = self.pick(&["JOIN", "LEFT JOIN"]);
                (kind, Tree::of_text(Role::Fixed, " ON ").tree(condition))
            }
        };
        let tree = Tree::of_text(Role::From, "(")
            .tree(left)
            .text(format!(" {kind} "))
            .tree(right)
            .tree(condition)
            .text(")");
        (tree, columns)
    }
}

fn columns(name: &str, types: &[Type]) -> Vec<Column> {
    let numbered = types.iter().enumerate();
    numbered
        .map(|(number, kind)| Column {
            reference: format!("{name}.c{}", number + 1),
            kind: *kind,
        })
        .collect()
}

fn derived(before: &str, query: Tree, name: &str, types: &[Type]) -> (Tree, Vec<Column>) {
    let names: Vec<String> = (1..=types.len())
        .map(|number| format!("c{number}"))
        .collect();
    let tree = Tree::of_text(Role::From, format!("{before}("))
        .tree(query)
        .text(format!(") {name}({})", names.join(", ")));
    (tree, columns(name, types))
}
