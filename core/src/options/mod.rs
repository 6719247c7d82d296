//! The options of a node and its sessions: where they come from, which one counts, and whether they fit
//! together.
//!
//! [`Options`] collects wishes from the program, the environment and a file; [`Options::resolve`] makes
//! [`Settings`] of them, plain data that the engine reads. Nothing here acts on an option.
//!
//! Invariants: the program counts over the environment, that over the file, that over the default, whatever
//! order they are given in; no value out of its range ever reaches the settings; a mistake in a source is
//! an error that names the source, the option, the value and what is allowed, and never a silent default.

mod sources;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use table::{OPTIONS, OptionInfo, Settings};
pub use value::Kind;

use clerver_proto::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use value::Value;

/// Buffer that each open channel keeps in each direction (X4).
const CHANNEL_BYTES_MIN: u64 = 4 * 1024;

/// Where a value came from; a later one counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    File,
    Environment,
    Code,
}

/// A value and the place to name in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    value: Value,
    place: String,
}

/// Wishes for a node or session, from any number of sources. Plain data: free to clone and to move.
///
/// Each option has a method of its name (`Options::new().beat_ms(500)`), whose value is checked by `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    given: BTreeMap<(&'static str, Source), Given>,
}

fn info(name: &str) -> Option<&'static OptionInfo> {
    OPTIONS.iter().find(|option| option.name == name)
}

impl Options {
    /// No wishes yet: everything as in the sources below the program, or as by default.
    pub fn new() -> Options {
        Options::default()
    }

    /// Sets an option by name from text, as the program's own wish. Touches nothing outside.
    ///
    /// Errors: `CONFIG` for a name that does not exist, text that is no such value, or a value out of range;
    /// `UNSUPPORTED` for an option of a feature that is not built.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Options> {
        self.put_text(Source::Code, "the program", name, value)?;
        Ok(self)
    }

    fn put_by_code(&mut self, name: &'static str, value: Value) {
        self.given.insert((name, Source::Code), Given { value, place: "the program".into() });
    }

    fn put_text(&mut self, source: Source, place: &str, name: &str, text: &str) -> Result<()> {
        let option = known(name, place)?;
        let value = option.kind.read(text).map_err(|should_be| refused(option, place, text, should_be))?;
        self.put(source, place, option, value)
    }

    fn put(&mut self, source: Source, place: &str, option: &'static OptionInfo, value: Value) -> Result<()> {
        check(option, place, &value)?;
        self.given.insert((option.name, source), Given { value, place: place.into() });
        Ok(())
    }

    fn counting(&self, name: &'static str) -> Option<&Given> {
        [Source::Code, Source::Environment, Source::File]
            .iter()
            .find_map(|&source| self.given.get(&(name, source)))
    }

    fn place_of(&self, name: &'static str) -> &str {
        self.counting(name).map_or("the default", |given| &given.place)
    }

    /// The settings that result from all wishes so far. Reads neither environment nor files (see
    /// [`Options::load_process`]).
    ///
    /// Errors: `CONFIG` for a value out of range, or options that do not fit together; `UNSUPPORTED`.
    pub fn resolve(&self) -> Result<Settings> {
        for ((name, _), given) in &self.given {
            check(known(name, &given.place)?, &given.place, &given.value)?;
        }
        let settings = Settings::of(|name| self.counting(name).map(|given| &given.value));
        let budget_min = settings.message_bytes_max + 2 * settings.channels_max * CHANNEL_BYTES_MIN;
        self.at_least(
            ("session_budget_bytes", settings.session_budget_bytes),
            budget_min,
            "message_bytes_max + 2 * channels_max * 4096",
        )?;
        self.at_least(("ttl_max_ms", settings.ttl_max_ms), settings.ttl_ms, "ttl_ms")?;
        if settings.caller_driven && settings.engine != "own" {
            let places = format!("{}, {}", self.place_of("caller_driven"), self.place_of("engine"));
            let what = format!(
                "use the options: engine is {} and caller_driven is on (from {places})",
                settings.engine
            );
            let remedy = "set engine to own: a program that drives its nodes itself drives each of them";
            return Err(Error::new(Code::Config, what).with_remedy(remedy));
        }
        if settings.caller_driven {
            self.at_least(("ttl_ms", settings.ttl_ms), 4 * settings.max_gap_ms, "4 * max_gap_ms")?;
        }
        Ok(settings)
    }

    fn at_least(&self, (name, value): (&'static str, u64), min: u64, what: &str) -> Result<()> {
        if value >= min {
            return Ok(());
        }
        let place = self.place_of(name);
        let text =
            format!("use the options: {name} is {value} (from {place}), less than {what}, which is {min}");
        Err(Error::new(Code::Config, text)
            .with_remedy(format!("set {name} to {min} or more, or lower the others")))
    }
}

