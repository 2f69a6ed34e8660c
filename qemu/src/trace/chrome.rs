//! A dump of the kernel's trace as Chrome's trace event format, which Perfetto and chrome://tracing
//! open ("Trace Event Format", Google, 2016: complete events `X`, instants `i`, metadata `M`; times
//! in microseconds).
//!
//! A core is a track. Its tasks are slices beside one another; drain, guest and interrupt are
//! slices inside of the task that they ran in. A drain that is preempted is several slices, so that
//! no slice reaches beyond its task. What had begun before the first event that was kept has no
//! slice; what had not ended when the trace was stopped ends there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use bale_core::trace::{Event, Head, Kind, Line};
use serde_json::{Value, json};

/// What the shell's `trace dump` said.
#[derive(Debug)]
pub(crate) struct Dump<'a> {
    head: Head,
    cores: BTreeMap<usize, Vec<Event<'a>>>,
}

impl<'a> Dump<'a> {
    /// Reads the lines of a dump.
    pub(crate) fn parse(mut lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let head = lines.by_ref().find_map(Head::parse).context("the dump has no first line")?;
        let mut cores: BTreeMap<usize, Vec<Event<'a>>> = BTreeMap::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let Line(core, event) =
                Line::parse(line).with_context(|| format!("no event: {line}"))?;
            let events = cores.entry(core).or_default();
            let last = events.last().map_or(0, |last| last.at);
            ensure!(event.at >= last, "core {core} goes back in time: {line}");
            events.push(event);
        }
        Ok(Self { head, cores })
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        self.cores.values().map(Vec::len).sum()
    }

    /// How many cores had any.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The whole file.
    pub(crate) fn chrome(&self) -> Value {
        let first =
            self.cores.values().filter_map(|events| Some(events.first()?.at)).min().unwrap_or(0);
        let mut out =
            vec![json!({"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "Bale"}})];
        for (&core, events) in &self.cores {
            let name = format!("core {core}");
            out.push(
                json!({"ph": "M", "name": "thread_name", "pid": 0, "tid": core, "args": {"name": name}}),
            );
            let end = events.last().map_or(first, |last| last.at).max(self.head.stopped);
            let mut track =
                Track { core, first, frequency: self.head.frequency, out: &mut out, open: vec![] };
            track.draw(events, end);
        }
        json!({ "traceEvents": out, "displayTimeUnit": "ns" })
    }
}

/// A slice that has begun.
struct Slice<'a> {
    kind: Kind,
    number: u32,
    name: &'a str,
    start: u64,
}

struct Track<'a, 'o> {
    core: usize,
    first: u64,
    frequency: u64,
    out: &'o mut Vec<Value>,
    /// The outermost first: a task, then what runs in it.
    open: Vec<Slice<'a>>,
}

impl<'a> Track<'a, '_> {
    fn draw(&mut self, events: &[Event<'a>], end: u64) {
        let mut running = None;
        // Tasks that left the core in the middle of a slice of the drain.
        let mut draining = BTreeSet::new();
        for event in events {
            match event.kind {
                Kind::Switch => {
                    self.close_all(event.at);
                    running = Some(event.number);
                    self.open(event);
                    if draining.contains(&event.number) {
                        self.open(&Event { kind: Kind::DrainBegin, number: 0, name: "", ..*event });
                    }
                }
                Kind::InterruptIn | Kind::GuestEnter => self.open(event),
                Kind::InterruptOut => self.close(Kind::InterruptIn, event),
                Kind::GuestExit => self.close(Kind::GuestEnter, event),
                Kind::DrainBegin => {
                    self.open(event);
                    draining.extend(running);
                }
                Kind::DrainEnd => {
                    self.close(Kind::DrainBegin, event);
                    running.map(|task| draining.remove(&task));
                }
                Kind::Wake | Kind::Release | Kind::Enqueue => self.instant(event),
            }
        }
        self.close_all(end);
    }

    fn open(&mut self, event: &Event<'a>) {
        let Event { at, kind, number, name } = *event;
        self.open.push(Slice { kind, number, name, start: at });
    }

    /// Ends the innermost slice if it is of this kind: the beginning of another was not kept.
    fn close(&mut self, kind: Kind, event: &Event<'_>) {
        if let Some(slice) = self.open.pop_if(|slice| slice.kind == kind) {
            let freed = (kind == Kind::DrainBegin).then_some(event.number);
            self.slice(&slice, event.at, freed);
        }
    }

    fn close_all(&mut self, end: u64) {
        while let Some(slice) = self.open.pop() {
            self.slice(&slice, end, None);
        }
    }

    fn us(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e6 / self.frequency as f64
    }

    fn slice(&mut self, slice: &Slice<'_>, end: u64, freed: Option<u32>) {
        let number = slice.number;
        let (name, args) = match slice.kind {
            Kind::InterruptIn => (format!("irq {}", slice.name), json!({ "intid": number })),
            Kind::DrainBegin => {
                ("drain slice".into(), json!({ "pending": number, "freed": freed }))
            }
            Kind::GuestEnter => (format!("vm {number}"), json!({})),
            _ => (slice.name.to_owned(), json!({ "task": number })),
        };
        let category = match slice.kind {
            Kind::InterruptIn => "interrupt",
            Kind::DrainBegin => "drain",
            Kind::GuestEnter => "guest",
            _ => "task",
        };
        let (start, length) = (self.us(slice.start - self.first), self.us(end - slice.start));
        self.out.push(json!({
            "ph": "X", "name": name, "cat": category, "pid": 0, "tid": self.core,
            "ts": start, "dur": length, "args": args,
        }));
    }

    fn instant(&mut self, event: &Event<'_>) {
        let (name, args) = match event.kind {
            Kind::Release => ("release".to_owned(), json!({ "slots": event.number })),
            Kind::Enqueue => ("watermark passed".to_owned(), json!({ "pending": event.number })),
            _ => (format!("wake {}", event.name), json!({ "task": event.number })),
        };
        let at = self.us(event.at - self.first);
        self.out.push(json!({
            "ph": "i", "s": "t", "name": name, "cat": event.kind.word(), "pid": 0, "tid": self.core,
            "ts": at, "args": args,
        }));
    }
}

#[cfg(test)]
mod tests;
