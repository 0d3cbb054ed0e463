//! Captures as tcpdump and Wireshark write them.

/// A number in the order of bytes that a capture has.
fn put(out: &mut Vec<u8>, is_big_endian: bool, numbers: &[u32]) {
    for number in numbers {
        out.extend(if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() });
    }
}

/// When the first packet of a capture was captured, in milliseconds. There is one each millisecond.
pub const BEGIN: i64 = 1_600_000_000_123;

/// A capture in pcap's format.
#[derive(Debug, Clone, Copy)]
pub struct Pcap {
    pub is_big_endian: bool,
    pub has_nanoseconds: bool,
    pub link: u32,
    /// No more of a packet is captured.
    pub snaplen: usize,
}

/// Of Ethernet, little-endian, with microseconds.
impl Default for Pcap {
    fn default() -> Self {
        Pcap { is_big_endian: false, has_nanoseconds: false, link: 1, snaplen: 262_144 }
    }
}

impl Pcap {
    pub fn bytes(&self, packets: &[Vec<u8>]) -> Vec<u8> {
        let magic = if self.has_nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let version = if self.is_big_endian { 2 << 16 | 4 } else { 4 << 16 | 2 };
        let snaplen = self.snaplen as u32;
        let mut out = Vec::new();
        put(&mut out, self.is_big_endian, &[magic, version, 0, 0, snaplen, self.link]);
        for (place, packet) in packets.iter().enumerate() {
            let time = BEGIN as u64 + place as u64;
            let parts = if self.has_nanoseconds { 1_000_000 } else { 1_000 };
            let time = [(time / 1000) as u32, (time % 1000) as u32 * parts];
            let captured = &packet[..packet.len().min(self.snaplen)];
            put(&mut out, self.is_big_endian, &time);
            put(&mut out, self.is_big_endian, &[captured.len() as u32, packet.len() as u32]);
            out.extend(captured);
        }
        out
    }
}

/// A capture in pcapng's format. Packets come from the interfaces in turn.
#[derive(Debug, Clone)]
pub struct Pcapng {
    pub is_big_endian: bool,
    /// Links and timestamps in a second: an exponent of ten.
    pub interfaces: Vec<(u16, u8)>,
}

impl Pcapng {
    fn block(&self, out: &mut Vec<u8>, ty: u32, numbers: &[u32], data: &[u8]) {
        let padding = data.len().next_multiple_of(4) - data.len();
        let length = 12 + 4 * numbers.len() + data.len() + padding;
        put(out, self.is_big_endian, &[ty, length as u32]);
        put(out, self.is_big_endian, numbers);
        out.extend(data);
        out.extend(&[0; 3][..padding]);
        put(out, self.is_big_endian, &[length as u32]);
    }

    pub fn bytes(&self, packets: &[Vec<u8>]) -> Vec<u8> {
        let pair = |first: u16, second: u16| {
            let [first, second] = [first, second].map(u32::from);
            if self.is_big_endian { first << 16 | second } else { second << 16 | first }
        };
        let mut out = Vec::new();
        self.block(&mut out, 0x0a0d_0d0a, &[0x1a2b_3c4d, pair(1, 0), u32::MAX, u32::MAX], &[]);
        for &(link, resolution) in &self.interfaces {
            let mut options = Vec::new();
            put(&mut options, self.is_big_endian, &[pair(9, 1)]);
            options.extend([resolution, 0, 0, 0, 0, 0, 0, 0]);
            self.block(&mut out, 1, &[pair(link, 0), 0], &options);
        }
        // Names, which nobody needs.
        self.block(&mut out, 4, &[0], &[]);
        for (place, packet) in packets.iter().enumerate() {
            let interface = place % self.interfaces.len();
            let resolution = u32::from(self.interfaces[interface].1);
            let time = BEGIN as u128 + place as u128;
            let time = (time * 10_u128.pow(resolution) / 1000) as u64;
            let length = packet.len() as u32;
            let numbers = [interface as u32, (time >> 32) as u32, time as u32, length, length];
            self.block(&mut out, 6, &numbers, packet);
        }
        out
    }
}
