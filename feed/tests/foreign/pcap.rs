//! A capture file of a conversation, as tcpdump would write it: raw IPv4, one packet a segment or datagram.

#![allow(dead_code, reason = "each test file uses its own part")]

/// Port of the server in every capture.
pub(crate) const PORT: u16 = 7_411;
/// Port of the client.
const CLIENT_PORT: u16 = 40_000;
const SERVER: [u8; 4] = [127, 0, 0, 1];
const CLIENT: [u8; 4] = [127, 0, 0, 2];

/// Packets so far.
pub(crate) struct Capture {
    bytes: Vec<u8>,
    packets: u32,
    /// Next sequence number of the client and of the server.
    sent: [u32; 2],
}

impl Capture {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::new();
        // Magic, version 2.4, zone, accuracy, longest packet, link type 101: raw IP.
        for word in [0xa1b2_c3d4u32, 4 << 16 | 2, 0, 0, 65_535, 101] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        Self {
            bytes,
            packets: 0,
            sent: [1, 1],
        }
    }

    pub(crate) fn file(&self) -> &[u8] {
        &self.bytes
    }

    fn packet(&mut self, from_server: bool, protocol: u8, segment: &[u8]) {
        let size = 20 + segment.len();
        let [to, from] = if from_server {
            [CLIENT, SERVER]
        } else {
            [SERVER, CLIENT]
        };
        let mut ip = vec![0x45, 0];
        ip.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        ip.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
        ip.extend_from_slice(&from);
        ip.extend_from_slice(&to);
        ip.extend_from_slice(segment);
        for word in [1_780_000_000 + self.packets, 0, size as u32, size as u32] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.extend_from_slice(&ip);
        self.packets += 1;
    }

    /// A TCP segment of the session.
    pub(crate) fn tcp(&mut self, from_server: bool, payload: &[u8]) {
        let [from, to] = if from_server {
            [PORT, CLIENT_PORT]
        } else {
            [CLIENT_PORT, PORT]
        };
        let side = usize::from(from_server);
        let mut segment = Vec::new();
        segment.extend_from_slice(&from.to_be_bytes());
        segment.extend_from_slice(&to.to_be_bytes());
        segment.extend_from_slice(&self.sent[side].to_be_bytes());
        segment.extend_from_slice(&self.sent[1 - side].to_be_bytes());
        // Twenty bytes of header; PSH and ACK; the whole window.
        segment.extend_from_slice(&[5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        self.sent[side] += payload.len() as u32;
        self.packet(from_server, 6, &segment);
    }

    /// A UDP datagram, to the port of the server whoever sends it.
    pub(crate) fn udp(&mut self, payload: &[u8]) {
        let mut segment = Vec::new();
        for word in [CLIENT_PORT, PORT, 8 + payload.len() as u16, 0] {
            segment.extend_from_slice(&word.to_be_bytes());
        }
        segment.extend_from_slice(payload);
        self.packet(true, 17, &segment);
    }
}
