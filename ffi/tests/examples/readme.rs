//! What the README shows of the examples is what they are.

use crate::support::{read, root};
use std::process::Command;

/// A program of the 1990s may change by so many lines.
const CHANGED_LINES_MAX: usize = 10;

/// The difference between a legacy program before and after.
fn difference(name: &str) -> String {
    let [before, after] = ["before", "after"].map(|which| format!("{which}/{name}"));
    let output = Command::new("diff")
        .args(["-U1", "--label", &before, "--label", &after, &before, &after])
        .current_dir(root("examples/legacy"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A line that took the place of another counts once; so does one that is new, or gone.
fn changed_lines(difference: &str) -> usize {
    let (mut changed, mut gone, mut new) = (0, 0, 0);
    let body = difference.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++"));
    for line in body.chain([" "]) {
        match line.chars().next() {
            Some('-') => gone += 1,
            Some('+') => new += 1,
            _ => {
                changed += gone.max(new);
                (gone, new) = (0, 0);
            }
        }
    }
    changed
}

#[test]
fn the_readme_shows_the_whole_difference_and_its_size() {
    let readme = read("README.md");
    for name in ["server.c", "client.c"] {
        let difference = difference(name);
        assert!(
            readme.contains(&format!("```diff\n{difference}```\n")),
            "README.md must show this:\n{difference}"
        );
        let changed = changed_lines(&difference);
        assert!((1..=CHANGED_LINES_MAX).contains(&changed), "{name}: {changed} lines changed");
        let told = format!("{changed} lines of `{name}`");
        assert!(readme.contains(&told), "README.md must say: {told}");
    }
}

#[test]
fn changed_lines_are_counted() {
    assert_eq!(changed_lines("--- a\n+++ b\n@@ -1 +1 @@\n x\n-a\n-b\n+c\n y\n+d\n@@\n-e\n"), 4);
    assert_eq!(changed_lines(""), 0);
}

#[test]
fn the_first_example_of_the_readme_is_first_c() {
    let (readme, first) = (read("README.md"), read("examples/c/first.c"));
    let block =
        readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block in C");
    let is_first = readme.find("```c\n") < readme.find("```rust");
    assert!(is_first && first.ends_with(block) && block.contains("int main"), "it is not examples/c/first.c");
}
