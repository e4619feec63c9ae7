//! What is mutated: the statements of the scripts in `tests/slt`, script by script.

use libtest_mimic::Failed;

use crate::harness::package_directory;

/// Words of statements that reach beyond the database: files, other places, and whom the harness logs in as.
const FORBIDDEN: &[&str] = &[
    "location",
    "://",
    "'/",
    "role",
    "user nyala",
    "password",
    "drop database",
    "create database",
    "drop owned",
    "alter system",
    "pg_terminate_backend",
    "pg_sleep",
    "max_connections",
    "program",
];

/// The statements of one script, in order.
pub struct Script {
    pub name: String,
    pub statements: Vec<String>,
}

/// All scripts, by name.
pub fn scripts() -> Result<Vec<Script>, Failed> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(package_directory().join("slt"))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let text = std::fs::read_to_string(&path)?;
        let statements: Vec<String> = statements(&text)
            .into_iter()
            .filter(|sql| allowed(sql))
            .collect();
        if !statements.is_empty() {
            scripts.push(Script {
                name: name.to_string(),
                statements,
            });
        }
    }
    scripts.sort_by(|left, right| left.name.cmp(&right.name));
    if scripts.is_empty() {
        return Err("tests/slt holds no statements".into());
    }
    Ok(scripts)
}

/// Whether a statement stays within the database.
pub fn allowed(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    !FORBIDDEN.iter().any(|word| lower.contains(word))
}

/// The text of the records of a script: what follows `statement` and `query` lines.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines().chain([""]) {
        let ends = line.is_empty() || line == "----";
        match &mut current {
            Some(sql) if ends => {
                found.push(std::mem::take(sql));
                current = None;
            }
            Some(sql) => {
                if !sql.is_empty() {
                    sql.push('\n');
                }
                sql.push_str(line);
            }
            None if line.starts_with("statement ") || line.starts_with("query ") => {
                current = Some(String::new())
            }
            None => {}
        }
    }
    found.retain(|sql| !sql.is_empty() && !sql.contains('$'));
    found
}
