use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::string::ToString;
use std::vec::Vec;

fn next<const N: usize>(ring: &FrameRing<N>) -> Option<Vec<u8>> {
    let mut frame = [0; 16];
    ring.take(&mut frame).map(|length| frame[..length].to_vec())
}

#[test]
fn a_full_ring_gives_up_its_oldest_and_counts_them() {
    let ring = FrameRing::<16>::new();
    assert_eq!(next(&ring), None);
    for frame in [b"one", b"two", b"six", b"ten"] {
        ring.append(frame);
    }
    assert_eq!(
        (ring.dropped(), ring.waiting()),
        (0, Waiting { frames: 4, bytes: 16 }),
        "they fit exactly"
    );
    ring.append(b"twelve");
    assert_eq!((ring.written(), ring.dropped()), (5, 2));
    assert_eq!(next(&ring).as_deref(), Some(&b"six"[..]));
    assert_eq!(next(&ring).as_deref(), Some(&b"ten"[..]));
    assert_eq!((ring.dropped(), ring.waiting()), (2, Waiting { frames: 1, bytes: 7 }));
    // What was taken is not lost where it is written over.
    (0..8).for_each(|_| ring.append(b"x"));
    assert_eq!((ring.written(), ring.dropped()), (13, 3));
}

#[test]
fn what_can_never_fit_is_refused_and_harms_nothing() {
    let ring = FrameRing::<8>::new();
    ring.append(b"one");
    ring.append(b"12345678");
    ring.append(b"\0");
    ring.append(b"a\0b");
    ring.refuse();
    assert_eq!((ring.written(), ring.dropped()), (1, 4));
    assert_eq!(next(&ring).as_deref(), Some(&b"one"[..]));
    ring.append(b"1234567");
    assert_eq!(next(&ring).as_deref(), Some(&b"1234567"[..]), "the whole ring");
}

#[test]
fn a_frame_is_cut_where_its_reader_has_no_room() {
    let ring = FrameRing::<16>::new();
    ring.append(b"123456");
    ring.append(b"x");
    let mut frame = [0; 3];
    assert_eq!(ring.take(&mut frame), Some(3));
    assert_eq!(&frame, b"123");
    assert_eq!(next(&ring).as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_reader_that_is_passed_by_begins_anew() {
    let ring = FrameRing::<16>::new();
    (0..4).for_each(|_| ring.append(b"old"));
    let mut frame = [0; 16];
    let mut more = [&b"one"[..], b"longest frame", b"x"].into_iter();
    // Each time it has copied a frame, that one is written over.
    let length = ring
        .take_while(&mut frame, || more.next().into_iter().for_each(|frame| ring.append(frame)));
    assert_eq!(length.map(|length| &frame[..length]), Some(&b"longest frame"[..]));
    assert_eq!(next(&ring).as_deref(), Some(&b"x"[..]));
    assert_eq!((ring.written(), ring.dropped()), (7, 5));
}

/// Lines that are kept of rings with these frames.
fn kept(rings: &[&[&str]], room: usize) -> Vec<Vec<u8>> {
    let filled: Vec<_> = rings
        .iter()
        .map(|frames| {
            let ring = FrameRing::<64>::new();
            frames.iter().for_each(|frame| ring.append(frame.as_bytes()));
            ring
        })
        .collect();
    let mut kept = Vec::new();
    let rings: Vec<_> = filled.iter().collect();
    keep_newest(&rings, room, &mut [0; 16], |frame| kept.push(frame.to_vec()));
    assert!(rings.iter().all(|ring| ring.waiting().frames == 0), "all was taken");
    kept
}

#[test]
fn the_newest_of_each_ring_are_kept() {
    let line = Hex(b"a1").to_string().len() + 1;
    assert_eq!(line, Waiting { frames: 1, bytes: 3 }.as_lines());
    let rings: [&[&str]; 3] = [&["a1", "a2", "a3", "a4"], &["b1"], &["c1", "c2"]];
    for (room, wanted) in [
        (7, vec!["a1", "a2", "c1", "b1", "a3", "c2", "a4"]),
        (5, vec!["c1", "b1", "a3", "c2", "a4"]),
        (3, vec!["c2", "b1", "a4"]),
        (0, vec![]),
    ] {
        let kept = kept(&rings, room * line);
        // Which ring comes first does not matter where they have as many.
        let (mut kept, mut wanted) = (kept, wanted);
        kept.sort();
        wanted.sort();
        assert_eq!(
            kept,
            wanted.iter().map(|frame| frame.as_bytes().to_vec()).collect::<Vec<_>>(),
            "{room}"
        );
    }
    let order = kept(&[&["1", "2", "3"]], 1000);
    assert_eq!(order, [b"1", b"2", b"3"], "the oldest first");
}

/// Two threads, as fast as they can: what is got is whole and in order, and what is not got is
/// counted.
#[test]
fn a_reader_that_is_passed_by_gets_whole_frames() {
    const FRAMES: u64 = 200_000;
    let ring = FrameRing::<32>::new();
    let write = || {
        for number in 1..=FRAMES {
            // As long as its number, so that frames begin everywhere.
            let text = std::format!("{number}-{number}");
            ring.append(text.as_bytes());
        }
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let (mut last, mut got, mut frame) = (0, 0, [0; 32]);
        while last < FRAMES {
            let Some(length) = ring.take(&mut frame) else {
                assert!(
                    !writer.is_finished() || ring.waiting().frames > 0 || last == FRAMES,
                    "the last is lost"
                );
                std::thread::yield_now();
                continue;
            };
            let text = core::str::from_utf8(&frame[..length]).expect("digits");
            let (one, other) = text.split_once('-').expect("whole");
            assert_eq!(one, other, "torn");
            let number = one.parse().expect("a number");
            assert!(number > last, "{number} after {last}");
            (last, got) = (number, got + 1);
        }
        assert_eq!((ring.written(), ring.dropped()), (FRAMES, FRAMES - got));
    });
}

proptest! {
    /// Against a queue that gives up its oldest.
    #[test]
    fn keeps_the_newest_in_order(calls in proptest::collection::vec(proptest::option::of(proptest::collection::vec(1u8.., 0..20)), 0..100)) {
        let ring = FrameRing::<16>::new();
        let mut model = VecDeque::new();
        // What was taken and not written over takes room too.
        let (mut held, mut written, mut dropped) = (VecDeque::new(), 0, 0);
        for call in calls {
            match call {
                Some(frame) if frame.len() < 16 => {
                    ring.append(&frame);
                    held.push_back(frame.len() + 1);
                    model.push_back(frame);
                    written += 1;
                    while held.iter().sum::<usize>() > 16 {
                        held.pop_front();
                        if model.len() > held.len() {
                            model.pop_front();
                            dropped += 1;
                        }
                    }
                }
                Some(frame) => {
                    ring.append(&frame);
                    dropped += 1;
                }
                None => prop_assert_eq!(next(&ring), model.pop_front()),
            }
            prop_assert_eq!((ring.written(), ring.dropped()), (written, dropped));
            let bytes = model.iter().map(|frame| frame.len() + 1).sum();
            prop_assert_eq!(ring.waiting(), Waiting { frames: model.len() as u64, bytes });
        }
    }
}
