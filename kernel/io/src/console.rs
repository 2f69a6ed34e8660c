//! The UART: text for people, and frames of the log between them.
//!
//! Output goes into a ring in short pieces, from which the UART's interrupt feeds the line: nobody
//! waits for the wire with interrupts masked, and a task whose text does not fit sleeps until there
//! is room. Tasks print a line at a time, each waiting for the other's to end. What cannot sleep
//! (an interrupt handler, the boot, a crash) sends by polling, in the midst of a line if need be.
//! Input arrives by interrupt into a queue that the shell's task reads. On the wire a log frame is
//! NUL, its bytes (never NUL), NUL; text never holds a NUL.

pub mod pager;
pub mod progress;

use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use arm_pl011_uart::{Interrupts, PL011Registers, Uart, UniqueMmioPointer};
use bale_core::console::{MARK, OutputRing};
use bale_core::guest_text;
use heapless::{Deque, Vec};

use crate::last_words;
use crate::log::LONGEST_FRAME;
use bale_rt::clock;
use bale_rt::sync::{Lock, Mutex, MutexGuard};
use bale_rt::task::{self, TaskId};

/// Bytes that wait for the wire at most.
const OUTPUT: usize = 4096;
/// Bytes given to the UART at a time: what the FIFO of a PL011 holds (DDI 0183, 2.4).
const FIFO: usize = 32;
/// Bytes taken from the UART at a time.
const TAKEN: usize = 8;
/// Bytes pushed at a time, so that the lock is held for a short time.
const PIECE: usize = 32;
/// Room in the ring that text leaves free: text comes in small pieces, and would otherwise always
/// be there before a frame, which needs room for all of it.
const FRAME_ROOM: usize = LONGEST_FRAME + 2;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;

/// What comes from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A byte.
    Byte(u8),
    /// Here some are missing.
    Lost,
}

struct Console {
    uart: Uart<'static>,
    output: OutputRing<OUTPUT>,
    /// Interrupts that are asked for beside the transmitter's.
    input_masks: Interrupts,
    /// The transmitter's interrupt is asked for: it feeds the UART from here on.
    sending: bool,
    /// Nothing else runs any more: output goes straight to the wire.
    last_words: bool,
    writers: Vec<TaskId, 4>,
    input: Deque<Input, 1024>,
    /// Bytes were lost behind what is in the queue.
    missing: bool,
    lost_input: u64,
    /// What finds no room waits at the sender.
    holds_back: bool,
    /// The receiver's interrupts are not asked for meanwhile.
    holding: bool,
    readers: Vec<TaskId, 2>,
}

static CONSOLE: Lock<Option<Console>> = Lock::new(None);

/// Takes over a PL011 that firmware has set up: the baud rate stays as it is.
///
/// # Safety
/// `base` is the address of a PL011 that is mapped as device memory and used by nobody else.
pub unsafe fn initialise(base: u64) {
    let registers = NonNull::new(base as *mut PL011Registers).unwrap_or(NonNull::dangling());
    // SAFETY: the caller's promise.
    let uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    let mut console = CONSOLE.lock();
    *console = Some(Console {
        uart,
        output: OutputRing::new(),
        input_masks: Interrupts::empty(),
        sending: false,
        last_words: false,
        writers: Vec::new(),
        input: Deque::new(),
        missing: false,
        lost_input: 0,
        holds_back: false,
        holding: false,
        readers: Vec::new(),
    });
}

/// Lets the UART interrupt when input waits. What arrived before is taken first: a receiver that
/// holds more than its mark already need not interrupt for the next byte.
pub fn enable_input() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        (0..FIFO / TAKEN).for_each(|_| console.receive());
        console.input_masks = Interrupts::RXI | Interrupts::RTI;
        console.set_masks();
    }
}

/// From here on nothing that arrives is lost for want of room, if the sender waits while the
/// receiver is full, as QEMU does. Ctrl-C is not looked for ahead of other bytes then.
pub fn hold_input_back() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.holds_back = true;
    }
}

/// Whether something has arrived that nobody has read.
pub fn has_input() -> bool {
    CONSOLE.lock().as_ref().is_some_and(|console| !console.input.is_empty())
}

/// The UART's interrupt: moves what has arrived into the queue and what waits to the wire, and
/// wakes who waits for either.
pub fn on_interrupt() {
    let (readers, writers) = {
        let mut console = CONSOLE.lock();
        let Some(console) = console.as_mut() else { return };
        // Not the receiver's: reading ends those, and one that was cleared would not come back for
        // bytes that `receive` leaves.
        console.uart.clear_interrupts(Interrupts::TXI);
        console.receive();
        if console.sending {
            console.send();
        }
        let room = console.output.room() >= OUTPUT / 2;
        let writers = if room { core::mem::take(&mut console.writers) } else { Vec::new() };
        (core::mem::take(&mut console.readers), writers)
    };
    for task in readers.into_iter().chain(writers) {
        task::unpark(task);
    }
}

