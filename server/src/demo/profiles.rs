//! `profile_records`: change records of customer profiles, as a feed delivers them.
//!
//! The first record of a profile has all of it; each later one is a merge patch (RFC 7396) with what
//! changed, `null` for what is gone. `related_ids` are the identifiers that the record's source knows the
//! customer by.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, StringViewArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use nyala_catalog::types::{SqlType, UTC};

use super::random::Random;
use super::{BATCH_ROWS, DAY_US, TODAY, scaled};
use crate::error::Result;

/// The table.
pub(super) const CREATE: &str = "\
CREATE TABLE profile_records (
  record_id bigint PRIMARY KEY, profile_id bigint, source text, ts timestamptz,
  related_ids text[], body jsonb
)";

/// Records and profiles at scale 1.
const RECORDS: u32 = 500_000;
const PROFILES: u32 = 100_000;

/// Days before today that records are from.
const DAYS: i64 = 640;

/// Records are delivered up to this late, and so out of order.
const LATE_US_MAX: i64 = 6 * 3_600 * 1_000_000;

const SOURCES: [(&str, u32); 5] = [
    ("crm", 34),
    ("web", 27),
    ("app", 21),
    ("billing", 12),
    ("call_centre", 6),
];

const FIRST_NAMES: [&str; 16] = [
    "Anna", "Ben", "Clara", "David", "Elif", "Felix", "Greta", "Hannes", "Ines", "Jonas", "Katja",
    "Leon", "Mia", "Noah", "Olga", "Paul",
];

const LAST_NAMES: [&str; 16] = [
    "Becker",
    "Fischer",
    "Hofmann",
    "Huber",
    "Kaya",
    "Koch",
    "Krüger",
    "Lehmann",
    "Meyer",
    "Müller",
    "Nowak",
    "Schmidt",
    "Schneider",
    "Wagner",
    "Weber",
    "Yilmaz",
];

const STREETS: [&str; 8] = [
    "Bahnhofstr.",
    "Gartenweg",
    "Hauptstr.",
    "Lindenallee",
    "Marktplatz",
    "Ringstr.",
    "Schillerstr.",
    "Seestr.",
];

/// Cities with the start of their postal codes, by how many customers live there.
const CITIES: [((&str, &str), u32); 10] = [
    (("Berlin", "10"), 19),
    (("Hamburg", "20"), 14),
    (("München", "80"), 13),
    (("Köln", "50"), 11),
    (("Frankfurt am Main", "60"), 10),
    (("Stuttgart", "70"), 9),
    (("Leipzig", "04"), 8),
    (("Nürnberg", "90"), 6),
    (("Freiburg", "79"), 5),
    (("Kiel", "24"), 5),
];

const INTERESTS: [&str; 6] = [
    "\"ev\"",
    "\"gas\"",
    "\"heat_pump\"",
    "\"smart_home\"",
    "\"solar\"",
    "\"storage\"",
];

const TIERS: [(&str, u32); 3] = [("silver", 60), ("gold", 30), ("platinum", 10)];

/// What a later record changes.
#[derive(Debug, Clone, Copy, Default)]
enum Change {
    #[default]
    Consent,
    Move,
    Email,
    Phone,
    NoPhone,
    Interests,
    Loyalty,
    NoTier,
    NoLoyalty,
}

/// Changes by how common they are.
const CHANGES: [(Change, u32); 9] = [
    (Change::Consent, 24),
    (Change::Interests, 20),
    (Change::Loyalty, 18),
    (Change::Email, 10),
    (Change::Move, 9),
    (Change::Phone, 8),
    (Change::NoPhone, 5),
    (Change::NoTier, 3),
    (Change::NoLoyalty, 3),
];

/// Generates the columns of the table, in order, in batches.
pub(super) struct ProfileRecords {
    random: Random,
    records: u64,
    /// For each profile, whether it has a record.
    begun: Vec<bool>,
    /// The next record.
    record: u64,
}

