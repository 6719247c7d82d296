//! The named scenarios: declarations of nodes, goals and faults. Nothing here acts.

mod embalming;
mod links;
mod loss;
mod moves;
mod objects;
mod trust;
mod work;

use crate::plan::Plan;

/// Every scenario; the names are unique.
pub(crate) fn all() -> Vec<Plan> {
    [work::all(), links::all(), loss::all(), embalming::all(), moves::all(), objects::all(), trust::all()]
        .concat()
}

/// The scenario of this name.
pub(crate) fn by_name(name: &str) -> Option<Plan> {
    all().into_iter().find(|plan| plan.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_places_exist() {
        let mut names = BTreeSet::new();
        for plan in all() {
            assert!(names.insert(plan.name.clone()), "{} twice", plan.name);
            let nodes = plan.nodes.len();
            assert!(plan.goals.iter().all(|goal| goal.from < nodes && goal.to < nodes), "{}", plan.name);
            assert!(plan.faults.iter().all(|(at, _)| *at <= plan.fault_time), "{}", plan.name);
        }
    }
}