/// Next byte of input; waits for one.
pub fn read() -> Input {
    let reader = task::current();
    loop {
        {
            let mut console = CONSOLE.lock();
            if let Some(console) = console.as_mut() {
                if let Some(input) = console.take() {
                    return input;
                }
                // A full list means others wait too and will be woken; we look again at the next
                // wake-up.
                let _ = console.readers.push(reader);
            }
        }
        task::park();
    }
}

/// Next byte of input; waits for one until `deadline` (ticks) has passed.
pub fn read_until(deadline: u64) -> Option<Input> {
    let reader = task::current();
    loop {
        {
            let mut console = CONSOLE.lock();
            if let Some(console) = console.as_mut() {
                if let Some(input) = console.take() {
                    return Some(input);
                }
                if !console.readers.contains(&reader) {
                    let _ = console.readers.push(reader);
                }
            }
        }
        if bale_rt::clock::now() >= deadline {
            return None;
        }
        task::park_until(deadline);
    }
}

/// Whether this byte waits in the input; it and everything before it is dropped then.
pub fn take_input(wanted: u8) -> bool {
    let mut console = CONSOLE.lock();
    let Some(console) = console.as_mut() else { return false };
    if !console.input.iter().any(|input| *input == Input::Byte(wanted)) {
        return false;
    }
    while let Some(input) = console.input.pop_front() {
        if input == Input::Byte(wanted) {
            break;
        }
    }
    true
}

/// Whether somebody has typed Ctrl-C since the last line was read: long work ends. What was typed
/// before it is dropped.
pub fn interrupted() -> bool {
    take_input(CTRL_C)
}

/// Bytes of input that were lost because nobody read them in time, or arrived broken.
pub fn lost_input() -> u64 {
    CONSOLE.lock().as_ref().map_or(0, |console| console.lost_input)
}

impl Console {
    /// Takes some of what has arrived: interrupts are masked meanwhile, and the line stays up for
    /// the rest.
    fn receive(&mut self) {
        if self.holds_back && self.input.capacity() - self.input.len() < TAKEN {
            self.holding = true;
            return self.set_masks();
        }
        for _ in 0..TAKEN {
            match self.uart.read_word() {
                Ok(Some(byte)) => self.put(byte),
                Ok(None) => break,
                Err(_) => self.lose(),
            }
        }
    }

    fn put(&mut self, byte: u8) {
        if self.missing {
            self.missing = self.input.push_back(Input::Lost).is_err();
        }
        if !self.missing && self.input.push_back(Input::Byte(byte)).is_ok() {
            return;
        }
        self.lose();
        if byte == CTRL_C {
            // It drops the line in which bytes are missing, and whatever is at work without reading
            // is to see it.
            self.input.pop_back();
            self.missing = self.input.push_back(Input::Byte(byte)).is_err();
        }
    }

    /// A byte is lost here. The queue may have no room to say so.
    fn lose(&mut self) {
        self.lost_input += 1;
        self.missing = true;
    }

    fn take(&mut self) -> Option<Input> {
        if self.holding && self.input.len() <= self.input.capacity() / 2 {
            // The receiver's interrupt is still up for what it holds.
            self.holding = false;
            self.set_masks();
        }
        self.input.pop_front().or_else(|| core::mem::take(&mut self.missing).then_some(Input::Lost))
    }

    /// Feeds the UART until it is full or nothing waits. The interrupt comes once the FIFO has
    /// fallen to its mark, so it is asked for exactly while the FIFO was filled and something is
    /// left.
    fn send(&mut self) {
        for _ in 0..FIFO {
            if self.uart.is_tx_fifo_full() {
                break;
            }
            let Some(byte) = self.output.pop() else { break };
            self.uart.write_word(byte);
        }
        let sending = !self.output.is_empty();
        if sending != self.sending {
            self.sending = sending;
            self.set_masks();
        }
    }

    fn set_masks(&mut self) {
        let output = if self.sending { Interrupts::TXI } else { Interrupts::empty() };
        let input = if self.holding { Interrupts::empty() } else { self.input_masks };
        self.uart.set_interrupt_masks(input | output);
    }

    /// Sends by polling until this many bytes fit.
    fn poll(&mut self, room: usize) {
        while self.output.room() < room {
            if self.uart.is_tx_fifo_full() {
                core::hint::spin_loop();
            } else if let Some(byte) = self.output.pop() {
                self.uart.write_word(byte);
            }
        }
    }
}

/// Sends a piece of text, all of it together. Sleeps until it fits, where the caller may.
fn put(bytes: &[u8]) {
    put_beside(bytes, FRAME_ROOM);
}

