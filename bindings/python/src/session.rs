//! Sessions.

use crate::call::Call;
use crate::channel::{Channel, descriptor_kind};
use crate::data::Given;
use crate::error::{check, raise};
use crate::event::{Told, loss, of_session};
use crate::object::of_payload;
use crate::wait::{at_most, detached, seconds, unless_again};
use clerver::{ChannelOptions, Code, ObjectId, Payload, SessionState};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::os::fd::IntoRawFd;
use std::time::Duration;

/// A row of `clerver.TaskRecord`.
type Record = (u64, String, Option<f64>, bool);

/// A session with a peer.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Session(pub(crate) clerver::Session);

#[pymethods]
impl Session {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id().0
    }

    #[getter]
    fn sid(&self) -> String {
        self.0.sid().to_string()
    }

    #[getter]
    fn peer(&self) -> String {
        self.0.peer().to_string()
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> &'static str {
        py.detach(|| self.0.state()).name()
    }

    /// The fields of `clerver.SessionInfo`.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = detached(py, || self.0.info())?;
        let dict = PyDict::new(py);
        dict.set_item("sid", info.sid.to_string())?;
        dict.set_item("peer", info.peer.to_string())?;
        dict.set_item("peer_host_name", info.peer_host_name)?;
        dict.set_item("peer_name", info.peer_name)?;
        dict.set_item("state", info.state.name())?;
        dict.set_item("level", info.level)?;
        dict.set_item("ttl", info.ttl.as_secs_f64())?;
        dict.set_item("beat", info.beat.as_secs_f64())?;
        dict.set_item("links", info.links)?;
        dict.set_item("links_total", info.links_total)?;
        dict.set_item("round_trip", info.round_trip.map(|time| time.as_secs_f64()))?;
        dict.set_item("peer_drains", info.peer_drains)?;
        dict.set_item("outstanding_bytes", info.outstanding)?;
        dict.set_item("channels", info.channels)?;
        Ok(dict)
    }

    /// Waits for one of these states, or an end, and answers it.
    #[pyo3(signature = (states, timeout=None))]
    fn wait_state(
        &self,
        py: Python<'_>,
        states: Vec<String>,
        timeout: Option<f64>,
    ) -> PyResult<&'static str> {
        let wait = seconds(timeout)?;
        let is_wanted = |state: SessionState| states.iter().any(|wanted| wanted == state.name());
        Ok(detached(py, || self.0.wait_state(is_wanted, wait))?.name())
    }

    fn loss_report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        py.detach(|| self.0.loss_report()).map(|report| loss(py, &report)).transpose()
    }

    #[pyo3(signature = (timeout=None))]
    fn next_event<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Told<'py>> {
        let wait = seconds(timeout)?;
        let event = detached(py, || self.0.next_event(wait))?;
        of_session(py, event)
    }

    /// The events that wait, at most `most`.
    fn take_events<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Vec<Told<'py>>> {
        let next = || self.0.next_event(Some(Duration::ZERO)).ok();
        let events: Vec<_> = py.detach(|| std::iter::from_fn(next).take(most).collect());
        events.into_iter().map(|event| of_session(py, event)).collect()
    }

    /// The next channel of the peer, if there is one.
    fn try_accept_channel(&self, py: Python<'_>) -> PyResult<Option<Channel>> {
        let taken = unless_again(py, Code::Timeout, || self.0.accept_channel(Some(Duration::ZERO)))?;
        Ok(taken.map(Channel))
    }

    fn watch(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        detached(py, || self.0.watch(token))
    }

    #[pyo3(signature = (name, bytes, bulk, stored, timeout=None))]
    fn open(
        &self,
        py: Python<'_>,
        name: String,
        bytes: bool,
        bulk: bool,
        stored: bool,
        timeout: Option<f64>,
    ) -> PyResult<Channel> {
        let wait = seconds(timeout)?;
        let options = ChannelOptions { name, bytes, bulk, stored };
        Ok(Channel(detached(py, || self.0.open_with(options, wait))?))
    }

    #[pyo3(signature = (timeout=None))]
    fn accept_channel(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Channel> {
        let wait = seconds(timeout)?;
        Ok(Channel(detached(py, || self.0.accept_channel(wait))?))
    }

    /// A connected descriptor, which belongs to the caller.
    fn dial_descriptor(&self, py: Python<'_>, name: &str, kind: &str) -> PyResult<i32> {
        let kind = descriptor_kind(kind)?;
        Ok(detached(py, || self.0.dial_descriptor(name, kind))?.into_raw_fd())
    }

    #[pyo3(signature = (service, request, timeout=None))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        service: &str,
        request: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (request, wait) = (Given::new(request)?, seconds(timeout)?);
        Ok(PyBytes::new(py, &detached(py, || self.0.call(service, request.as_ref(), wait))?))
    }

    #[pyo3(signature = (service, request, timeout=None))]
    fn call_start(
        &self,
        py: Python<'_>,
        service: &str,
        request: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let (request, deadline) = (Given::new(request)?, seconds(timeout)?);
        Ok(Call(detached(py, || self.0.call_start(service, request.as_ref(), deadline))?))
    }

    #[pyo3(signature = (kind, payload, ttl=None))]
    fn attach(&self, py: Python<'_>, kind: &str, payload: Py<PyAny>, ttl: Option<f64>) -> PyResult<u64> {
        let ttl = seconds(ttl)?;
        let payload: Payload = Box::new(payload);
        let attached = py.detach(|| self.0.attach(kind, payload, ttl));
        attached.map(|object| object.0).map_err(|(error, _)| raise(py, &error))
    }

    fn revive(&self, py: Python<'_>, from_session: &Session, object: u64) -> PyResult<()> {
        detached(py, || self.0.revive(&from_session.0, ObjectId(object)))
    }

    /// What `function` answers for the payload of an object; its destructor waits meanwhile.
    fn with_object(&self, py: Python<'_>, object: u64, function: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let function = function.clone().unbind();
        let visit = |payload: &(dyn std::any::Any + Send + Sync)| {
            Python::attach(|py| function.call1(py, (of_payload(py, payload),)))
        };
        let answered = py.detach(|| self.0.with_object(ObjectId(object), visit));
        check(py, answered)?
    }

    fn end_object(&self, py: Python<'_>, object: u64) -> PyResult<()> {
        detached(py, || self.0.end_object(ObjectId(object)))
    }

    fn touch(&self, py: Python<'_>, object: u64) -> PyResult<()> {
        detached(py, || self.0.touch(ObjectId(object)))
    }

    fn update(&self, py: Python<'_>, object: u64, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = Given::new(data)?;
        detached(py, || self.0.update(ObjectId(object), data.as_ref()))
    }

    fn release(&self, py: Python<'_>, object: u64) -> PyResult<()> {
        detached(py, || self.0.release(ObjectId(object)))
    }

    /// The fields of `clerver.ObjectInfo`, for each.
    fn objects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for info in detached(py, || self.0.objects())? {
            let dict = PyDict::new(py);
            dict.set_item("object", info.object.0)?;
            dict.set_item("kind", info.kind)?;
            dict.set_item("state", info.state.name())?;
            dict.set_item("ttl", info.ttl.map(|ttl| ttl.as_secs_f64()))?;
            dict.set_item("in_service", info.in_service)?;
            dict.set_item("data", PyBytes::new(py, &info.data))?;
            list.append(dict)?;
        }
        Ok(list)
    }

    fn print_objects(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        detached(py, || self.0.print_objects())
    }

    /// Call, service, seconds it took (`None` while it runs) and whether it replied.
    fn history(&self, py: Python<'_>) -> PyResult<Vec<Record>> {
        let records = detached(py, || self.0.history())?;
        let row = |record: &clerver::TaskRecord| {
            let took = record.finished.map(|end| end.since(record.started).as_secs_f64());
            (record.call.0, record.service.to_string(), took, record.replied)
        };
        Ok(records.iter().map(row).collect())
    }

    /// Address, origin, whether it failed in this round, and whether a link goes there.
    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<(String, &'static str, bool, bool)>> {
        let rows = detached(py, || self.0.addresses())?;
        Ok(rows
            .into_iter()
            .map(|row| (row.address.to_string(), row.origin.name(), row.has_failed, row.is_in_use))
            .collect())
    }

    #[pyo3(signature = (address=None))]
    fn roam(&self, py: Python<'_>, address: Option<&str>) -> PyResult<()> {
        detached(py, || self.0.roam(address))
    }

    #[pyo3(signature = (address=None))]
    fn go_to(&self, py: Python<'_>, address: Option<&str>) -> PyResult<()> {
        detached(py, || self.0.go_to(address))
    }

    #[pyo3(signature = (timeout=None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let wait = seconds(timeout)?;
        detached(py, || self.0.drain(wait))
    }

    #[pyo3(signature = (timeout=None))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let wait = at_most(timeout)?;
        detached(py, || self.0.close(wait))
    }

    #[pyo3(signature = (timeout=None))]
    fn close_start(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let time = at_most(timeout)?;
        detached(py, || self.0.close_start(time))
    }

    /// Whether a close that was started is over; `None` while it goes on.
    fn try_close(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let ended = || match self.0.state() {
            // A node that was closed tells nobody any more.
            SessionState::Closing => self.0.info().map(|_| None),
            // It is over, so that does not wait.
            _ => self.0.close(Duration::from_secs(1)).map(|()| Some(true)),
        };
        detached(py, ended)
    }

    /// Whether everything is delivered; `None` when it is not yet.
    fn try_drain(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        unless_again(py, Code::Timeout, || self.0.drain(Some(Duration::ZERO)).map(|()| true))
    }
}
