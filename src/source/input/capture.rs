//! Reads captures of datagrams: pcap and pcapng.

use std::{io, net::SocketAddr};

use pcap_parser::{
    Block, LegacyPcapBlock, PcapError, nom, parse_block_be, parse_block_le, parse_pcap_frame,
    parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
    traits::PcapNGPacketBlock as _,
};

use crate::clock::{self, UnixMs};

use super::udp::{Datagrams, Link, Unread};

/// A longer block is refused. Packets are far shorter; other blocks hold keys and names.
pub(super) const LONGEST_BLOCK: usize = 4 << 20;
/// The length of a block of pcapng without content.
const EMPTY_BLOCK: u32 = 12;
/// Of no more interfaces is known what their packets begin with.
const MOST_INTERFACES: usize = 1024;

/// The beginnings of captures: of pcap with either order of bytes, with micro- and nanoseconds and
/// in Linux' old form, and of pcapng.
const MAGIC: [[u8; 4]; 6] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    PCAPNG,
];
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A datagram in a capture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Captured<'c> {
    pub(super) sender: SocketAddr,
    /// When it was captured, if that is plausible.
    pub(super) time: Option<UnixMs>,
    pub(super) payload: &'c [u8],
    /// Number of the first byte of its packet in the capture.
    pub(super) offset: i64,
}

/// A capture, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Capture {
    format: Option<Format>,
    read_bytes: i64,
    datagrams: Datagrams,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

#[derive(Debug)]
struct Pcap {
    parse: fn(&[u8]) -> Parsed<'_, LegacyPcapBlock<'_>>,
    link: Link,
    /// Parts of a second in a millisecond.
    per_millisecond: u32,
}

#[derive(Debug, Default)]
struct Pcapng {
    is_big_endian: bool,
    /// Those of the current section.
    interfaces: Vec<Interface>,
}

/// What a packet's block needs to know of its interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: Link,
    /// Timestamps in a second.
    per_second: i128,
    /// What is added to timestamps, in seconds.
    offset: i64,
}

type Parsed<'b, T> = Result<(&'b [u8], T), nom::Err<PcapError<&'b [u8]>>>;

/// Whether what begins like this is a capture; `None` if more has to be known.
pub(super) fn is_capture(beginning: &[u8]) -> Option<bool> {
    let mut magic = MAGIC.iter().filter(|magic| beginning.starts_with(&magic[..]));
    if magic.next().is_some() {
        return Some(true);
    }
    let may_become = MAGIC.iter().any(|magic| magic.starts_with(beginning));
    if may_become { None } else { Some(false) }
}

