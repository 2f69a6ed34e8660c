use super::{Data, Report, quantile};

const SAMPLE: &str = include_str!("../../../tests/bench/allocator-1.txt");
const HEADER: &str =
    r#"{"report":"bench","board":"b","cores":2,"cpu":"c","counter":"instructions"}"#;

fn refusal(line: &str) -> String {
    let error = Report::parse([HEADER, line]).expect_err(line);
    let text = format!("{error:#}");
    assert!(text.contains(line), "{text} does not show the line");
    text
}

#[test]
fn a_recorded_run_is_read_whole() {
    let report = Report::parse(SAMPLE.lines()).expect("the sample is good");
    assert_eq!(report.cores, 1);
    assert_eq!(report.says("cpu"), "Cortex-A72 r0p3");
    let json = SAMPLE.lines().filter(|line| line.starts_with("{\"suite\"")).count();
    assert_eq!(report.rows.len(), json);
    let malloc = &report.rows[0];
    assert_eq!(
        (malloc.name.as_str(), malloc.value(), malloc.count()),
        ("malloc", Some(118.4), Some(8000))
    );
    assert_eq!(malloc.cores, 1, "taken from the header");
    let full = report.rows.iter().find(|row| row.name == "density-full").expect("density-full");
    assert_eq!(
        full.fields.get("pages").and_then(serde_json::Value::as_u64),
        Some(50912),
        "an unknown field"
    );
    let last = report.rows.last().expect("rows");
    assert!(matches!(&last.data, Data::Histogram(buckets) if buckets[1] == (32.0, 7800)));
}

#[test]
fn columns_keep_their_order() {
    let row = r#"{"suite":"ladder","name":"ring","cores":4,"columns":{"producer":12.3,"drain":4},"unit":"i"}"#;
    let report = Report::parse([HEADER, "some text", row]).expect("good");
    let wanted = vec![("producer".to_owned(), 12.3), ("drain".to_owned(), 4.0)];
    assert_eq!(report.rows[0].data, Data::Columns(wanted));
    assert_eq!(report.rows[0].cores, 4, "its own, not the header's");
}

#[test]
fn malformed_lines_are_refused_and_shown() {
    for (line, why) in [
        (r#"{"suite":"a","name":"x","value":1.0,"unit":"#, "EOF"),
        (r#"{"suite":"a","name":"x","unit":"u"}"#, "exactly one of"),
        (r#"{"suite":"a","name":"x","value":1,"columns":{"a":1},"unit":"u"}"#, "exactly one of"),
        (r#"{"suite":"a","name":"x","value":"1","unit":"u"}"#, "not a number"),
        (r#"{"suite":"a","name":"x","value":1}"#, "`unit` is missing"),
        (r#"{"suite":"a","value":1,"unit":"u"}"#, "`name` is missing"),
        (r#"{"suite":7,"name":"x","value":1,"unit":"u"}"#, "`suite` is not a text"),
        (r#"{"suite":"a","name":"x","cores":0,"value":1,"unit":"u"}"#, "number of cores"),
        (r#"{"suite":"a","name":"x","columns":{},"unit":"u"}"#, "empty"),
        (r#"{"suite":"a","name":"x","columns":{"p":null},"unit":"u"}"#, "not a number"),
        (r#"{"suite":"a","name":"x","histogram":[[1,2],[1,3]],"unit":"u"}"#, "does not ascend"),
        (r#"{"suite":"a","name":"x","histogram":[[1,-2]],"unit":"u"}"#, "not a count"),
        (r#"{"suite":"a","name":"x","histogram":[1],"unit":"u"}"#, "upper_bound"),
        (r#"{"report":"bench","board":"b","cores":4,"cpu":"c","counter":"i"}"#, "differ"),
    ] {
        let text = refusal(line);
        assert!(text.contains(why), "{text} does not say {why}");
    }
}

/// A line has no checksum: a byte that comes twice is seen in whatever holds it together, and not
/// within a name or a number.
#[test]
fn a_doubled_byte_is_refused_where_it_can_be_seen() {
    let row = r#"{"suite":"a","name":"x","value":1.5,"unit":"u"}"#;
    Report::parse([HEADER, row]).expect("good");
    for (at, byte) in row.char_indices() {
        let doubled = format!("{}{}", &row[..=at], &row[at..]);
        let value =
            row[..at].ends_with(":\"") || (byte.is_ascii_digit() && row[..at].contains("value"));
        if value {
            Report::parse([HEADER, &doubled]).expect("another name or number");
        } else {
            refusal(&doubled);
        }
    }
    refusal(&row.chars().flat_map(|byte| [byte, byte]).collect::<String>());
}

#[test]
fn a_figure_comes_once() {
    let row = r#"{"suite":"a","name":"x","value":1,"unit":"u"}"#;
    let error = Report::parse([HEADER, row, row]).expect_err("twice");
    assert!(format!("{error:#}").contains("came twice"));
    let other = r#"{"suite":"a","name":"x","cores":1,"value":1,"unit":"u"}"#;
    assert_eq!(Report::parse([HEADER, row, other]).expect("another number of cores").rows.len(), 2);
}

#[test]
fn a_report_begins_with_its_header_and_has_figures() {
    let row = r#"{"suite":"a","name":"x","value":1,"unit":"u"}"#;
    let error = format!("{:#}", Report::parse([row, HEADER]).expect_err("no header"));
    assert!(error.contains("`report` is missing"), "{error}");
    let error = format!("{:#}", Report::parse(["error: no", "text"]).expect_err("no report"));
    assert!(error.contains("no report"), "{error}");
    let error = format!("{:#}", Report::parse([HEADER]).expect_err("no figures"));
    assert!(error.contains("without figures"), "{error}");
}

#[test]
fn a_machine_that_counts_nothing_may_have_no_figures() {
    let header = HEADER.replace("instructions", "none");
    let report = Report::parse(["bale> bench", &header, "left out"]).expect("a header is enough");
    assert!(!report.counts() && report.rows.is_empty());
}

#[test]
fn quantiles_are_bounds_of_buckets() {
    let buckets = [(16.0, 0), (32.0, 98), (64.0, 1), (128.0, 1), (256.0, 0)];
    assert_eq!(quantile(&buckets, 0.0), Some(32.0));
    assert_eq!(quantile(&buckets, 0.5), Some(32.0));
    assert_eq!(quantile(&buckets, 0.99), Some(64.0));
    assert_eq!(quantile(&buckets, 1.0), Some(128.0), "the last bucket that holds a sample");
    assert_eq!(quantile(&[(16.0, 0)], 0.5), None);
}
