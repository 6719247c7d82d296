//! Calls, from the caller's side (`Call`) and from the handler's (`CallContext`).

use crate::data::Given;
use crate::error::{interpreter_ended, of_exception};
use crate::session::Session;
use crate::wait::{detached, seconds, unless_again};
use clerver::Code;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A call that was started.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Call(pub(crate) clerver::Call);

#[pymethods]
impl Call {
    /// The next part of the reply; `None` behind the last one.
    #[pyo3(signature = (timeout=None))]
    fn receive<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let wait = seconds(timeout)?;
        Ok(detached(py, || self.0.receive(wait))?.map(|part| PyBytes::new(py, &part)))
    }

    /// The same without a wait, as a tuple of one; `None` when nothing is there yet.
    fn try_receive<'py>(&self, py: Python<'py>) -> PyResult<Option<(Option<Bound<'py, PyBytes>>,)>> {
        let taken = unless_again(py, Code::Again, || self.0.try_receive())?;
        Ok(taken.map(|part| (part.map(|part| PyBytes::new(py, &part)),)))
    }

    fn watch(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        detached(py, || self.0.watch(token))
    }

    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.0.cancel());
    }

    #[getter]
    fn outcome(&self, py: Python<'_>) -> &'static str {
        py.detach(|| self.0.outcome()).name()
    }

    #[getter]
    fn id(&self) -> (String, u64) {
        let (sid, channel) = self.0.id();
        (sid.to_string(), channel.0)
    }
}

/// One call, as its handler sees it.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct CallContext(clerver::CallContext);

#[pymethods]
impl CallContext {
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.request())
    }

    #[getter]
    fn session(&self) -> Session {
        Session(self.0.session().clone())
    }

    #[getter]
    fn call_id(&self) -> (String, u64) {
        let (sid, channel) = self.0.call_id();
        (sid.to_string(), channel.0)
    }

    #[getter]
    fn caller_level(&self) -> u8 {
        self.0.caller_level()
    }

    #[getter]
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    #[getter]
    fn remaining(&self) -> Option<f64> {
        self.0.remaining().map(|left| left.as_secs_f64())
    }

    fn reply_part(&self, py: Python<'_>, part: &Bound<'_, PyAny>) -> PyResult<()> {
        let part = Given::new(part)?;
        detached(py, || self.0.reply_part(part.as_ref()))
    }
}

/// A handler of the library that runs a function of the program.
pub(crate) fn handler(
    function: Py<PyAny>,
) -> impl Fn(&clerver::CallContext) -> clerver::Result<Vec<u8>> + Send + Sync + 'static {
    move |context| {
        let run = |py: Python<'_>| {
            let run = || {
                let reply = function.call1(py, (CallContext(context.clone()),))?;
                if reply.is_none(py) {
                    Ok(Vec::new())
                } else {
                    Ok(Given::new(reply.bind(py))?.as_ref().to_vec())
                }
            };
            run().map_err(|why: PyErr| of_exception(py, &why))
        };
        Python::try_attach(run).unwrap_or_else(|| Err(interpreter_ended()))
    }
}
