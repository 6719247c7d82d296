//! Nodes.

use crate::call::handler;
use crate::channel::report;
use crate::error::check;
use crate::event::{Told, of_node};
use crate::object::Callbacks;
use crate::session::Session;
use crate::wait::{at_most, detached, seconds, unless_again};
use clerver::{Code, ConnectOptions, ListenOptions, LogLevel, Options, ServiceOptions, Undelivered};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One running clerver.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Node(Option<clerver::Node>);

/// `ConnectOptions` as a dict.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Wish {
    addresses: Vec<String>,
    race: bool,
    any_node: bool,
    bulk_links: u8,
    standby_links: u8,
}

impl From<Wish> for ConnectOptions {
    fn from(wish: Wish) -> ConnectOptions {
        let Wish { addresses, race, any_node, bulk_links, standby_links } = wish;
        ConnectOptions { addresses, race, any_node, bulk_links, standby_links }
    }
}

/// A connect that was started.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Connecting(clerver::Connecting);

#[pymethods]
impl Connecting {
    #[pyo3(signature = (timeout=None))]
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Session> {
        let wait = seconds(timeout)?;
        Ok(Session(detached(py, || self.0.take(wait))?))
    }

    /// The session, if there is one.
    fn try_take(&self, py: Python<'_>) -> PyResult<Option<Session>> {
        Ok(unless_again(py, Code::Again, || self.0.try_take())?.map(Session))
    }

    fn watch(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        detached(py, || self.0.watch(token))
    }

    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.0.cancel());
    }
}

impl Drop for Node {
    /// Handlers that still run want the interpreter.
    fn drop(&mut self) {
        let mut node = self.0.take();
        let is_done = Python::try_attach(|py| py.detach(|| drop(node.take())));
        if is_done.is_none() {
            // The process ends, and waits for nobody.
            std::mem::forget(node);
        }
    }
}

impl Node {
    fn node(&self) -> PyResult<&clerver::Node> {
        self.0.as_ref().ok_or_else(|| PyValueError::new_err("the node is gone"))
    }
}

fn undelivered<'py>(py: Python<'py>, left: &[Undelivered]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for Undelivered { session, peer, channel } in left {
        list.append((session.0, peer.map(|peer| peer.to_string()), report(py, channel)?))?;
    }
    Ok(list)
}

fn log_level(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 40,
        LogLevel::Warn => 30,
        LogLevel::Info => 20,
        LogLevel::Debug => 10,
    }
}

