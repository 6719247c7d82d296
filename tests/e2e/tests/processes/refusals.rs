//! HELLOs that lie: each is refused by name, and costs nobody else anything.

use crate::support::{Bystander, Home, Peer, RawLink, STEADY};
use clerver::identity::HostKey;
use clerver_proto::error::Code;
use clerver_proto::id::ProcessId;
use clerver_proto::wire::{Frame, Hello, Role, Table};

struct Scene {
    bystander: Bystander,
    server: Peer,
    address: String,
    key: HostKey,
}

impl Scene {
    fn new() -> Scene {
        let key = HostKey::generate().unwrap();
        let (bystander, server, address) = Bystander::with_server(STEADY, &[key.host_id()]);
        Scene { bystander, server, address, key }
    }

    fn dial(&self) -> RawLink {
        RawLink::dial(&self.address, &self.key)
    }

    /// This HELLO, made wrong by `change`, is refused with `code`; the text names what is wrong.
    fn refuses(&self, code: Code, text: &str, change: impl FnOnce(&mut Hello)) {
        let mut link = self.dial();
        let mut hello = link.hello();
        change(&mut hello);
        link.send_frame(&Frame::Hello(Box::new(hello)));
        let (refused, said) = link.refused();
        assert_eq!(Code::from_number(refused), Some(code), "{said}");
        assert!(said.contains(text), "{said}");
        let event = self.server.see_refusal(&format!("! n refused {} ", self.key.host_id()));
        assert!(!event.message.is_empty() && !event.remedy.is_empty(), "{event:?}");
        self.bystander.is_well();
    }
}

#[test]
fn a_version_that_nobody_speaks() {
    let scene = Scene::new();
    scene.refuses(Code::Version, "version", |hello| (hello.version_min, hello.version_max) = (90, 99));
}

#[test]
fn a_host_that_tls_did_not_prove() {
    let scene = Scene::new();
    let other = Home::new().host_id();
    scene.refuses(Code::WrongIdentity, "says to be", |hello| hello.node.host = other);
}

#[test]
fn a_hello_replayed_on_another_link() {
    let scene = Scene::new();
    let first = scene.dial().hello();
    scene.refuses(Code::Replayed, "another link", |hello| hello.binding = first.binding);
}

#[test]
fn values_that_cannot_be() {
    let scene = Scene::new();
    scene.refuses(Code::Protocol, "beat", |hello| hello.beat_ms = 0);
    scene.refuses(Code::Protocol, "limits", |hello| hello.limits.budget_bytes = 1);
    scene.refuses(Code::Unsupported, "hop", |hello| hello.role = Role::Hop);
}

#[test]
fn a_second_hello_on_one_link() {
    let scene = Scene::new();
    let mut link = scene.dial();
    let hello = Frame::Hello(Box::new(link.hello()));
    link.send_frame(&hello);
    link.send_frame(&hello);
    let (refused, said) = link.refused();
    assert_eq!(Code::from_number(refused), Some(Code::Protocol), "{said}");
    scene.bystander.is_well();
}

/// A key that is not authorised is refused whatever it says.
#[test]
fn a_stranger_is_refused_before_its_hello() {
    let scene = Scene::new();
    let mut link = RawLink::dial(&scene.address, &HostKey::generate().unwrap());
    let (refused, said) = link.refused();
    assert_eq!(Code::from_number(refused), Some(Code::Denied), "{said}");
    scene.bystander.is_well();
}

/// A session that does not exist, a proof that is none: the real sessions of others are untouched.
#[test]
fn an_attach_out_of_thin_air() {
    let scene = Scene::new();
    for process in [0x00, 0xff] {
        let mut link = scene.dial();
        let mut hello = link.hello();
        hello.node.process = ProcessId([process; 16]);
        link.send_frame(&Frame::Hello(Box::new(hello)));
        let sid = clerver_proto::id::Sid([9; 16]);
        link.send_frame(&Frame::Attach { sid, table: Table::default(), proof: [7; 32] });
        link.shut_down();
        link.closed();
        scene.bystander.is_well();
    }
}
