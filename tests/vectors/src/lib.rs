//! Cases as data (`*.toml` beside this crate), and the director that plays one case with two runners, whatever their
//! languages. `README.md` has the vocabulary; a runner needs nothing of this crate.

pub mod cases;
pub mod director;
pub mod words;