/// Sends bytes, all of them together, and leaves so much of the ring free: [`OUTPUT`] at most,
/// both. Sleeps until they fit, where the caller may.
fn put_beside(bytes: &[u8], free: usize) {
    let room = bytes.len() + free;
    let writer = task::may_wait().then(task::current);
    loop {
        {
            let mut console = CONSOLE.lock();
            let Some(console) = console.as_mut() else { return };
            if console.last_words || (writer.is_none() && console.output.room() < room) {
                console.poll(room);
            }
            if console.output.room() >= room && console.output.push(bytes) {
                if console.last_words {
                    console.poll(OUTPUT);
                } else if !console.sending {
                    console.send();
                }
                return;
            }
            if let Some(writer) = writer {
                // A full list means others wait too; the time limit below is for those that are not
                // on it.
                let _ = console.writers.push(writer);
            }
        }
        task::park_until(clock::now() + clock::from_us(5_000));
    }
}

/// Writes text; `\n` becomes `\r\n`, and a NUL, which would open a log frame, is left out.
pub struct Text;

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if pager::drops() {
            return Ok(());
        }
        let text = pager::visible(text);
        progress::take_away();
        last_words::keep(text);
        let end: &[u8] = if pager::clears() { b"\x1b[K\r\n" } else { b"\r\n" };
        for piece in text.as_bytes().chunks(PIECE) {
            let mut line: Vec<u8, { 5 * PIECE }> = Vec::new();
            for &byte in piece {
                // There is room for as many ends of lines.
                match byte {
                    0 => {}
                    b'\n' => drop(line.extend_from_slice(end)),
                    byte => drop(line.push(byte)),
                }
            }
            put(&line);
        }
        Ok(())
    }
}

/// Writes bytes as they are, all of them together: [`OUTPUT`] at most.
pub fn write_whole(bytes: &[u8]) {
    put(bytes);
}

/// Writes one log frame.
pub fn write_frame(frame: &[u8]) {
    let mut whole: Vec<u8, { LONGEST_FRAME + 2 }> = Vec::new();
    let fits =
        whole.push(0).is_ok() && whole.extend_from_slice(frame).is_ok() && whole.push(0).is_ok();
    debug_assert!(fits, "a frame is longer than the longest");
    put_beside(&whole, 0);
}

/// Writes bytes of a guest that has the terminal as they are, but for those that would not reach
/// the terminal: [`guest_text::may_pass`].
pub fn write_raw(bytes: &[u8]) {
    let _turn = Turn::take();
    progress::take_away();
    for piece in bytes.chunks(PIECE) {
        let passing: Vec<u8, PIECE> =
            piece.iter().copied().filter(|byte| guest_text::may_pass(*byte)).collect();
        put(&passing);
    }
}

/// Begins a mark for programs, which is no part of the text and of no use in the last words.
pub fn mark() {
    put(&[MARK]);
}

/// Columns of the terminal; 0 where nobody knows them. Relaxed, both: a figure of its own.
static COLUMNS: AtomicUsize = AtomicUsize::new(0);

/// The terminal has so many columns.
pub fn set_columns(columns: usize) {
    COLUMNS.store(columns, Ordering::Relaxed);
}

/// Columns of the terminal; 0 where nobody knows them.
pub fn columns() -> usize {
    COLUMNS.load(Ordering::Relaxed)
}

/// Breaks the lock: for the core that reports a crash after the others were stopped.
///
/// # Safety
/// No other core runs kernel code any more.
pub unsafe fn seize() {
    // SAFETY: the holder, if any, will not run again.
    unsafe { CONSOLE.force_unlock() };
    // A crash is shown whatever somebody wanted to see before.
    pager::end();
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.last_words = true;
        console.poll(OUTPUT);
    }
}

/// Waits until the last byte has left the wire, before the power goes.
pub fn drain_output() {
    let busy = |console: &mut Console| {
        console.poll(OUTPUT);
        console.uart.is_busy()
    };
    while CONSOLE.lock().as_mut().is_some_and(busy) {
        core::hint::spin_loop();
    }
}

static TURN: Mutex<()> = Mutex::new(());

/// Text of one task, between which no other prints.
pub struct Turn {
    _turn: Option<MutexGuard<'static, ()>>,
    /// Ends of lines so far.
    lines: usize,
}

impl Turn {
    /// Waits for the turn. Whoever has it already, or cannot wait, goes ahead without it.
    pub fn take() -> Self {
        Self { _turn: if task::may_wait() { TURN.lock().ok() } else { None }, lines: 0 }
    }
}

impl Write for Turn {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.lines += text.bytes().filter(|byte| *byte == b'\n').count();
        Text.write_str(text)
    }
}

/// Writes text in one piece: other tasks wait until it is written.
pub fn write(text: fmt::Arguments<'_>) {
    let lines = {
        let mut turn = Turn::take();
        // Writing to the UART cannot fail.
        let _ = turn.write_fmt(text);
        turn.lines
    };
    if task::may_wait() {
        pager::printed(lines);
    }
}

/// Prints a line of text on the UART.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", format_args!($($argument)*)) };
}

/// Prints a line on the UART: [`crate::println`] for those who cannot name it.
pub fn say(line: fmt::Arguments<'_>) {
    println!("{line}");
}

/// Prints text on the UART.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::write(format_args!($($argument)*)) };
}
