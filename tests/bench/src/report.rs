//! What is printed, and the same as JSON.

use crate::figure::{Figure, Goal, Of, Reached};

/// Prints as it learns, and keeps the JSON for the end.
#[derive(Default)]
pub(crate) struct Report {
    about: Vec<String>,
    tables: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// The first lines; `what` says what is measured.
    pub(crate) fn begin(&mut self, what: &str, machine: &str, rounds: usize, is_release: bool) {
        let build = if is_release { "release" } else { "debug" };
        println!("bench: libclerver ({build}) {what}");
        println!("       {machine}; medians of {rounds} rounds; a ratio is the median of the rounds' ratios");
        println!("       docs/bench.md says what the figures mean; goals are for orientation");
        self.about.push(format!("\"machine\": {}", text(machine)));
        self.about.push(format!("\"rounds\": {rounds}"));
        self.about.push(format!("\"build\": {}", text(build)));
    }

    /// Figures that belong together. `key` names them in the JSON.
    pub(crate) fn table(&mut self, key: &str, heading: &str, figures: &[Figure]) {
        println!("\n{heading}");
        let columns = Columns::of(figures);
        println!("{}", columns.head());
        for figure in figures {
            println!("{}", columns.line(figure));
        }
        let rows: Vec<String> = figures.iter().map(json).collect();
        self.tables.push(format!("    {}: {{\n{}\n    }}", text(key), rows.join(",\n")));
    }

    /// What has to be known beside the figures.
    pub(crate) fn note(&mut self, note: &str) {
        println!("  note: {note}");
        self.notes.push(text(note));
    }

    /// Options that were wished and are not there.
    pub(crate) fn missing(&mut self, options: &[String]) {
        if !options.is_empty() {
            println!("\nnote: this library has no option {}", options.join(", "));
            println!("      what was to differ by it does not: a variant is then the same as its base");
        }
        let options: Vec<String> = options.iter().map(|option| text(option)).collect();
        self.about.push(format!("\"missing_options\": [{}]", options.join(", ")));
    }

    pub(crate) fn json(&self) -> String {
        format!(
            "{{\n  {},\n  \"notes\": [{}],\n  \"tables\": {{\n{}\n  }}\n}}\n",
            self.about.join(",\n  "),
            self.notes.join(", "),
            self.tables.join(",\n")
        )
    }
}

/// What a table has columns for.
struct Columns {
    has_base: bool,
    has_range: bool,
    has_cpu: bool,
}

impl Columns {
    fn of(figures: &[Figure]) -> Columns {
        let is_range = |(_, low, high): (f64, f64, f64)| low < high;
        Columns {
            has_base: figures.iter().any(|figure| figure.base.is_some()),
            has_range: figures.iter().any(|figure| figure.ratio.is_some_and(is_range)),
            has_cpu: figures.iter().any(|figure| figure.session_cpu_us.is_some()),
        }
    }

    fn head(&self) -> String {
        let cpu = ["CPU us", "for one"].map(String::from);
        self.join(["", "", "session", "goal (aim)"], ["against", "base", "ratio"], "low to high", &cpu)
    }

    fn line(&self, figure: &Figure) -> String {
        let number = |value: Option<f64>| value.map_or(String::new(), short);
        let (ratio, range) = figure.ratio.map_or((String::new(), String::new()), |(ratio, low, high)| {
            (
                short(ratio),
                if low < high { format!("{} to {}", short(low), short(high)) } else { String::new() },
            )
        });
        let (name, goal) = (figure.name, goal_text(figure));
        self.join(
            [name.id, name.title, &short(figure.session), &goal],
            [name.against, &number(figure.base), &ratio],
            &range,
            &[number(figure.base_cpu_us), number(figure.session_cpu_us)],
        )
    }

    fn join(
        &self,
        [id, title, session, goal]: [&str; 4],
        [against, base, ratio]: [&str; 3],
        range: &str,
        [base_cpu, session_cpu]: &[String; 2],
    ) -> String {
        let mut line = format!("  {id:<4} {title:<40}");
        if self.has_base {
            line += &format!(" {against:<8} {base:>9}");
        }
        line += &format!(" {session:>9}");
        if self.has_base {
            line += &format!(" {ratio:>6}");
        }
        if self.has_range {
            line += &format!("  {range:<14}");
        }
        if self.has_cpu {
            line += &format!(" {base_cpu:>7} {session_cpu:>7}");
        }
        format!("{line}  {goal}").trim_end().to_owned()
    }
}

