//! Kinds of living objects whose callbacks are functions of the program. The payload is any Python object.

use crate::data::Given;
use crate::error::{interpreter_ended, of_exception};
use crate::wait::at_most;
use clerver::{Kind, Payload};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::any::Any;
use std::time::Duration;

/// What a kind is made of, as a dict; `None` for what it does not do.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Callbacks {
    destroy: Option<Py<PyAny>>,
    embalm: Option<Py<PyAny>>,
    revive: Option<Py<PyAny>>,
    keep: Option<f64>,
    discard: Option<Py<PyAny>>,
    abandon: Option<Py<PyAny>>,
    print: Option<Py<PyAny>>,
    level_min: u8,
}

/// The Python object in a payload.
pub(crate) fn of_payload<'py>(py: Python<'py>, payload: &(dyn Any + Send + Sync)) -> Bound<'py, PyAny> {
    match payload.downcast_ref::<Py<PyAny>>() {
        Some(object) => object.bind(py).clone(),
        None => py.None().into_bound(py),
    }
}

/// Calls a function for its effect; what it raises goes to `sys.unraisablehook`.
fn tell(function: &Py<PyAny>, argument: impl FnOnce(Python<'_>) -> Py<PyAny>) {
    // Without an interpreter nobody is there to be told.
    let _ = Python::try_attach(|py| {
        if let Err(why) = function.call1(py, (argument(py),)) {
            why.write_unraisable(py, Some(function.bind(py)));
        }
    });
}

impl Callbacks {
    pub(crate) fn into_kind(self) -> PyResult<Kind> {
        let Callbacks { destroy, embalm, revive, keep, discard, abandon, print, level_min } = self;
        let mut kind = Kind::new(move |payload: Payload| {
            if let Some(destroy) = &destroy {
                tell(destroy, |py| of_payload(py, &*payload).unbind());
            }
        })
        .level_min(level_min);
        match (embalm, revive) {
            (Some(embalm), Some(revive)) => kind = with_embalm(kind, embalm, revive, at_most(keep)?),
            (None, None) => {}
            _ => return Err(PyValueError::new_err("embalm and revive belong together: give both, or none")),
        }
        if let Some(discard) = discard {
            kind =
                kind.discard(move |bytes| tell(&discard, |py| PyBytes::new(py, bytes).into_any().unbind()));
        }
        if let Some(abandon) = abandon {
            kind = kind.abandon(move |payload| tell(&abandon, |py| of_payload(py, payload).unbind()));
        }
        if let Some(print) = print {
            kind = kind.print(move |payload| line(&print, payload));
        }
        Ok(kind)
    }
}

fn with_embalm(kind: Kind, embalm: Py<PyAny>, revive: Py<PyAny>, keep: Duration) -> Kind {
    let put_aside = move |payload: &(dyn Any + Send + Sync)| {
        let run = |py: Python<'_>| {
            let bytes = embalm.call1(py, (of_payload(py, payload),));
            let bytes = bytes.and_then(|bytes| Ok(Given::new(bytes.bind(py))?.as_ref().to_vec()));
            bytes.map_err(|why| of_exception(py, &why))
        };
        Python::try_attach(run).unwrap_or_else(|| Err(interpreter_ended()))
    };
    let bring_back = move |bytes: &[u8]| {
        let run = |py: Python<'_>| {
            let object = revive.call1(py, (PyBytes::new(py, bytes),));
            object.map(|object| Box::new(object) as Payload).map_err(|why| of_exception(py, &why))
        };
        Python::try_attach(run).unwrap_or_else(|| Err(interpreter_ended()))
    };
    kind.embalm(keep, put_aside, bring_back)
}

fn line(print: &Py<PyAny>, payload: &(dyn Any + Send + Sync)) -> String {
    let run = |py: Python<'_>| {
        let text = print.call1(py, (of_payload(py, payload),));
        text.and_then(|text| Ok(text.bind(py).str()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|why| of_exception(py, &why).message)
    };
    Python::try_attach(run).unwrap_or_default()
}
