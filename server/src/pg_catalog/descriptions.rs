//! What PostgreSQL 15 says of the types, functions and operators that Nyala has: catalog, OID and text, read once from
//! `descriptions.tsv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use nyala_catalog::definitions::Oid;

/// Describes one object of a catalog.
#[derive(Debug)]
pub struct Description {
    /// Catalog that the object is in.
    pub catalog: &'static str,
    /// OID of the object.
    pub oid: Oid,
    /// What it is.
    pub text: &'static str,
}

struct Descriptions {
    list: Vec<Description>,
    /// Positions of the descriptions of an OID; objects of different catalogs may share it.
    oids: HashMap<Oid, Vec<usize>>,
}

static DESCRIPTIONS: LazyLock<Descriptions> = LazyLock::new(|| {
    let list: Vec<_> = include_str!("descriptions.tsv")
        .lines()
        .filter_map(parse)
        .collect();
    let mut oids: HashMap<Oid, Vec<usize>> = HashMap::new();
    for (at, description) in list.iter().enumerate() {
        oids.entry(description.oid).or_default().push(at);
    }
    Descriptions { list, oids }
});

fn parse(line: &'static str) -> Option<Description> {
    let mut fields = line.splitn(3, '\t');
    Some(Description {
        catalog: fields.next()?,
        oid: fields.next()?.parse().ok()?,
        text: fields.next()?,
    })
}

/// All descriptions.
pub fn all() -> &'static [Description] {
    &DESCRIPTIONS.list
}

/// What is said of an object; without a catalog it is the first that has the OID.
pub fn find(oid: Oid, catalog: Option<&str>) -> Option<&'static str> {
    let found = DESCRIPTIONS.oids.get(&oid)?;
    let mut found = found.iter().filter_map(|at| DESCRIPTIONS.list.get(*at));
    let found = found.find(|known| catalog.is_none_or(|catalog| catalog == known.catalog))?;
    Some(found.text)
}

#[cfg(test)]
mod tests {
    use super::{all, find};

    #[test]
    fn every_line_is_read_and_found() {
        let lines = include_str!("descriptions.tsv").lines().count();
        assert_eq!(all().len(), lines);
        for known in all() {
            assert_eq!(find(known.oid, Some(known.catalog)), Some(known.text));
        }
        assert_eq!(find(23, Some("pg_proc")), None);
    }
}
