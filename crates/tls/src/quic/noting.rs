//! One QUIC handshake and its notes.
//!
//! A handshake of QUIC runs in a task of quinn's, out of reach of what a task of ours knows. So quinn gets
//! a session that runs rustls' one with the notes of the one handshake at hand. The configuration below is
//! the same for all: rustls resumes no session under another verifier than the one that it began with.

use std::any::Any;
use std::sync::{Arc, Mutex};

use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

use crate::verifier::{Notes, noting};

/// What one QUIC handshake writes its notes into.
pub(super) type Slot = Arc<Mutex<Notes>>;

/// A configuration for one handshake, or the session of it, that notes into `slot`.
pub(super) struct Noting<T: ?Sized> {
    pub(super) slot: Slot,
    pub(super) inner: T,
}

impl<T: ServerConfig + 'static> ServerConfig for Noting<Arc<T>> {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let inner = noting(&self.slot, || self.inner.clone().start_session(version, params));
        Box::new(Noting { slot: self.slot.clone(), inner })
    }
}

impl<T: ClientConfig + 'static> ClientConfig for Noting<Arc<T>> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let start = || self.inner.clone().start_session(version, server_name, params);
        let inner = noting(&self.slot, start)?;
        Ok(Box::new(Noting { slot: self.slot.clone(), inner }))
    }
}

impl Session for Noting<Box<dyn Session>> {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    /// Never: no 0-RTT (I11).
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Noting { slot, inner } = self;
        noting(slot, || inner.read_handshake(buf))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let Noting { slot, inner } = self;
        noting(slot, || inner.write_handshake(buf))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