#[pymethods]
impl Node {
    #[new]
    fn open(py: Python<'_>, options: Vec<(String, String)>) -> PyResult<Node> {
        let mut wanted = Options::new();
        for (name, value) in &options {
            check(py, wanted.set(name, value).map(drop))?;
        }
        Ok(Node(Some(detached(py, || clerver::Node::open(wanted))?)))
    }

    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.node()?.id().to_string())
    }

    #[getter]
    fn host_id(&self) -> PyResult<String> {
        Ok(self.node()?.host_id().to_string())
    }

    #[pyo3(signature = (address, level_min=None))]
    fn listen(&self, py: Python<'_>, address: &str, level_min: Option<u8>) -> PyResult<String> {
        let node = self.node()?;
        let listening = detached(py, || match level_min {
            Some(level_min) => node.listen_with(address, ListenOptions { level_min }),
            None => node.listen(address),
        });
        Ok(listening?.to_string())
    }

    fn announce(&self, py: Python<'_>, addresses: Option<Vec<String>>) -> PyResult<()> {
        let node = self.node()?;
        detached(py, || {
            let given: Option<Vec<&str>> =
                addresses.as_ref().map(|given| given.iter().map(String::as_str).collect());
            node.announce(given.as_deref())
        })
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let node = self.node()?;
        detached(py, || node.addresses())
    }

    #[pyo3(signature = (options, timeout=None))]
    fn connect(&self, py: Python<'_>, options: Wish, timeout: Option<f64>) -> PyResult<Session> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        Ok(Session(detached(py, || node.connect_with(options.into(), wait))?))
    }

    #[pyo3(signature = (options, timeout=None))]
    fn connect_start(&self, py: Python<'_>, options: Wish, timeout: Option<f64>) -> PyResult<Connecting> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        Ok(Connecting(detached(py, || node.connect_start(options.into(), wait))?))
    }

    #[pyo3(signature = (timeout=None))]
    fn accept(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Session> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        Ok(Session(detached(py, || node.accept(wait))?))
    }

    /// The next session, if one waits.
    fn try_accept(&self, py: Python<'_>) -> PyResult<Option<Session>> {
        let node = self.node()?;
        let taken = unless_again(py, Code::Timeout, || node.accept(Some(Duration::ZERO)))?;
        Ok(taken.map(Session))
    }

    fn serve(
        &self,
        py: Python<'_>,
        name: &str,
        function: Py<PyAny>,
        inline: bool,
        level_min: u8,
        idempotent: bool,
    ) -> PyResult<()> {
        let (node, options) = (self.node()?, ServiceOptions { inline, level_min, idempotent });
        detached(py, || node.serve(name, options, handler(function)))
    }

    fn unserve(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let node = self.node()?;
        detached(py, || node.unserve(name))
    }

    fn register_kind(&self, py: Python<'_>, name: &str, kind: Callbacks) -> PyResult<()> {
        let (node, kind) = (self.node()?, kind.into_kind()?);
        detached(py, || node.register_kind(name, kind))
    }

    #[pyo3(signature = (timeout=None))]
    fn next_event<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Told<'py>> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        let event = detached(py, || node.next_event(wait))?;
        of_node(py, event)
    }

    /// The events that wait, at most `most`.
    fn take_events<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Vec<Told<'py>>> {
        let node = self.node()?;
        let events: Vec<_> = py.detach(|| std::iter::from_fn(|| node.try_next_event()).take(most).collect());
        events.into_iter().map(|event| of_node(py, event)).collect()
    }

    /// Readable while events wait; the node's own.
    fn event_descriptor(&self, py: Python<'_>) -> PyResult<i32> {
        let node = self.node()?;
        detached(py, || Ok(node.event_descriptor()?.as_raw_fd()))
    }

    #[pyo3(signature = (timeout=None))]
    fn run_once(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        detached(py, || node.run_once(wait))
    }

    #[pyo3(signature = (timeout=None))]
    fn drain<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<(Bound<'py, PyList>, Vec<String>)> {
        let (node, wait) = (self.node()?, seconds(timeout)?);
        let drained = detached(py, || node.drain(wait))?;
        Ok((undelivered(py, &drained.undelivered)?, drained.running))
    }

    #[pyo3(signature = (timeout=None))]
    fn close<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<(Bound<'py, PyList>, Vec<String>)> {
        let (node, wait) = (self.node()?, at_most(timeout)?);
        let closed = detached(py, || node.close(wait))?;
        Ok((undelivered(py, &closed.undelivered)?, closed.stuck))
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let node = self.node()?;
        let counters = py.detach(|| node.counters());
        let dict = PyDict::new(py);
        for (name, value) in [
            ("sessions", counters.sessions),
            ("links", counters.links),
            ("refused", counters.refused),
            ("bytes_sent", counters.bytes_sent),
            ("bytes_received", counters.bytes_received),
            ("bytes_repeated", counters.bytes_repeated),
            ("bytes_duplicate", counters.bytes_duplicate),
            ("objects", counters.objects),
            ("embalmed", counters.embalmed),
            ("embalmed_bytes", counters.embalmed_bytes),
            ("timers", counters.timers),
            ("buffered", counters.buffered),
        ] {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn reload_trust(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.node()?;
        detached(py, || node.reload_trust())
    }

    /// Calls `log(level, line)`, with a level of `logging`, for lines of at least this level.
    fn set_log(&self, py: Python<'_>, level: u8, log: Py<PyAny>) -> PyResult<()> {
        let node = self.node()?;
        let level = match level {
            40.. => LogLevel::Error,
            30.. => LogLevel::Warn,
            20.. => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        py.detach(|| {
            node.set_log(level, move |level, line| {
                // Without an interpreter nobody reads logs.
                let _ = Python::try_attach(|py| {
                    if let Err(why) = log.call1(py, (log_level(level), line)) {
                        why.write_unraisable(py, None);
                    }
                });
            });
        });
        Ok(())
    }
}
