//! Figures: what was measured, against what, and what it should reach. Numbers only; `report` prints them.
//!
//! A goal is for orientation. Nothing fails because of one: what a machine measures is no test.

/// Of what a goal speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The figure as a share of its base.
    Ratio,
    /// The figure itself.
    Value,
}

/// What a figure must reach, and what it aims at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    pub(crate) of: Of,
    /// Whether less is better.
    pub(crate) at_most: bool,
    pub(crate) must: f64,
    pub(crate) aim: Option<f64>,
}

/// How far a figure came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Aim,
    Must,
    No,
}

impl Goal {
    pub(crate) const fn ratio_at_most(must: f64, aim: Option<f64>) -> Option<Goal> {
        Some(Goal { of: Of::Ratio, at_most: true, must, aim })
    }

    pub(crate) const fn ratio_at_least(must: f64, aim: Option<f64>) -> Option<Goal> {
        Some(Goal { of: Of::Ratio, at_most: false, must, aim })
    }

    pub(crate) const fn at_most(must: f64, aim: Option<f64>) -> Option<Goal> {
        Some(Goal { of: Of::Value, at_most: true, must, aim })
    }

    pub(crate) const fn at_least(must: f64, aim: Option<f64>) -> Option<Goal> {
        Some(Goal { of: Of::Value, at_most: false, must, aim })
    }

    fn is_kept(self, wanted: f64, value: f64) -> bool {
        if self.at_most { value <= wanted } else { value >= wanted }
    }

    /// A value that is no number reaches nothing.
    fn reached(self, value: f64) -> Reached {
        match self.aim {
            Some(aim) if self.is_kept(aim, value) => Reached::Aim,
            _ if self.is_kept(self.must, value) => Reached::Must,
            _ => Reached::No,
        }
    }
}

/// What a figure is called, for people and for machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    /// The row of the table of goals, or nothing.
    pub(crate) id: &'static str,
    /// For machines, with its unit.
    pub(crate) key: &'static str,
    /// For people, with its unit.
    pub(crate) title: &'static str,
    /// What the base is, or nothing.
    pub(crate) against: &'static str,
}

/// One value of one round, and the CPU time of both sides for one unit of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) cpu_us: Option<f64>,
}

impl Sample {
    pub(crate) fn of(value: f64) -> Sample {
        Sample { value, cpu_us: None }
    }
}

/// What one round has for one figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) goal: Option<Goal>,
    pub(crate) base: Option<Sample>,
    pub(crate) session: Sample,
}

/// One figure: medians of the rounds.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: Name,
    pub(crate) goal: Option<Goal>,
    pub(crate) base: Option<f64>,
    pub(crate) session: f64,
    /// Median, smallest and largest of the ratios, session to base, of the rounds.
    pub(crate) ratio: Option<(f64, f64, f64)>,
    pub(crate) base_cpu_us: Option<f64>,
    pub(crate) session_cpu_us: Option<f64>,
}

impl Figure {
    /// Of the rounds' entries for one figure.
    fn of(entries: &[Entry]) -> Option<Figure> {
        let first = entries.first()?;
        let column = |pick: &dyn Fn(&Entry) -> Option<f64>| sorted(entries.iter().filter_map(pick));
        let ratios = column(&|entry| Some(entry.session.value / entry.base?.value));
        let ends = ratios.first().copied().zip(ratios.last().copied());
        Some(Figure {
            name: first.name,
            goal: first.goal,
            base: median(&column(&|entry| Some(entry.base?.value))),
            session: median(&column(&|entry| Some(entry.session.value)))?,
            ratio: median(&ratios).zip(ends).map(|(median, (low, high))| (median, low, high)),
            base_cpu_us: median(&column(&|entry| entry.base?.cpu_us)),
            session_cpu_us: median(&column(&|entry| entry.session.cpu_us)),
        })
    }

    /// Of what was measured once.
    pub(crate) fn once(name: Name, goal: Option<Goal>, base: Option<f64>, session: f64) -> Figure {
        let ratio = base.map(|base| session / base).map(|ratio| (ratio, ratio, ratio));
        Figure { name, goal, base, session, ratio, base_cpu_us: None, session_cpu_us: None }
    }

    /// How far it came, if it has a goal.
    pub(crate) fn reached(&self) -> Option<Reached> {
        let goal = self.goal?;
        let value = match goal.of {
            Of::Ratio => self.ratio.map_or(f64::NAN, |(median, ..)| median),
            Of::Value => self.session,
        };
        Some(goal.reached(value))
    }
}

/// The figures of rounds, which have the same entries in the same order.
pub(crate) fn figures(rounds: &[Vec<Entry>]) -> Vec<Figure> {
    let width = rounds.first().map_or(0, Vec::len);
    let column = |index: usize| -> Vec<Entry> { rounds.iter().map(|round| round[index]).collect() };
    (0..width).filter_map(|index| Figure::of(&column(index))).collect()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of values in order; nothing of none.
fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// The median of values in any order; no number of none.
pub(crate) fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(&sorted(values)).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name = Name { id: "F0", key: "key", title: "title", against: "base" };

    fn entry(base: f64, session: f64) -> Vec<Entry> {
        let goal = Goal::ratio_at_most(2.0, Some(1.0));
        vec![Entry { name: NAME, goal, base: Some(Sample::of(base)), session: Sample::of(session) }]
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let figures = figures(&[entry(10.0, 20.0), entry(100.0, 110.0), entry(20.0, 60.0)]);
        let figure = &figures[0];
        assert_eq!((figure.base, figure.session, figure.ratio), (Some(20.0), 60.0, Some((2.0, 1.1, 3.0))));
        assert_eq!(figure.reached(), Some(Reached::Must), "the goal speaks of the ratio's median");
        assert_eq!(median_of([3.0, 1.0].into_iter()), 2.0);
    }

    #[test]
    fn a_goal_is_reached_from_its_side() {
        let reached = |goal: Option<Goal>, session| Figure::once(NAME, goal, None, session).reached();
        let few = Goal::at_most(2.0, Some(1.0));
        assert_eq!([0.5, 1.0, 2.0, 2.1].map(|value| reached(few, value)), {
            [Some(Reached::Aim), Some(Reached::Aim), Some(Reached::Must), Some(Reached::No)]
        });
        let many = Goal::at_least(3.0, None);
        assert_eq!([3.0, 2.9].map(|value| reached(many, value)), [Some(Reached::Must), Some(Reached::No)]);
        assert_eq!(reached(few, f64::NAN), Some(Reached::No));
        assert_eq!(reached(Goal::ratio_at_least(0.0, None), 9.0), Some(Reached::No), "it has no ratio");
    }
}