struct Columns {
    record_id: Vec<i64>,
    profile_id: Vec<i64>,
    source: Vec<&'static str>,
    ts: Vec<i64>,
    related_ids: Vec<String>,
    related_ends: Vec<i32>,
    body: Vec<String>,
}

impl ProfileRecords {
    pub(super) fn new(scale: f64) -> Self {
        let profiles = scaled(PROFILES, scale);
        Self {
            random: Random::new(0x7072_6f66),
            records: scaled(RECORDS, scale),
            begun: vec![false; profiles as usize],
            record: 1,
        }
    }

    fn add_record(&mut self, columns: &mut Columns) {
        let profiles = self.begun.len() as u64;
        // Half of the records are spread evenly, half are those of the few that are always active.
        let profile = if self.random.chance(0.5) {
            self.random.below(profiles)
        } else {
            self.random.skewed(profiles, 2)
        };
        let new = match self.begun.get_mut(profile as usize) {
            Some(begun) => !std::mem::replace(begun, true),
            None => false,
        };
        let elapsed = DAYS as f64 * DAY_US as f64 * (self.record - 1) as f64 / self.records as f64;
        let late = if self.random.chance(0.1) {
            self.random.between(0, LATE_US_MAX)
        } else {
            0
        };
        let source = self.random.weighted(&SOURCES);
        let body = if new {
            self.whole_profile(profile)
        } else {
            self.patch(profile)
        };
        columns.record_id.push(self.record as i64);
        columns.profile_id.push(1 + profile as i64);
        columns.source.push(source);
        columns
            .ts
            .push((TODAY - DAYS) * DAY_US + elapsed as i64 - late);
        self.add_related(columns, source, profile);
        columns.body.push(body);
        self.record += 1;
    }

    /// The identifiers that a source knows a profile by; they do not change.
    fn add_related(&mut self, columns: &mut Columns, source: &str, profile: u64) {
        let ids = &mut columns.related_ids;
        let hash = Random::new(profile).bits();
        match source {
            "web" => ids.push(format!("cookie:{hash:016x}")),
            "app" => ids.push(format!("device:{:012x}", hash >> 16)),
            _ => ids.push(format!("crm:K{:08}", profile + 1)),
        }
        if self.random.chance(0.4) {
            ids.push(format!("email:{}", email(profile, 0)));
        }
        columns
            .related_ends
            .push(i32::try_from(ids.len()).unwrap_or(i32::MAX));
    }

    fn whole_profile(&mut self, profile: u64) -> String {
        let (first, last) = (
            self.random.pick(&FIRST_NAMES),
            self.random.pick(&LAST_NAMES),
        );
        let (email, phone) = (email(profile, 0), self.phone());
        let (address, consent) = (self.address(), self.consent());
        format!(
            "{{\"name\": {{\"last\": \"{last}\", \"first\": \"{first}\"}}, \"email\": \"{email}\", \
             \"phone\": \"{phone}\", \"address\": {address}, \"consent\": {consent}}}"
        )
    }

    fn patch(&mut self, profile: u64) -> String {
        match self.random.weighted(&CHANGES) {
            Change::Consent => {
                let key = self.random.pick(&["ads", "post", "email"]);
                let given = self.random.chance(0.45);
                format!("{{\"consent\": {{\"{key}\": {given}}}}}")
            }
            Change::Move => format!("{{\"address\": {}}}", self.address()),
            Change::Email => {
                format!(
                    "{{\"email\": \"{}\"}}",
                    email(profile, 1 + self.random.below(3))
                )
            }
            Change::Phone => format!("{{\"phone\": \"{}\"}}", self.phone()),
            Change::NoPhone => "{\"phone\": null}".to_owned(),
            Change::Interests => {
                let chosen: Vec<_> = INTERESTS
                    .into_iter()
                    .filter(|_| self.random.chance(0.3))
                    .collect();
                format!("{{\"interests\": [{}]}}", chosen.join(", "))
            }
            Change::Loyalty => {
                let tier = self.random.weighted(&TIERS);
                let points = self.random.exponential(900.0) as u64;
                format!("{{\"loyalty\": {{\"tier\": \"{tier}\", \"points\": {points}}}}}")
            }
            Change::NoTier => "{\"loyalty\": {\"tier\": null}}".to_owned(),
            Change::NoLoyalty => "{\"loyalty\": null}".to_owned(),
        }
    }

