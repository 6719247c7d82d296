//! What is printed, and the same as JSON in the file that BENCH_JSON names.

use crate::carrier::Result;

/// Figures of one variant.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) seen: Vec<f64>,
    /// What the median must be at the most or at the least.
    pub(crate) must: Option<f64>,
    pub(crate) is_most: bool,
}

/// See the module.
pub(crate) struct Report {
    tables: Vec<String>,
}

/// The middle one.
pub(crate) fn median(seen: &[f64]) -> f64 {
    let mut sorted = seen.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl Report {
    pub(crate) fn begin(rounds: usize, beat_ms: u64) -> Report {
        println!(
            "bench-move: two hosts, two paths, beats of {beat_ms} ms; medians of {rounds} rounds, lowest to highest"
        );
        println!("            docs/bench.md says what the figures mean");
        Report { tables: Vec::new() }
    }

    pub(crate) fn table(&mut self, heading: &str, lines: Vec<Line>) {
        println!("\n{heading}");
        let mut rows = Vec::new();
        for line in lines {
            let figure = median(&line.seen);
            let low = line.seen.iter().copied().fold(f64::INFINITY, f64::min);
            let high = line.seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let goal = line.must.map_or(String::new(), |must| {
                let is_reached = if line.is_most { figure <= must } else { figure >= must };
                format!("  must {must:.1}{}", if is_reached { "" } else { "  NOT REACHED" })
            });
            println!("  {:<26}{figure:>8.1}  ({low:.1} to {high:.1}){goal}", line.name);
            let must = line.must.map_or("null".to_owned(), |must| format!("{must:.2}"));
            rows.push(format!(
                "{{\"variant\": \"{}\", \"median\": {figure:.2}, \"low\": {low:.2}, \"high\": {high:.2}, \"must\": {must}}}",
                line.name
            ));
        }
        self.tables.push(format!("  \"{heading}\": [\n    {}\n  ]", rows.join(",\n    ")));
    }

    pub(crate) fn finish(self) -> Result<()> {
        if let Some(path) = std::env::var_os("BENCH_JSON") {
            std::fs::write(path, format!("{{\n{}\n}}\n", self.tables.join(",\n")))?;
        }
        Ok(())
    }
}
