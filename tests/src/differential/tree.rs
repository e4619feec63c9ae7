//! Statements as trees of text, and how a tree is cut down: what stands for a value may become any value of its type,
//! a query any query of the same column types, a FROM item one of its inputs, and what is optional nothing.

use super::types::Type;

/// What may stand in a tree's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Value(Type),
    Query(Vec<Type>),
    From,
    /// May be left out.
    Optional,
    Fixed,
}

#[derive(Debug, Clone)]
pub enum Piece {
    Text(String),
    /// A constant, written out or sent as a parameter.
    Constant(Type, String),
    Tree(Tree),
}

#[derive(Debug, Clone)]
pub struct Tree {
    pub role: Role,
    pub pieces: Vec<Piece>,
}

impl Tree {
    pub fn new(role: Role) -> Self {
        Self {
            role,
            pieces: Vec::new(),
        }
    }

    pub fn of_text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role).text(text)
    }

    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.pieces.push(Piece::Text(text.into()));
        self
    }

    pub fn tree(mut self, tree: Self) -> Self {
        self.pieces.push(Piece::Tree(tree));
        self
    }

    pub fn constant(kind: Type, value: String) -> Self {
        Self {
            role: Role::Value(kind),
            pieces: vec![Piece::Constant(kind, value)],
        }
    }

    /// The statement with its constants written out.
    pub fn sql(&self) -> String {
        let mut sql = String::new();
        self.write(&mut sql, &mut None);
        sql
    }

    /// The statement with its constants as parameters, and their values.
    pub fn sql_with_parameters(&self) -> (String, Vec<String>) {
        let mut sql = String::new();
        let mut parameters = Some(Vec::new());
        self.write(&mut sql, &mut parameters);
        (sql, parameters.unwrap_or_default())
    }

    fn write(&self, sql: &mut String, parameters: &mut Option<Vec<String>>) {
        for piece in &self.pieces {
            match (piece, parameters.as_mut()) {
                (Piece::Text(text), _) => sql.push_str(text),
                (Piece::Tree(tree), _) => tree.write(sql, parameters),
                (Piece::Constant(kind, value), None) => sql.push_str(&kind.literal(value)),
                (Piece::Constant(kind, value), Some(values)) => {
                    values.push(value.clone());
                    sql.push_str(&format!("${}::{}", values.len(), kind.name()));
                }
            }
        }
    }

    /// Whether the rows have an order.
    pub fn is_ordered(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece::Tree(last)) if last.sql().starts_with(" ORDER BY"))
    }

    /// Trees that are a step smaller, the boldest first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut paths = Vec::new();
        self.paths(&mut Vec::new(), &mut paths);
        for path in paths {
            let Some(part) = self.at(&path) else {
                continue;
            };
            for replacement in part.replacements() {
                if let Some(tree) = self.replaced(&path, &replacement) {
                    found.push(tree);
                }
            }
        }
        found.sort_by_key(|tree| tree.sql().len());
        found
    }

    fn replacements(&self) -> Vec<Self> {
        let mut found = Vec::new();
        match &self.role {
            Role::Fixed => {}
            Role::Optional => {
                if !self.pieces.is_empty() {
                    found.push(Self::new(Role::Optional));
                }
            }
            role @ Role::Value(kind) => {
                let short = self.pieces.len() == 1 && !matches!(self.pieces[0], Piece::Tree(_));
                if !short {
                    self.descendants(role, &mut found);
                    found.push(Self::constant(*kind, simplest(*kind).into()));
                    found.push(Self::of_text(
                        role.clone(),
                        format!("NULL::{}", kind.name()),
                    ));
                }
            }
            role => self.descendants(role, &mut found),
        }
        let length = self.sql().len();
        found.retain(|tree| tree.sql().len() < length);
        found
    }

    fn descendants(&self, role: &Role, found: &mut Vec<Self>) {
        for piece in &self.pieces {
            if let Piece::Tree(tree) = piece {
                if tree.role == *role {
                    found.push(tree.clone());
                }
                tree.descendants(role, found);
            }
        }
    }

    fn paths(&self, path: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        found.push(path.clone());
        for (number, piece) in self.pieces.iter().enumerate() {
            if let Piece::Tree(tree) = piece {
                path.push(number);
                tree.paths(path, found);
                path.pop();
            }
        }
    }

    fn at(&self, path: &[usize]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        match self.pieces.get(*first)? {
            Piece::Tree(tree) => tree.at(rest),
            _ => None,
        }
    }

    fn replaced(&self, path: &[usize], replacement: &Self) -> Option<Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(replacement.clone());
        };
        let mut whole = self.clone();
        match whole.pieces.get_mut(*first)? {
            Piece::Tree(tree) => *tree = tree.replaced(rest, replacement)?,
            _ => return None,
        }
        Some(whole)
    }
}

fn simplest(kind: Type) -> &'static str {
    match kind {
        Type::Integer | Type::Bigint | Type::Float => "1",
        Type::Numeric => "1.0",
        Type::Text => "a",
        Type::Boolean => "true",
        Type::Date => "2024-01-01",
        Type::Timestamp => "2024-01-01 00:00:00",
        Type::Integers => "{1}",
    }
}
