use std::collections::BTreeMap;

use super::super::report::{Data, Row};
use super::super::{Run, sample};
use super::{Series, file, groups, ladders, plots, scaling, slower};

fn rows(runs: &[Run]) -> Vec<&Row> {
    runs.iter().flat_map(|run| &run.report.rows).collect()
}

#[test]
fn every_kind_of_figure_has_its_plot() {
    let plots: BTreeMap<String, String> = plots(&sample::runs()).expect("drawn").into_iter().collect();
    let names: Vec<&str> = plots.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["ladder-ladder-4.svg", "latency-allocator-push-latency.svg", "scaling-allocator-locks_op.svg"]
    );
    for (name, text) in &plots {
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"), "{name}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}");
    }
    let ladder = &plots["ladder-ladder-4.svg"];
    for word in ["direct", "ring", "ring-batched", "producer", "drain", "ladder on 4 cores"] {
        assert!(ladder.contains(word), "{word}");
    }
    let latency = &plots["latency-allocator-push-latency.svg"];
    assert!(latency.contains("1 cores, 8000 samples") && latency.contains("4 cores, 32000 samples"));
}

#[test]
fn figures_of_one_machine_do_not_scale() {
    let runs = sample::runs();
    let scaling = scaling(&rows(&runs));
    let series = &scaling[&("allocator".to_owned(), "locks/op".to_owned())];
    let wanted = Series { name: "locks-per-drained".into(), points: vec![(1.0, 0.031), (4.0, 0.044)] };
    assert_eq!((series.as_slice(), scaling.len()), ([wanted].as_slice(), 1));
}

#[test]
fn rungs_keep_their_order_and_columns_make_the_bars() {
    let runs = sample::runs();
    let ladders = ladders(&rows(&runs));
    let (names, series) = groups(&ladders[&("ladder".to_owned(), 4)]);
    assert_eq!(names, ["direct", "ring", "ring-batched"]);
    assert_eq!(
        series[0],
        Series { name: "producer".into(), points: vec![(0.0, 97.6), (1.0, 11.9), (2.0, 3.8)] }
    );
    assert_eq!(series[1].name, "drain");
}

#[test]
fn the_tail_ends_with_the_slowest_sample() {
    let mut row = sample::runs()[0].report.rows.last().expect("the histogram").clone();
    row.data = Data::Histogram(vec![(0.0, 50), (16.0, 25), (32.0, 24), (64.0, 1), (128.0, 0)]);
    let series = slower(&row).expect("samples");
    assert_eq!(series.points, [(16.0, 0.25), (32.0, 0.01)]);
    row.data = Data::Histogram(vec![(16.0, 0)]);
    assert_eq!(slower(&row), None);
}

#[test]
fn file_names_are_plain() {
    assert_eq!(file("scaling", &["allocator", "instructions/op"]), "scaling-allocator-instructions_op.svg");
    assert_eq!(file("scaling", &["allocator", "%"]), "scaling-allocator-percent.svg");
}
