//! Dumps written by hand, and the slices that must come of them.

use serde_json::Value;

use super::Dump;

/// A tick is a microsecond.
const HEAD: &str = "trace 1000000 1000";

fn chrome(lines: &str) -> Vec<Value> {
    let text = format!("{HEAD}\n{lines}");
    let file = Dump::parse(text.lines()).expect("a good dump").chrome();
    file["traceEvents"].as_array().expect("an array").clone()
}

/// Core, name, start and length of every slice, by start and the longer first.
fn slices(lines: &str) -> Vec<(u64, String, f64, f64)> {
    let slice = |event: &Value| {
        let name = event["name"].as_str()?.to_owned();
        Some((event["tid"].as_u64()?, name, event["ts"].as_f64()?, event["dur"].as_f64()?))
    };
    let mut all: Vec<_> = chrome(lines).iter().filter_map(slice).collect();
    all.sort_by(|one, other| {
        (one.0, one.2, -one.3).partial_cmp(&(other.0, other.2, -other.3)).expect("numbers")
    });
    all
}

fn expect(lines: &str, wanted: &[(u64, &str, f64, f64)]) {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(core, name, start, length)| (*core, (*name).to_owned(), *start, *length))
        .collect();
    assert_eq!(slices(lines), wanted);
}

#[test]
fn a_preempted_drain_is_cut_at_its_task() {
    expect(
        "0 100 switch 3 drain\n0 110 drain-begin 600 \n0 150 interrupt-in 30 timer\n0 152 wake 5 shell\n\
         0 160 interrupt-out 30 \n0 165 switch 5 shell\n0 200 switch 3 drain\n0 240 drain-end 600 \n0 250 switch 63 idle",
        &[
            (0, "drain", 0.0, 65.0),
            (0, "drain slice", 10.0, 55.0),
            (0, "irq timer", 50.0, 10.0),
            (0, "shell", 65.0, 35.0),
            (0, "drain", 100.0, 50.0),
            (0, "drain slice", 100.0, 40.0),
            (0, "idle", 150.0, 750.0),
        ],
    );
}

#[test]
fn slices_lie_in_their_task_and_in_one_another() {
    let lines = "0 100 switch 3 vm\n0 110 guest-enter 1 \n0 150 guest-exit 1 \n0 150 interrupt-in 1 drain\n\
                 0 155 interrupt-out 1 \n0 156 switch 4 drain\n0 157 drain-begin 9 \n0 160 interrupt-in 30 timer\n\
                 0 161 interrupt-out 30 \n0 170 drain-end 9 \n0 171 switch 3 vm";
    let all = slices(lines);
    for (core, name, start, length) in &all {
        for (other_core, other, from, span) in &all {
            let apart = start + length <= *from || from + span <= *start;
            let inside = (start >= from && start + length <= from + span)
                || (from >= start && from + span <= start + length);
            assert!(core != other_core || apart || inside, "{name} and {other} cross");
        }
    }
    assert_eq!(all.len(), 7);
}

#[test]
fn what_began_before_the_first_event_has_no_slice() {
    expect(
        "2 100 interrupt-out 30 \n2 110 drain-end 5 \n2 120 guest-exit 0 \n2 130 switch 61 idle\n4 90 switch 7 log",
        &[(2, "idle", 40.0, 870.0), (4, "log", 0.0, 910.0)],
    );
}

#[test]
fn cores_are_named_tracks_with_instants() {
    let events = chrome("0 5 enqueue 512 \n1 7 wake 3 drain\n1 8 release 64 ");
    let named = |name: &str| events.iter().find(|event| event["name"] == name).expect(name).clone();
    assert_eq!(named("watermark passed")["args"]["pending"], 512);
    assert_eq!(named("wake drain")["ts"], 2.0);
    assert_eq!(
        (named("release")["args"]["slots"].clone(), named("release")["ph"].clone()),
        (64.into(), "i".into())
    );
    let tracks: Vec<_> = events.iter().filter(|event| event["name"] == "thread_name").collect();
    assert_eq!(tracks.len(), 2);
    assert_eq!(tracks[1]["args"]["name"], "core 1");
}

#[test]
fn bad_dumps_are_refused() {
    for (lines, why) in [
        ("", "no first line"),
        ("0 1 wake 2 x", "no first line"),
        ("trace 1000 5\n0 1 leap 2 x", "no event"),
        ("trace 1000 5\n0 9 wake 2 x\n0 8 wake 2 x", "back in time"),
    ] {
        let error = Dump::parse(lines.lines()).expect_err(lines);
        assert!(format!("{error:#}").contains(why), "{lines:?}: {error:#}");
    }
}
