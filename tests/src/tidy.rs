//! Rules of the code base that no compiler checks: first lines, lengths, layer borders, and that no
//! test is switched off.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::harness::{TestResult, package_directory, trial};

/// Longer files are two files.
const LINES_MAX: usize = 800;
/// Directories of the repository that hold sources of ours.
const CRATES: &[&str] = &["udfs", "catalog", "server", "tests"];
/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &["target", "data", "node_modules"];

/// One trial per rule, so that a report names the rule.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("tidy::first_line_says_what_a_file_is", || {
            rust_files(first_line)
        }),
        trial("tidy::no_file_is_too_long", || rust_files(length)),
        trial("tidy::file_names", || rust_files(name)),
        trial("tidy::nothing_is_switched_off", || rust_files(switched_off)),
        trial("tidy::layer_borders", || rust_files(borders)),
        trial("tidy::no_glob_imports", || rust_files(glob_imports)),
        trial("tidy::no_machine_paths", machine_paths),
        trial("tidy::manifest_borders", manifest_borders),
    ]
}

struct SourceFile {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl SourceFile {
    fn is_below(&self, directory: &str) -> bool {
        self.path.starts_with(&format!("{directory}/"))
    }

    /// Lines that are no comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self
            .text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> Result<PathBuf, Failed> {
    Ok(package_directory().join("..").canonicalize()?)
}

/// Files below `directory` that `wanted` accepts by name.
fn files(directory: &Path, wanted: fn(&str) -> bool) -> Result<Vec<SourceFile>, Failed> {
    let root = root()?;
    let mut found = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if !SKIPPED.contains(&name) && (!name.starts_with('.') || name == ".ci") {
                    left.push(path);
                }
            } else if wanted(name) {
                let relative = path
                    .strip_prefix(&root)?
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push(SourceFile {
                    path: relative,
                    text: std::fs::read_to_string(&path)?,
                });
            }
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

/// Runs a rule over every Rust file and reports all breaches.
fn rust_files(rule: fn(&SourceFile) -> Vec<String>) -> TestResult {
    let root = root()?;
    let mut breaches = Vec::new();
    let mut count = 0;
    for name in CRATES {
        for file in files(&root.join(name), |name| name.ends_with(".rs"))? {
            count += 1;
            let found = rule(&file);
            breaches.extend(
                found
                    .into_iter()
                    .map(|breach| format!("{}: {breach}", file.path)),
            );
        }
    }
    if count < CRATES.len() {
        return Err(format!("only {count} Rust files found below {}", root.display()).into());
    }
    report(breaches)
}

fn report(breaches: Vec<String>) -> TestResult {
    if breaches.is_empty() {
        Ok(())
    } else {
        Err(breaches.join("\n").into())
    }
}

fn first_line(file: &SourceFile) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let says_something = first
        .strip_prefix("//! ")
        .is_some_and(|text| !text.trim().is_empty());
    if says_something {
        vec![]
    } else {
        vec![format!("begins with {first:?}, not with `//! …`")]
    }
}

fn length(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= LINES_MAX {
        vec![]
    } else {
        vec![format!("{lines} lines; {LINES_MAX} at most")]
    }
}

fn name(file: &SourceFile) -> Vec<String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let mut breaches = Vec::new();
    if name == "mod.rs" {
        breaches.push("`foo.rs` beside `foo/`, not `mod.rs`".into());
    }
    if name.contains("utils") || name.contains("helpers") || file.path.contains("/utils/") {
        breaches.push("name it by what it does".into());
    }
    breaches
}

fn switched_off(file: &SourceFile) -> Vec<String> {
    // Written in two parts, so that this file does not break its own rule.
    let forbidden = [
        concat!("#[ig", "nore"),
        concat!("tod", "o!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    file.code()
        .flat_map(|(number, line)| {
            let hits = forbidden
                .iter()
                .filter(move |pattern| line.contains(*pattern));
            hits.map(move |pattern| format!("line {number}: {pattern}"))
        })
        .collect()
}

/// What each crate must not name: `server -> catalog`, `server -> udfs`, and nothing else; only
/// `catalog` knows the row store and the Delta log.
fn borders(file: &SourceFile) -> Vec<String> {
    let rules: &[(&str, &[&str])] = &[
        (
            "udfs",
            &[
                "nyala_catalog",
                "nyala_server",
                "pgwire",
                "fjall",
                "deltalake",
            ],
        ),
        (
            "catalog",
            &["nyala_server", "nyala_udfs", "pgwire", "sqlparser"],
        ),
        ("server", &["fjall", "deltalake"]),
        ("tests", &["nyala_catalog", "nyala_server", "nyala_udfs"]),
    ];
    // This file has to name what it forbids.
    if file.path.ends_with("tests/src/tidy.rs") {
        return vec![];
    }
    let forbidden = rules
        .iter()
        .filter(|(krate, _)| file.is_below(krate))
        .flat_map(|(_, f)| *f);
    forbidden
        .flat_map(|word| {
            let hits = file.code().filter(move |(_, line)| mentions(line, word));
            hits.map(move |(number, _)| {
                format!("line {number}: {word} is beyond the layer's border")
            })
        })
        .collect()
}

/// Whether a line has the word as a whole path segment.
fn mentions(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        !before.is_some_and(part) && (after.starts_with("::") || after.starts_with(';'))
    })
}

fn glob_imports(file: &SourceFile) -> Vec<String> {
    let is_glob = |line: &str| {
        let line = line.trim_start();
        let import = line.starts_with("use ") || line.starts_with("pub use ");
        import && line.contains("::*")
    };
    let hits = file
        .code()
        .filter(|(_, line)| is_glob(line) && line.trim() != "use super::*;");
    hits.map(|(number, line)| format!("line {number}: {}", line.trim()))
        .collect()
}

/// Paths of the machine a file was written on have no meaning on another.
fn machine_paths() -> TestResult {
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let text = |name: &str| {
        let endings = [
            ".rs", ".toml", ".md", ".slt", ".yml", ".yaml", ".py", ".sh", ".sql",
        ];
        endings.iter().any(|ending| name.ends_with(ending))
            || ["Makefile", "Dockerfile", "run"].contains(&name)
    };
    let mut breaches = Vec::new();
    for file in files(&root()?, text)? {
        for (index, line) in file.text.lines().enumerate() {
            let hits = forbidden.iter().filter(|path| line.contains(*path));
            breaches.extend(hits.map(|path| format!("{}:{}: {path}", file.path, index + 1)));
        }
    }
    report(breaches)
}

/// The same borders in the manifests, where a dependency would show first.
fn manifest_borders() -> TestResult {
    let rules: &[(&str, &[&str])] = &[
        ("udfs", &["nyala-", "pgwire", "fjall", "deltalake"]),
        (
            "catalog",
            &["nyala-server", "nyala-udfs", "pgwire", "sqlparser"],
        ),
        ("server", &["fjall", "deltalake"]),
    ];
    let root = root()?;
    let mut breaches = Vec::new();
    for (krate, forbidden) in rules {
        let manifest = std::fs::read_to_string(root.join(krate).join("Cargo.toml"))?;
        let dependencies = manifest
            .lines()
            .skip_while(|line| !line.contains("dependencies]"));
        for line in dependencies {
            let hits = forbidden.iter().filter(|name| line.starts_with(*name));
            breaches.extend(hits.map(|name| format!("{krate}/Cargo.toml depends on {name}")));
        }
    }
    report(breaches)
}
