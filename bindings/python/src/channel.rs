//! Channels.

use crate::data::{Given, view};
use crate::session::Session;
use crate::wait::{detached, seconds, unless_again};
use clerver::{ChannelReport, Code, DescriptorKind};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView};
use std::os::fd::IntoRawFd;
use std::time::Duration;

/// One channel of a session.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Channel(pub(crate) clerver::Channel);

/// Most bytes of one receive.
const RECEIVE_BYTES: usize = 64 * 1024;

#[pymethods]
impl Channel {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id().0
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn is_bytes(&self) -> bool {
        self.0.is_bytes()
    }

    #[getter]
    fn is_stored(&self) -> bool {
        self.0.is_stored()
    }

    #[getter]
    fn session(&self) -> Session {
        Session(self.0.session().clone())
    }

    #[pyo3(signature = (data, timeout=None))]
    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        let (data, wait) = (Given::new(data)?, seconds(timeout)?);
        if data.is_small() {
            return detached(py, || self.0.send(data.as_ref(), wait));
        }
        detached(py, || self.0.send_bytes(data.into_bytes(), wait))
    }

    /// Takes what there is room for of the bytes from `start` on, and answers how much; `None` for no room.
    #[pyo3(signature = (data, start=0))]
    fn try_send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, start: usize) -> PyResult<Option<usize>> {
        let data = Given::new(data)?;
        let rest = data.as_ref().get(start..).unwrap_or_default();
        unless_again(py, Code::Again, || self.0.try_send(rest))
    }

    #[pyo3(signature = (bytes_max=RECEIVE_BYTES, timeout=None))]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        bytes_max: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let wait = seconds(timeout)?;
        Ok(PyBytes::new(py, &detached(py, || self.0.receive_up_to(bytes_max, wait))?))
    }

    #[pyo3(signature = (bytes_max=RECEIVE_BYTES, timeout=None))]
    fn receive_view<'py>(
        &self,
        py: Python<'py>,
        bytes_max: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        let wait = seconds(timeout)?;
        view(py, detached(py, || self.0.receive_up_to(bytes_max, wait))?)
    }

    #[pyo3(signature = (bytes_max=RECEIVE_BYTES))]
    fn try_receive<'py>(&self, py: Python<'py>, bytes_max: usize) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let taken = unless_again(py, Code::Again, || self.0.try_receive_up_to(bytes_max))?;
        Ok(taken.map(|data| PyBytes::new(py, &data)))
    }

    /// Data, end, redelivered and restart point.
    #[pyo3(signature = (timeout=None))]
    fn take<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<(Bound<'py, PyBytes>, u64, bool, Bound<'py, PyBytes>)> {
        let wait = seconds(timeout)?;
        let taken = detached(py, || self.0.take(wait))?;
        let point = PyBytes::new(py, &taken.restart_point);
        Ok((PyBytes::new(py, &taken.data), taken.end, taken.redelivered, point))
    }

    #[pyo3(signature = (end, timeout=None))]
    fn ack(&self, py: Python<'_>, end: u64, timeout: Option<f64>) -> PyResult<()> {
        let wait = seconds(timeout)?;
        detached(py, || self.0.ack(end, wait))
    }

    #[pyo3(signature = (timeout=None))]
    fn confirm(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let wait = seconds(timeout)?;
        detached(py, || self.0.confirm(wait))
    }

    /// How far the program is with a stored channel; `None` when this end does not store it.
    fn stored_mark(&self, py: Python<'_>) -> PyResult<Option<StoredMark>> {
        Ok(detached(py, || self.0.stored_mark())?.map(StoredMark))
    }

    /// Whether that is on the disk; `None` when it is not yet.
    fn try_confirm(&self, py: Python<'_>, mark: &StoredMark) -> PyResult<Option<bool>> {
        let mark = mark.0;
        let look = || self.0.confirm_mark(mark, Some(Duration::ZERO)).map(|()| true);
        unless_again(py, Code::Unconfirmed, look)
    }

    #[pyo3(signature = (point, timeout=None))]
    fn set_restart_point(
        &self,
        py: Python<'_>,
        point: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let (point, wait) = (Given::new(point)?, seconds(timeout)?);
        detached(py, || self.0.set_restart_point(point.as_ref(), wait))
    }

    fn watch(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        detached(py, || self.0.watch(token))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.0.end())
    }

    fn reset(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        detached(py, || self.0.reset(why))
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }

    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        report(py, &detached(py, || self.0.report())?)
    }

    /// A connected descriptor, which belongs to the caller; `kind` is `tcp` or `unix`.
    fn to_descriptor(&self, py: Python<'_>, kind: &str) -> PyResult<i32> {
        let kind = descriptor_kind(kind)?;
        let channel = self.0.clone();
        Ok(detached(py, || channel.into_descriptor(kind))?.into_raw_fd())
    }
}

/// How far a program is with a stored channel.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct StoredMark(clerver::StoredMark);

pub(crate) fn descriptor_kind(kind: &str) -> PyResult<DescriptorKind> {
    match kind {
        "tcp" => Ok(DescriptorKind::Tcp),
        "unix" => Ok(DescriptorKind::Unix),
        _ => Err(PyValueError::new_err(format!("kind has to be 'tcp' or 'unix', not '{kind}'"))),
    }
}

/// The fields of `clerver.ChannelReport`.
pub(crate) fn report<'py>(py: Python<'py>, report: &ChannelReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("channel", report.channel.0)?;
    dict.set_item("written", report.written)?;
    dict.set_item("sent", report.sent)?;
    dict.set_item("held", report.held)?;
    dict.set_item("received", report.received)?;
    dict.set_item("taken", report.taken)?;
    Ok(dict)
}
