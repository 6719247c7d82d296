//! What is printed, and the same as JSON.

use crate::idle::Idle;
use crate::machine::Regime;
use crate::rounds::Figure;
use crate::syscalls::Syscalls;
use std::fmt::Write;

/// Prints as it learns, and keeps the JSON for the end.
#[derive(Default)]
pub(crate) struct Report {
    regimes: Vec<String>,
    rest: Vec<String>,
}

impl Report {
    pub(crate) fn begin(&mut self, machine: &str, rounds: usize, is_release: bool) {
        let build = if is_release { "release" } else { "debug" };
        println!(
            "bench: libclerver ({build}) from C beside raw OpenSSL TLS 1.3 over TCP, two processes each"
        );
        println!("       {machine}; medians of {rounds} rounds; a ratio is the median of the rounds' ratios");
        self.rest.push(format!("\"machine\": \"{machine}\", \"rounds\": {rounds}, \"build\": \"{build}\""));
    }

    pub(crate) fn regime(&mut self, regime: Regime, figures: &[Figure]) {
        println!("\n{}: {}", regime.name(), regime.about());
        println!("  {:<36} {:>10} {:>10} {:>7}  (lowest to highest)", "", "raw TLS", "session", "ratio");
        let mut json = Vec::new();
        for figure in figures {
            let Figure { key, title, raw, session, ratio, ratio_range: (low, high) } = figure;
            println!("  {title:<36} {raw:>10.2} {session:>10.2} {ratio:>7.2}  ({low:.2} to {high:.2})");
            json.push(format!(
                "      \"{key}\": {{\"raw\": {raw}, \"session\": {session}, \"ratio\": {ratio}, \
                 \"ratio_min\": {low}, \"ratio_max\": {high}}}"
            ));
        }
        self.regimes.push(format!("    \"{}\": {{\n{}\n    }}", regime.name(), json.join(",\n")));
    }

    pub(crate) fn idle(&mut self, idle: &Idle) {
        let kib = |bytes: f64| bytes / 1024.0;
        println!("\nmemory: resident KiB for each of {} idle connections, beyond the first few", idle.count);
        println!("  {:<36} {:>10} {:>10} {:>7}", "", "raw TLS", "session", "ratio");
        for (title, raw, session) in [
            ("server, one node", idle.raw_server, idle.session_server),
            ("client, a node for each session", idle.raw_client, idle.session_client),
        ] {
            println!("  {title:<36} {:>10.1} {:>10.1} {:>7.2}", kib(raw), kib(session), session / raw);
        }
        self.rest.push(format!(
            "\"idle_bytes\": {{\"sessions\": {}, \"raw_server\": {}, \"raw_client\": {}, \"session_server\": {}, \
             \"session_client\": {}}}",
            idle.count, idle.raw_server, idle.raw_client, idle.session_server, idle.session_client
        ));
    }

    pub(crate) fn syscalls(&mut self, syscalls: &Syscalls) {
        match syscalls {
            Ok(counts) => {
                let mut line = String::new();
                let mut json = Vec::new();
                for (name, count) in counts {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "  {name} {count:.1}");
                    json.push(format!("\"{name}\": {count}"));
                }
                println!("\nsystem calls per 64 B call, both processes, 1cpu (strace -c):{line}");
                self.rest.push(format!("\"syscalls_per_call\": {{{}}}", json.join(", ")));
            }
            Err(why) => println!("\nsystem calls per 64 B call: not counted, {why}"),
        }
    }

    pub(crate) fn json(&self) -> String {
        format!(
            "{{\n  {},\n  \"regimes\": {{\n{}\n  }}\n}}\n",
            self.rest.join(",\n  "),
            self.regimes.join(",\n")
        )
    }
}
