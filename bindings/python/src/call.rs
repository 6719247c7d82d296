//! Calls, from the caller's side (`Call`) and from the handler's (`CallContext`).

use crate::data::Given;
use crate::error::{interpreter_ended, of_exception, raise};
use crate::session::Session;
use crate::wait::{detached, seconds, unless_again};
use clerver::{Code, Error};
use parking_lot::Mutex;
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

    /// Of a deferred call: the same without a wait; `None` when there is no room.
    fn try_reply_part(&self, py: Python<'_>, part: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        let part = Given::new(part)?;
        unless_again(py, Code::Again, || self.0.reply_part(part.as_ref()).map(|()| true))
    }

    fn defer(&self, py: Python<'_>) -> PyResult<DeferredReply> {
        Ok(DeferredReply(Mutex::new(Some(detached(py, || self.0.defer())?))))
    }
}

/// The duty to answer a call later.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct DeferredReply(Mutex<Option<clerver::DeferredReply>>);

impl DeferredReply {
    fn answer(&self, py: Python<'_>, result: clerver::Result<Vec<u8>>) -> PyResult<()> {
        let deferred = self.0.lock().take();
        let answered = || Error::new(Code::State, "finish a deferred call: it is answered already");
        let deferred = deferred.ok_or_else(|| raise(py, &answered()))?;
        py.detach(|| deferred.finish(result));
        Ok(())
    }
}

#[pymethods]
impl DeferredReply {
    /// Answers with the last part of the reply.
    fn finish(&self, py: Python<'_>, reply: &Bound<'_, PyAny>) -> PyResult<()> {
        let reply = Given::new(reply)?.as_ref().to_vec();
        self.answer(py, Ok(reply))
    }

    /// Answers as if the handler had raised this.
    fn fail(&self, py: Python<'_>, why: &Bound<'_, PyAny>) -> PyResult<()> {
        let why = of_exception(py, &PyErr::from_value(why.clone()));
        self.answer(py, Err(why))
    }

    fn watch(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        detached(py, || self.0.lock().as_ref().map_or(Ok(()), |deferred| deferred.watch(token)))
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