fn known(name: &str, place: &str) -> Result<&'static OptionInfo> {
    info(name).ok_or_else(|| {
        // Hidden, or LLVM 22 unrolls the constant list and thinks about its lengths for minutes.
        let options = std::hint::black_box(OPTIONS);
        let names: Vec<&str> = options.iter().map(|option| option.name).collect();
        Error::new(
            Code::Config,
            format!("set option \"{}\" from {place}: there is none of this name", name.escape_debug()),
        )
        .with_remedy(format!("use one of: {}", names.join(", ")))
    })
}

fn refused(option: &OptionInfo, place: &str, value: &str, should_be: &str) -> Error {
    let shown: String = value.chars().take(100).collect();
    let what = format!(
        "set option {} to \"{}\" from {place}: it must be {should_be}",
        option.name,
        shown.escape_debug()
    );
    let remedy = match option.kind {
        Kind::Number => format!("give a whole number from {} to {}", option.range.0, option.range.1),
        _ => format!("give {should_be}"),
    };
    Error::new(Code::Config, what).with_remedy(remedy)
}

fn check(option: &'static OptionInfo, place: &str, value: &Value) -> Result<()> {
    let refuse = |should_be: &str| Err(refused(option, place, &value.to_string(), should_be));
    if let (Kind::Choice(words), Value::Text(text)) = (option.kind, value)
        && !words.contains(&text.as_str())
    {
        return refuse(&words.join(" or "));
    }
    match value {
        Value::Number(number) if *number < option.range.0 || *number > option.range.1 => {
            return refuse(&format!("from {} to {}", option.range.0, option.range.1));
        }
        Value::Text(text) if text.is_empty() || text.len() > 255 || text.contains(char::is_control) => {
            return refuse("1 to 255 bytes of text without control characters");
        }
        Value::Path(path) if !path.is_absolute() => return refuse("an absolute path"),
        _ => {}
    }
    if !option.is_supported && *value != Value::Flag(false) {
        let what = format!(
            "set option {} to \"{value}\" from {place}: this version cannot do that yet",
            option.name
        );
        return Err(Error::new(Code::Unsupported, what).with_remedy("leave the option out"));
    }
    Ok(())
}

/// The reference of all options as a Markdown table, for the user guide.
pub fn reference() -> String {
    let mut text =
        String::from("| option | environment | default | range | meaning |\n|---|---|---|---|---|\n");
    for option in OPTIONS {
        let range = match option.kind {
            Kind::Number => format!("{} to {}", option.range.0, option.range.1),
            Kind::Flag => "true, false".into(),
            Kind::Text => "text".into(),
            Kind::Path => "absolute path".into(),
            Kind::Choice(words) => words.join(", "),
        };
        let default = option.default.replace(['_', '"'], "").replace("None", "not set");
        let doc: Vec<&str> = option.doc.iter().map(|line| line.trim()).collect();
        let note = if option.is_supported { "" } else { " *Not built yet.*" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {default} | {range} | {}{note} |",
            option.name,
            option.variable(),
            doc.join(" ")
        );
    }
    text
}
