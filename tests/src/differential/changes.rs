//! Statements that change a table. What they read must decide each row's change alone, whatever the order.

use rand::Rng;

use super::grammar::{Column, Generator, Place};
use super::tables::{COLUMNS, FIXED, TABLES};
use super::tree::{Role, Tree};
use super::types::Type;

/// A change, and the table that it changes.
pub fn statement(generator: &mut Generator) -> (String, Tree) {
    let table = generator.pick(TABLES).to_string();
    let own: Vec<Column> = COLUMNS
        .iter()
        .map(|(name, kind)| Column {
            reference: format!("{table}.{name}"),
            kind: *kind,
        })
        .collect();
    let place = Place {
        local: own,
        subqueries: true,
        ..Place::default()
    };
    let tree = match generator.random.random_range(0..10) {
        0..5 => update(generator, &table, &place),
        5..7 => delete(generator, &table, &place),
        _ => insert(generator, &table),
    };
    (table, tree)
}

fn update(generator: &mut Generator, table: &str, place: &Place) -> Tree {
    let mut tree = Tree::of_text(Role::Fixed, format!("UPDATE {table} SET "));
    let mut set = Vec::new();
    for _ in 0..generator.random.random_range(1..4) {
        let (name, kind) = COLUMNS[generator.random.random_range(0..COLUMNS.len())];
        if !FIXED.contains(&name) && !set.contains(&name) {
            let value = generator.value(kind, place);
            let before = if set.is_empty() { "" } else { ", " };
            tree = tree.tree(
                Tree::of_text(Role::Optional, format!("{before}{name} = "))
                    .tree(stored(kind, value)),
            );
            set.push(name);
        }
    }
    if set.is_empty() {
        tree = tree.text("s = upper(s)");
    }
    let condition = generator.value(Type::Boolean, place);
    tree.tree(Tree::of_text(Role::Optional, " WHERE ").tree(condition))
}

fn delete(generator: &mut Generator, table: &str, place: &Place) -> Tree {
    let condition = generator.value(Type::Boolean, place);
    // A part of the rows at most, or the tables would soon be empty.
    let rest = generator.random.random_range(0..3);
    Tree::of_text(
        Role::Fixed,
        format!("DELETE FROM {table} WHERE {table}.a % 3 = {rest} AND "),
    )
    .tree(condition)
}

fn insert(generator: &mut Generator, table: &str) -> Tree {
    let types: Vec<Type> = COLUMNS.iter().map(|(_, kind)| *kind).collect();
    let (name, key) = (generator.name("q"), generator.random.random_range(0..40));
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let query = generator.query(&types[1..], &[]);
    let list = names[1..].join(", ");
    // One new row at most, so that its key is known; its values are of the scale that the column stores.
    let first: Vec<String> = (2..=types.len()).map(|number| number.to_string()).collect();
    let tree = Tree::of_text(
        Role::Fixed,
        format!(
            "INSERT INTO {table} SELECT {key}, {} FROM (",
            values(&names[1..])
        ),
    )
    .tree(query)
    .text(format!(
        ") {name}({list}) ORDER BY {} LIMIT 1",
        first.join(", ")
    ));
    if table == "t1" {
        return tree;
    }
    let conflict = generator.pick(&[
        " ON CONFLICT DO NOTHING",
        " ON CONFLICT (a) DO NOTHING",
        " ON CONFLICT (a) DO UPDATE SET s = excluded.s, b = excluded.b",
        " ON CONFLICT (a) DO UPDATE SET f = NOT excluded.f, n = excluded.n WHERE excluded.b > 1",
        "",
    ]);
    tree.text(conflict)
}

fn values(names: &[&str]) -> String {
    let column = |name: &&str| match *name {
        // As `stored`, by names.
        "n" => "CASE WHEN abs(n) < 1000000 THEN round(n, 2) END".to_string(),
        "g" => "coalesce(g, 0)".to_string(),
        "x" => "round(x::numeric, 2)::double precision".to_string(),
        other => other.to_string(),
    };
    names.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The value as a column of the tables can keep it. Sums of floats may differ in their last digits; rounded, they do not.
fn stored(kind: Type, value: Tree) -> Tree {
    match kind {
        Type::Numeric => Tree::of_text(Role::Fixed, "round(")
            .tree(value)
            .text(", 2)"),
        Type::Bigint => Tree::of_text(Role::Fixed, "coalesce(")
            .tree(value)
            .text(", 0)"),
        Type::Float => Tree::of_text(Role::Fixed, "round((")
            .tree(value)
            .text(")::numeric, 2)::double precision"),
        _ => value,
    }
}
