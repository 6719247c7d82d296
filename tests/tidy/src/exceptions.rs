//! The list of exceptions, which may only shrink: a breach beyond its number fails, and so does a number
//! that is larger than what the tree needs. Lines are `rule key number # why`.

use std::collections::BTreeMap;

use crate::Finding;

const LIST: &str = "tests/tidy/exceptions.txt";

struct Exception {
    line: usize,
    allowed: usize,
}

/// What remains of `findings` under the exceptions in `list`, with what is wrong in the list itself.
pub fn apply(findings: Vec<Finding>, list: &str) -> Vec<Finding> {
    let (exceptions, mut remaining) = parse(list);
    let mut groups: BTreeMap<(String, String), Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry((finding.rule.to_string(), finding.key.clone())).or_default().push(finding);
    }
    for (place, exception) in &exceptions {
        let needed: usize = groups.get(place).into_iter().flatten().map(|finding| finding.weight).sum();
        if needed < exception.allowed {
            let advice = if needed == 0 { "remove the line".to_string() } else { format!("write {needed}") };
            let what =
                format!("`{} {} {}` is more than is needed: {advice}", place.0, place.1, exception.allowed);
            remaining.push(Finding::at("exceptions", LIST, exception.line, what));
        }
        if needed <= exception.allowed {
            groups.remove(place);
        }
    }
    remaining.extend(groups.into_values().flatten());
    remaining
}

fn parse(list: &str) -> (BTreeMap<(String, String), Exception>, Vec<Finding>) {
    let mut exceptions = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (fields, why) = line.split_once('#').unwrap_or((line, ""));
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let allowed = fields.get(2).and_then(|number| number.parse::<usize>().ok());
        match (&fields[..], allowed) {
            ([rule, key, _], Some(allowed)) if !why.trim().is_empty() => {
                let place = (rule.to_string(), key.to_string());
                if exceptions.insert(place, Exception { line: index + 1, allowed }).is_some() {
                    findings.push(Finding::at("exceptions", LIST, index + 1, "this place is listed twice"));
                }
            }
            _ => findings.push(Finding::at("exceptions", LIST, index + 1, "write `rule key number # why`")),
        }
    }
    (exceptions, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(weights: &[usize], list: &str) -> Vec<&'static str> {
        let made = |&weight: &usize| Finding { weight, ..Finding::at("clock", "a.rs", 1, "x") };
        apply(weights.iter().map(made).collect(), list).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn an_exception_covers_exactly_its_number() {
        assert_eq!(left(&[1, 1], ""), ["clock", "clock"]);
        assert_eq!(left(&[1, 1], "# note\n\nclock a.rs 2 # measures itself\n"), [""; 0]);
        assert_eq!(left(&[1, 1, 1], "clock a.rs 2 # why\n"), ["clock", "clock", "clock"]);
        assert_eq!(left(&[650], "clock b.rs 650 # why\n"), ["exceptions", "clock"]);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        assert_eq!(left(&[1], "clock a.rs 2 # why\n"), ["exceptions"]);
        assert_eq!(left(&[], "clock a.rs 1 # why\n"), ["exceptions"]);
    }

    #[test]
    fn a_bad_line_is_found() {
        assert_eq!(
            left(&[], "clock a.rs 0\nclock a.rs\nclock a.rs x # why\nclock a.rs 1 2 # why\n"),
            ["exceptions"; 4]
        );
        assert_eq!(left(&[1], "clock a.rs 1 # why\nclock a.rs 1 # why\n"), ["exceptions"]);
    }
}