    fn address(&mut self) -> String {
        let (city, zip) = self.random.weighted(&CITIES);
        let (street, house) = (self.random.pick(&STREETS), 1 + self.random.skewed(120, 2));
        let rest = self.random.below(1_000);
        format!(
            "{{\"zip\": \"{zip}{rest:03}\", \"city\": \"{city}\", \"street\": \"{street} {house}\"}}"
        )
    }

    fn consent(&mut self) -> String {
        let (ads, post) = (self.random.chance(0.35), self.random.chance(0.6));
        let email = self.random.chance(0.5);
        format!("{{\"ads\": {ads}, \"post\": {post}, \"email\": {email}}}")
    }

    fn phone(&mut self) -> String {
        let network = self.random.pick(&["151", "160", "171", "176"]);
        format!("+49 {network} {:08}", self.random.below(100_000_000))
    }
}

/// An address of the profile's; `version` 0 is its first.
fn email(profile: u64, version: u64) -> String {
    let mut random = Random::new(profile ^ (version << 40));
    let provider = random.pick(&["example.com", "example.org", "example.net"]);
    format!("{:08x}@{provider}", random.below(1 << 32))
}

impl Columns {
    fn new() -> Self {
        Self {
            record_id: Vec::new(),
            profile_id: Vec::new(),
            source: Vec::new(),
            ts: Vec::new(),
            related_ids: Vec::new(),
            related_ends: vec![0],
            body: Vec::new(),
        }
    }

    fn into_arrays(self) -> Result<Vec<ArrayRef>> {
        let item = Arc::new(SqlType::Text.field("item", true));
        let ids = Arc::new(StringViewArray::from_iter_values(self.related_ids));
        let ends = OffsetBuffer::new(self.related_ends.into());
        Ok(vec![
            Arc::new(Int64Array::from(self.record_id)),
            Arc::new(Int64Array::from(self.profile_id)),
            Arc::new(StringViewArray::from_iter_values(self.source)),
            Arc::new(TimestampMicrosecondArray::from(self.ts).with_timezone(UTC)),
            Arc::new(ListArray::try_new(item, ends, ids, None)?),
            Arc::new(StringViewArray::from_iter_values(self.body)),
        ])
    }
}

impl Iterator for ProfileRecords {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns = Columns::new();
        while self.record <= self.records && columns.record_id.len() < BATCH_ROWS {
            self.add_record(&mut columns);
        }
        (!columns.record_id.is_empty()).then(|| columns.into_arrays())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn bodies_are_canonical_and_some_delete() {
        let batch = ProfileRecords::new(0.02)
            .next()
            .expect("a batch")
            .expect("generated");
        assert_eq!(batch[0].len(), 10_000);
        let mut deleting = 0;
        for text in batch[5].as_string_view().iter().flatten() {
            let mut canonical = String::new();
            nyala_udfs::canonical::canonicalize_jsonb(text, &mut canonical).expect("JSON");
            assert_eq!(canonical, text);
            deleting += usize::from(text.contains("null"));
        }
        assert!((300..3_000).contains(&deleting), "{deleting}");
    }

    #[test]
    fn every_record_has_related_ids() {
        let batch = ProfileRecords::new(0.01)
            .next()
            .expect("a batch")
            .expect("generated");
        let related = batch[4].as_list::<i32>();
        assert_eq!(related.len(), 5_000);
        assert!(
            related
                .iter()
                .flatten()
                .all(|ids| (1..=2).contains(&ids.len()))
        );
    }
}