impl Capture {
    /// Reads as many blocks as are in `bytes` as a whole, and hands over the datagrams in them.
    /// Returns how many bytes these are; the rest is expected in front of what comes next.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Captured<'_>),
    ) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let begin = rest;
            let read = self.block(begin, each);
            match read {
                Ok(behind) => rest = behind,
                Err(nom::Err::Incomplete(_)) if rest.len() < LONGEST_BLOCK => break,
                Err(nom::Err::Incomplete(_)) => return Err(self.damaged("a block is too long")),
                Err(_) => return Err(self.damaged("a block is damaged")),
            }
            self.read_bytes += (begin.len() - rest.len()) as i64;
        }
        Ok(bytes.len() - rest.len())
    }

    fn damaged(&self, what: &str) -> io::Error {
        let error = format!("{what} at byte {} of the capture", self.read_bytes);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// What was not read so far.
    pub(super) fn unread(&self) -> Unread {
        self.datagrams.unread()
    }

    /// Reads a block. Returns what is behind it.
    fn block<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut impl FnMut(Captured<'_>),
    ) -> Result<&'b [u8], nom::Err<PcapError<&'b [u8]>>> {
        let Capture { format, read_bytes, datagrams } = self;
        let offset = *read_bytes;
        let mut packet = |link, time: UnixMs, bytes: &[u8], length| {
            let time = Some(time).filter(|&time| clock::is_set(time));
            datagrams.packet(link, bytes, length, |sender, payload| {
                each(Captured { sender, time, payload, offset });
            });
        };
        match format {
            None if bytes.starts_with(&PCAPNG) => {
                *format = Some(Format::Pcapng(Pcapng::default()));
                Ok(bytes)
            }
            None => {
                let (behind, header) = parse_pcap_header(bytes)?;
                let parse = match () {
                    () if header.is_modified_format() => parse_pcap_frame_modified,
                    () if header.is_bigendian() => parse_pcap_frame_be,
                    () => parse_pcap_frame,
                };
                let per_millisecond =
                    if header.is_nanosecond_precision() { 1_000_000 } else { 1_000 };
                let link = Link::of(header.network.0);
                *format = Some(Format::Pcap(Pcap { parse, link, per_millisecond }));
                Ok(behind)
            }
            Some(Format::Pcap(pcap)) => {
                let (behind, block) = (pcap.parse)(bytes)?;
                let milliseconds = i64::from(block.ts_usec / pcap.per_millisecond);
                let time = UnixMs::new(i64::from(block.ts_sec) * 1000 + milliseconds);
                packet(pcap.link, time, block.data, block.origlen);
                Ok(behind)
            }
            Some(Format::Pcapng(pcapng)) => {
                if pcapng.is_too_short(bytes) {
                    return Err(nom::Err::Error(PcapError::HeaderNotRecognized));
                }
                let parse = if pcapng.is_big_endian { parse_block_be } else { parse_block_le };
                let (behind, block) = parse(bytes)?;
                match block {
                    Block::SectionHeader(section) => {
                        pcapng.is_big_endian = section.big_endian();
                        pcapng.interfaces.clear();
                    }
                    Block::InterfaceDescription(described)
                        if pcapng.interfaces.len() < MOST_INTERFACES =>
                    {
                        pcapng.interfaces.push(Interface {
                            link: Link::of(described.linktype.0),
                            per_second: per_second(described.if_tsresol),
                            offset: described.if_tsoffset,
                        });
                    }
                    Block::EnhancedPacket(block) => {
                        let interface = pcapng.interface(block.if_id);
                        let time = interface.time(block.ts_high, block.ts_low);
                        packet(interface.link, time, block.packet_data(), block.origlen);
                    }
                    Block::SimplePacket(block) => {
                        let link = pcapng.interface(0).link;
                        packet(link, UnixMs::EPOCH, block.packet_data(), block.origlen);
                    }
                    _ => {}
                }
                Ok(behind)
            }
        }
    }
}

/// Timestamps in a second: a power of ten, or of two with the highest bit.
fn per_second(resolution: u8) -> i128 {
    match resolution {
        0..=18 => 10_i128.pow(resolution.into()),
        0x80..=0xbf => 1 << (resolution & 0x3f),
        _ => i128::MAX,
    }
}

impl Pcapng {
    /// Whether the block states a length below that of a block without content, which the parser of
    /// some kinds of blocks can't take. A section's first block has its own order of bytes.
    fn is_too_short(&self, block: &[u8]) -> bool {
        let Some([.., l0, l1, l2, l3]) = block.first_chunk::<8>() else { return false };
        let length = [*l0, *l1, *l2, *l3];
        let length = if self.is_big_endian {
            u32::from_be_bytes(length)
        } else {
            u32::from_le_bytes(length)
        };
        length < EMPTY_BLOCK && !block.starts_with(&PCAPNG)
    }

    fn interface(&self, id: u32) -> Interface {
        let unknown = Interface { link: Link::Other, per_second: 1, offset: 0 };
        self.interfaces.get(id as usize).copied().unwrap_or(unknown)
    }
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> UnixMs {
        let ticks = i128::from(u64::from(high) << 32 | u64::from(low));
        let milliseconds = ticks * 1000 / self.per_second + i128::from(self.offset) * 1000;
        UnixMs::new(i64::try_from(milliseconds).unwrap_or(i64::MAX))
    }
}
