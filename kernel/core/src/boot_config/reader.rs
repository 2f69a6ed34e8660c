//! The parser's events, taken for keys and values.

use heapless::{String, Vec};
use toml_parser::decoder::{Encoding, ScalarKind, StringBuilder};
use toml_parser::lexer::Token;
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span};

use super::{ARGUMENTS, BootConfig, ConfigError, Problem, line_of};
use crate::device_tree::Uart;

/// Tokens of a file, blanks and comments among them.
const TOKENS: usize = 1024;
/// Bytes of a key or a value.
const LONGEST: usize = 512;
/// Interrupts that all cores share, IHI 0069, 2.2.1.
const SHARED: core::ops::Range<u64> = 32..1020;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Arguments,
    Console,
    Cores,
    Guests,
    Commands,
}

impl Key {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "arguments" => Self::Arguments,
            "console" => Self::Console,
            "cores" => Self::Cores,
            "guests" => Self::Guests,
            "commands" => Self::Commands,
            _ => return None,
        })
    }

    fn wants(self) -> Problem {
        Problem::Wants(match self {
            Self::Arguments => "a string",
            Self::Console => {
                "an address and an interrupt number of 32 to 1019: console = [0x040d_0000, 330]"
            }
            Self::Cores => "a number from 1",
            Self::Guests => "names of guests: guests = [\"linux\"]",
            Self::Commands => "commands of one line each: commands = [\"board report\"]",
        })
    }
}

pub(super) fn read(text: &str) -> Result<BootConfig, ConfigError> {
    let source = Source::new(text);
    let mut tokens: Vec<Token, TOKENS> = Vec::new();
    for token in source.lex() {
        let full = || ConfigError {
            line: line_of(text.as_bytes(), token.span().start()),
            problem: Problem::TooMuch("the file"),
        };
        tokens.push(token).map_err(|_| full())?;
    }
    let mut reader = Reader {
        source,
        key: None,
        said: Vec::new(),
        in_array: false,
        numbers: Vec::new(),
        config: BootConfig::default(),
        problem: None,
    };
    let mut syntax: Option<ParseError> = None;
    parse_document(&tokens, &mut reader, &mut syntax);
    let line = |place| line_of(text.as_bytes(), place);
    if let Some(error) = syntax {
        let place = error.unexpected().or(error.context()).map_or(text.len(), |span| span.start());
        let mut why = String::new();
        // A longer reason is cut.
        error.description().chars().try_for_each(|letter| why.push(letter)).unwrap_or_default();
        return Err(ConfigError { line: line(place), problem: Problem::Syntax(why) });
    }
    match reader.problem {
        Some((span, problem)) => Err(ConfigError { line: line(span.start()), problem }),
        None => Ok(reader.config),
    }
}

struct Reader<'i> {
    source: Source<'i>,
    /// The key whose value comes.
    key: Option<Key>,
    said: Vec<Key, 5>,
    in_array: bool,
    numbers: Vec<u64, 2>,
    config: BootConfig,
    /// The first one.
    problem: Option<(Span, Problem)>,
}

/// A key or a value without its quotes and escapes.
#[derive(Default)]
struct Decoded(String<LONGEST>);

impl StringBuilder<'_> for Decoded {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn push_str(&mut self, append: &str) -> bool {
        self.0.push_str(append).is_ok()
    }

    fn push_char(&mut self, append: char) -> bool {
        self.0.push(append).is_ok()
    }
}