fn goal_text(figure: &Figure) -> String {
    let (Some(goal), Some(reached)) = (figure.goal, figure.reached()) else { return String::new() };
    let sign = if goal.at_most { "<=" } else { ">=" };
    let unit = if goal.of == Of::Ratio { "x" } else { "" };
    let aim = goal.aim.map_or(String::new(), |aim| format!(" ({aim}{unit})"));
    let word = match reached {
        Reached::Aim => "aim reached",
        Reached::Must => "reached",
        Reached::No => "NOT REACHED",
    };
    format!("{sign} {}{unit}{aim}: {word}", goal.must)
}

/// Three or four digits that matter.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn json(figure: &Figure) -> String {
    let mut fields = vec![format!("\"id\": {}", text(figure.name.id))];
    fields.push(format!("\"title\": {}", text(figure.name.title)));
    fields.push(format!("\"session\": {}", number(figure.session)));
    let mut add = |key: &str, value: Option<f64>| {
        fields.extend(value.map(|value| format!("\"{key}\": {}", number(value))));
    };
    add("base", figure.base);
    add("ratio", figure.ratio.map(|(median, ..)| median));
    add("ratio_min", figure.ratio.map(|(_, low, _)| low));
    add("ratio_max", figure.ratio.map(|(.., high)| high));
    add("base_cpu_us", figure.base_cpu_us);
    add("session_cpu_us", figure.session_cpu_us);
    if !figure.name.against.is_empty() {
        fields.push(format!("\"against\": {}", text(figure.name.against)));
    }
    fields.extend(figure.goal.zip(figure.reached()).map(|(goal, reached)| goal_json(goal, reached)));
    format!("      {}: {{{}}}", text(figure.name.key), fields.join(", "))
}

fn goal_json(goal: Goal, reached: Reached) -> String {
    let of = if goal.of == Of::Ratio { "ratio" } else { "session" };
    let better = if goal.at_most { "lower" } else { "higher" };
    let word = match reached {
        Reached::Aim => "aim",
        Reached::Must => "must",
        Reached::No => "no",
    };
    let aim = goal.aim.map_or("null".to_owned(), number);
    format!(
        "\"goal\": {{\"of\": \"{of}\", \"better\": \"{better}\", \"must\": {}, \"aim\": {aim}, \
         \"reached\": \"{word}\"}}",
        number(goal.must)
    )
}

/// JSON knows no infinity.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".into() }
}

fn text(value: &str) -> String {
    let escaped: String = value
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}"),
            letter if letter.is_control() => " ".into(),
            letter => letter.into(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Name;

    const NAME: Name = Name { id: "F0", key: "call_us", title: "a \"call\", us", against: "raw TLS" };

    #[test]
    fn a_figure_is_told_with_its_goal() {
        let figure = Figure::once(NAME, Goal::ratio_at_most(1.25, Some(1.1)), Some(10.0), 12.0);
        let line = Columns::of(std::slice::from_ref(&figure)).line(&figure);
        assert!(line.ends_with("1.20  <= 1.25x (1.1x): reached"), "{line}");
        assert!(json(&figure).contains("\"title\": \"a \\\"call\\\", us\""), "{}", json(&figure));
        assert!(json(&figure).contains("\"ratio\": 1.2, "), "{}", json(&figure));
        assert!(json(&figure).contains("\"must\": 1.25, \"aim\": 1.1, \"reached\": \"must\"}"));
    }

    #[test]
    fn what_is_no_number_is_null() {
        let figure = Figure::once(NAME, None, Some(0.0), 1.0);
        assert!(json(&figure).contains("\"ratio\": null"), "{}", json(&figure));
        assert_eq!(["0.00", "12.34", "1235", "0.0012"], [0.0, 12.341, 1234.6, 0.00123].map(short)[..]);
    }
}
