//! The UART: text for people, and frames of the log between them.
//!
//! Output is written by polling under one lock, in short pieces: two cores that print at once may share a line; input arrives by interrupt into a queue
//! that the shell's task reads. On the wire a log frame is NUL, its bytes (never NUL), NUL; text never holds a NUL.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use arm_pl011_uart::{Interrupts, PL011Registers, Uart, UniqueMmioPointer};
use heapless::Deque;
use heapless::Vec;

use crate::sync::Lock;
use crate::task::{self, TaskId};

struct Console {
    uart: Uart<'static>,
    input: Deque<u8, 1024>,
    lost_input: u64,
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
    *CONSOLE.lock() = Some(Console { uart, input: Deque::new(), lost_input: 0, readers: Vec::new() });
}

/// Lets the UART interrupt when input waits.
pub fn enable_input() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.uart.clear_interrupts(Interrupts::all());
        console.uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
    }
}

/// The UART's interrupt: moves what has arrived into the queue and wakes who waits for it.
pub fn on_interrupt() {
    let readers = {
        let mut console = CONSOLE.lock();
        let Some(console) = console.as_mut() else { return };
        console.uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
        loop {
            match console.uart.read_word() {
                Ok(Some(byte)) => {
                    if console.input.push_back(byte).is_err() {
                        console.lost_input += 1;
                    }
                }
                Ok(None) => break,
                Err(_) => console.lost_input += 1,
            }
        }
        core::mem::take(&mut console.readers)
    };
    for reader in readers {
        task::unpark(reader);
    }
}

/// Next byte of input; waits for one.
pub fn read() -> u8 {
    let reader = task::current();
    loop {
        {
            let mut console = CONSOLE.lock();
            if let Some(console) = console.as_mut() {
                if let Some(byte) = console.input.pop_front() {
                    return byte;
                }
                // A full list means others wait too and will be woken; we look again at the next wake-up.
                let _ = console.readers.push(reader);
            }
        }
        task::park();
    }
}

/// Next byte of input; waits for one until `deadline` (ticks) has passed.
pub fn read_until(deadline: u64) -> Option<u8> {
    let reader = task::current();
    loop {
        {
            let mut console = CONSOLE.lock();
            if let Some(console) = console.as_mut() {
                if let Some(byte) = console.input.pop_front() {
                    return Some(byte);
                }
                if !console.readers.contains(&reader) {
                    let _ = console.readers.push(reader);
                }
            }
        }
        if crate::clock::now() >= deadline {
            return None;
        }
        task::park_until(deadline);
    }
}

/// Whether this byte waits in the input; it and everything before it is dropped then.
pub fn take_input(wanted: u8) -> bool {
    let mut console = CONSOLE.lock();
    let Some(console) = console.as_mut() else { return false };
    if !console.input.iter().any(|byte| *byte == wanted) {
        return false;
    }
    while let Some(byte) = console.input.pop_front() {
        if byte == wanted {
            break;
        }
    }
    true
}

/// Bytes of input that were lost because nobody read them in time, or arrived broken.
pub fn lost_input() -> u64 {
    CONSOLE.lock().as_ref().map_or(0, |console| console.lost_input)
}

impl Console {
    fn put(&mut self, byte: u8) {
        while self.uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        self.uart.write_word(byte);
    }
}

/// Writes text; `\n` becomes `\r\n`, and a NUL, which would open a log frame, is left out.
pub struct Text;

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // In short pieces, since the lock masks interrupts: 16 characters are 1.4 ms on a wire at 115,200 baud.
        for piece in text.as_bytes().chunks(16) {
            if let Some(console) = CONSOLE.lock().as_mut() {
                for &byte in piece {
                    match byte {
                        0 => {}
                        b'\n' => {
                            console.put(b'\r');
                            console.put(b'\n');
                        }
                        byte => console.put(byte),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Writes one log frame.
pub fn write_frame(frame: &[u8]) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.put(0);
        for &byte in frame {
            console.put(byte);
        }
        console.put(0);
    }
}

/// Breaks the lock: for the core that reports a crash after the others were stopped.
///
/// # Safety
/// No other core runs kernel code any more.
pub unsafe fn seize() {
    // SAFETY: the holder, if any, will not run again.
    unsafe { CONSOLE.force_unlock() };
}

/// Waits until the last byte has left the wire, before the power goes.
pub fn drain_output() {
    while CONSOLE.lock().as_ref().is_some_and(|console| console.uart.is_busy()) {
        core::hint::spin_loop();
    }
}

/// Prints a line of text on the UART.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => {{
        $crate::print!($($argument)*);
        $crate::print!("\n");
    }};
}

/// Prints text on the UART.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        // Writing to the UART cannot fail.
        let _ = write!($crate::console::Text, $($argument)*);
    }};
}
