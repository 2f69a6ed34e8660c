use std::collections::BTreeMap;

use super::super::report::{Data, Row};
use super::super::{Run, sample};
use super::{Panel, Series, draw, file, ladders, panels, plots, scaling, slower};

fn rows(runs: &[Run]) -> Vec<&Row> {
    runs.iter().flat_map(|run| &run.report.rows).collect()
}

#[test]
fn every_kind_of_figure_has_its_plot() {
    let plots: BTreeMap<String, String> =
        plots(&sample::runs()).expect("drawn").into_iter().collect();
    let names: Vec<&str> = plots.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ladder-ladder-instructions_op.svg",
            "latency-allocator-push-latency.svg",
            "scaling-allocator-handles.svg",
            "scaling-allocator-locks_op.svg"
        ]
    );
    for (name, text) in &plots {
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"), "{name}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}");
    }
    let ladder = &plots["ladder-ladder-instructions_op.svg"];
    for word in [
        "direct",
        "ring",
        "ring-batched",
        "producer",
        "drain",
        "4 cores",
        "ladder, instructions/op",
    ] {
        assert!(ladder.contains(word), "{word}");
    }
    let latency = &plots["latency-allocator-push-latency.svg"];
    assert!(latency.contains("1 core, 8000 samples") && latency.contains("4 cores, 32000 samples"));
}

#[test]
fn figures_of_one_machine_do_not_scale() {
    let runs = sample::runs();
    let scaling = scaling(&rows(&runs));
    let series = &scaling[&("allocator".to_owned(), "locks/op".to_owned())];
    let wanted =
        Series { name: "locks-per-drained".into(), points: vec![(1.0, 0.031), (4.0, 0.044)] };
    assert_eq!(series.as_slice(), [wanted]);
    let handles = &scaling[&("allocator".to_owned(), "handles".to_owned())];
    let wanted =
        Series { name: "burst-N-synchronous".into(), points: vec![(1.0, 0.0), (4.0, 0.0)] };
    assert_eq!(handles.as_slice(), [wanted], "the number of cores in a name is no part of it");
    assert_eq!(scaling.len(), 2);
}

#[test]
fn rungs_keep_their_order_and_each_column_has_a_panel() {
    let mut runs = sample::runs();
    let mut other = runs[1].clone();
    other.report.rows.retain(|row| row.name == "ring");
    other.report.rows[0].cores = 2;
    runs.push(other);
    let ladders = ladders(&rows(&runs));
    let panels = panels(&ladders[&("ladder".to_owned(), "instructions/op".to_owned())]);
    let columns: Vec<&str> = panels.iter().map(|panel| panel.column.as_str()).collect();
    assert_eq!(columns, ["producer", "drain"]);
    assert_eq!(panels[0].rungs, ["direct", "ring", "ring-batched"]);
    assert_eq!(
        panels[0].series,
        [
            Series { name: "2 cores".into(), points: vec![(1.0, 11.9)] },
            Series { name: "4 cores".into(), points: vec![(0.0, 97.6), (1.0, 11.9), (2.0, 3.8)] },
        ]
    );
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
    assert_eq!(
        file("scaling", &["allocator", "instructions/op"]),
        "scaling-allocator-instructions_op.svg"
    );
    assert_eq!(file("scaling", &["allocator", "%"]), "scaling-allocator-percent.svg");
}

#[test]
fn every_rung_is_named() {
    for count in 1_u32..=16 {
        let rungs: Vec<String> = (0..count).map(|index| format!("rung-{index}-")).collect();
        let points = (0..count).map(|index| (f64::from(index), 1.0)).collect();
        let series = vec![Series { name: "1 core".into(), points }];
        let panel = Panel { column: "work".into(), rungs: rungs.clone(), series };
        let text = draw::bars("ladder", &[panel]).expect("drawn");
        for rung in rungs {
            assert_eq!(text.matches(&rung).count(), 1, "{rung} of {count}");
        }
    }
}
