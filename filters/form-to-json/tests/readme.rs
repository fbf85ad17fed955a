//! The README's examples do what it says.

mod support;

use support::{FORM, JSON, converted, form, with_template};

const README: &str = include_str!("../README.md");

const DOCUMENT: &str =
    r#"{"id": 12345678901234567890, "user": {"name": "Ann"}, "tags": [], "vars": {"a": "1", "b": "2"}}"#;

/// The first two columns of a table, without the quotes of code.
fn rows(heading: &str) -> Vec<(&'static str, &'static str)> {
    let (_, table) = README.split_once(heading).unwrap_or_default();
    let rows =
        table.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`']));
        Some((cells.next()?, cells.next()?))
    })
    .collect()
}

#[test]
fn templates_make_what_their_table_says() {
    assert!(README.contains(DOCUMENT));
    let rows = rows("| template | result |");
    assert_eq!(rows.len(), 8);
    for (template, expected) in rows {
        assert_eq!(converted(&with_template(template), JSON, DOCUMENT).unwrap(), expected, "{template}");
    }
}

#[test]
fn forms_become_what_their_table_says() {
    let rows = rows("| in the form | in the JSON |");
    assert_eq!(rows.len(), 7);
    for (body, expected) in rows {
        match expected {
            "refused" => {
                for body in body.split("`, `") {
                    assert!(form(body).is_err(), "{body}");
                }
            }
            _ => assert_eq!(form(body).unwrap(), expected, "{body}"),
        }
    }
}

#[test]
fn the_first_example_is_a_rule() {
    let (_, rest) = README.split_once("\"template\": ").unwrap();
    let template = rest.lines().next().unwrap().strip_suffix('}').unwrap();
    assert_eq!(
        converted(&with_template(template), FORM, "command=%2Fx").unwrap(),
        r#"{"command":"/x","text":""}"#
    );
}