impl<'i> Reader<'i> {
    fn fail(&mut self, span: Span, problem: Problem) {
        self.problem.get_or_insert((span, problem));
    }

    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Raw<'i> {
        let text = self.source.input().get(span.start()..span.end()).unwrap_or("");
        Raw::new_unchecked(text, encoding, span)
    }

    /// A value, or one of an array.
    fn value(&mut self, key: Key, kind: ScalarKind, text: &str) -> Result<(), Problem> {
        let is_text = kind == ScalarKind::String;
        let number = match kind {
            ScalarKind::Integer(radix) => u64::from_str_radix(text, radix.value()).ok(),
            _ => None,
        };
        let one_line = |text: &str| !text.trim().is_empty() && !text.contains(['\r', '\n']);
        let config = &mut self.config;
        match (key, self.in_array) {
            (Key::Arguments, false) if is_text => {
                // Room for what a list of guests adds.
                let text = Some(text).filter(|text| text.len() + " noguest".len() <= ARGUMENTS);
                let text = text.ok_or(Problem::TooMuch("arguments"))?;
                config.arguments = text.try_into().map_err(|_| Problem::TooMuch("arguments"))?;
            }
            (Key::Cores, false) => {
                let cores = number.filter(|cores| *cores > 0).ok_or(key.wants())?;
                config.cores = Some(usize::try_from(cores).unwrap_or(usize::MAX));
            }
            (Key::Console, true) => {
                self.numbers.push(number.ok_or(key.wants())?).map_err(|_| key.wants())?;
            }
            (Key::Guests, true) if is_text && one_line(text) && !text.contains([' ', ';', '"']) => {
                let name = text.try_into().map_err(|_| Problem::TooMuch("the name of a guest"))?;
                let guests = config.guests.get_or_insert_default();
                guests.push(name).map_err(|_| Problem::TooMuch("guests"))?;
            }
            (Key::Commands, true) if is_text && one_line(text) => {
                let pushed =
                    config.commands.push_str(text).and_then(|()| config.commands.push('\n'));
                pushed.map_err(|_| Problem::TooMuch("commands"))?;
            }
            _ => return Err(key.wants()),
        }
        Ok(())
    }
}

impl EventReceiver for Reader<'_> {
    fn std_table_open(&mut self, span: Span, _error: &mut dyn ErrorSink) {
        self.fail(span, Problem::Unknown);
    }

    fn array_table_open(&mut self, span: Span, _error: &mut dyn ErrorSink) {
        self.fail(span, Problem::Unknown);
    }

    fn key_sep(&mut self, span: Span, _error: &mut dyn ErrorSink) {
        self.fail(span, Problem::Unknown);
    }

    fn inline_table_open(&mut self, span: Span, _error: &mut dyn ErrorSink) -> bool {
        let problem = self.key.map_or(Problem::Unknown, Key::wants);
        self.fail(span, problem);
        false
    }

    fn simple_key(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut name = Decoded::default();
        self.raw(span, kind).decode_key(&mut name, error);
        self.key = Key::named(&name.0);
        match self.key {
            None => self.fail(span, Problem::Unknown),
            Some(key) if self.said.contains(&key) => self.fail(span, Problem::Twice),
            // Room for each key once.
            Some(key) => drop(self.said.push(key)),
        }
    }

    fn array_open(&mut self, span: Span, _error: &mut dyn ErrorSink) -> bool {
        match self.key {
            Some(key) if self.in_array || matches!(key, Key::Arguments | Key::Cores) => {
                self.fail(span, key.wants())
            }
            Some(Key::Guests) => drop(self.config.guests.get_or_insert_default()),
            _ => {}
        }
        let nested = core::mem::replace(&mut self.in_array, true);
        !nested
    }

    fn array_close(&mut self, span: Span, _error: &mut dyn ErrorSink) {
        self.in_array = false;
        if self.key == Some(Key::Console) {
            match *self.numbers {
                [base, interrupt]
                    if base % 4096 == 0 && base != 0 && SHARED.contains(&interrupt) =>
                {
                    let interrupt = u32::try_from(interrupt).unwrap_or(0);
                    self.config.console = Some(Uart { base, interrupt });
                }
                _ => self.fail(span, Key::Console.wants()),
            }
        }
    }

    fn scalar(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let Some(key) = self.key else { return };
        let mut text = Decoded::default();
        let kind = self.raw(span, kind).decode_scalar(&mut text, error);
        if let Err(problem) = self.value(key, kind, &text.0) {
            self.fail(span, problem);
        }
    }
}
