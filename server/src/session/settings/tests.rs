//! Settings change, reset and follow the transaction as in PostgreSQL.

use super::Settings;
use crate::error::sqlstate;

fn show(settings: &Settings, name: &str) -> String {
    settings.show(name).unwrap().1
}

#[test]
fn values_are_checked_and_printed_in_their_canonical_form() {
    let mut settings = Settings::new("nyala");
    settings.set("statement_timeout", "2min", false).unwrap();
    assert_eq!(show(&settings, "STATEMENT_TIMEOUT"), "2min");
    settings.set("datestyle", "german", false).unwrap();
    assert_eq!(show(&settings, "DateStyle"), "German, DMY");
    settings.set("timezone", "europe/berlin", false).unwrap();
    assert_eq!(show(&settings, "TimeZone"), "Europe/Berlin");
    let changes = settings.take_changes();
    assert!(changes.contains(&("TimeZone".to_string(), "Europe/Berlin".to_string())));
    assert!(settings.take_changes().is_empty());
    let code = |error: crate::error::PgError| error.code;
    assert_eq!(
        settings.set("no_such", "1", false).map_err(code),
        Err(sqlstate::UNDEFINED_OBJECT)
    );
    assert_eq!(
        settings
            .set("client_encoding", "latin1", false)
            .map_err(code),
        Err(sqlstate::INVALID_PARAMETER_VALUE)
    );
    assert_eq!(
        settings.set("server_version", "16", false).map_err(code),
        Err(sqlstate::CANT_CHANGE_RUNTIME_PARAM)
    );
}

#[test]
fn set_follows_the_transaction() {
    let mut settings = Settings::new("nyala");
    settings.begin();
    settings.set("extra_float_digits", "3", false).unwrap();
    settings.set("bytea_output", "escape", true).unwrap();
    settings.end(true);
    assert_eq!(show(&settings, "extra_float_digits"), "3");
    assert_eq!(show(&settings, "bytea_output"), "hex");
    settings.begin();
    settings.set("extra_float_digits", "0", false).unwrap();
    settings.end(false);
    assert_eq!(show(&settings, "extra_float_digits"), "3");
    settings.reset("extra_float_digits").unwrap();
    assert_eq!(show(&settings, "extra_float_digits"), "1");
}

#[test]
fn the_search_path_is_a_list_of_names() {
    let mut settings = Settings::new("nyala");
    assert_eq!(settings.search_path("me"), ["me", "public"]);
    settings
        .set("search_path", "Sales, \"Old Data\", pg_catalog", false)
        .unwrap();
    assert_eq!(settings.search_path("me"), ["sales", "Old Data"]);
}
