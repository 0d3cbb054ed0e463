//! Finds out whether a receiver of remote write answers at all, from its answers to questions. Does
//! no I/O.
//!
//! A 2xx is all that a receiver of 1.0 has to answer, and many other things answer it: an import of
//! another format accepts any bytes, a health check ignores the body, a login page is shown to
//! anybody. So before the first confirmation of a 1.0 request counts, these questions are asked, the
//! least disturbing first:
//!
//! | question | a receiver's answer |
//! |---|---|
//! | a 2.0 request without series | 2xx with the headers that say how much was written |
//! | whether it takes zstd, with a 1.0 request without series | 200 and "1" |
//! | [`UNDECODABLE`] as if it were 1.0 | anything but 2xx |
//!
//! The first two prove it for receivers of 2.0 and of `VictoriaMetrics`' own protocol, and leave
//! nothing in any receiver's log. The last one is asked if neither did; many receivers log that they
//! could not decode a request. The finding is kept with what was negotiated, as long as the URL
//! stays the same.

use super::{
    answer::{self, Failure, Refusal, Verdict},
    send_error::SendError,
    sender::{Content, Reply},
};

/// Neither a snappy block nor a zstd frame nor a message, nor a line of any format that others
/// import. It explains itself to an operator who finds it in a log.
pub(super) const UNDECODABLE: &[u8] = b"flow-exporter-asks-whether-this-is-remote-write";

/// After this many attempts without an answer of its own, something does tell the request from one
/// with samples, if only a server in between.
pub(super) const ATTEMPTS: u32 = 3;

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recognized {
    /// A receiver.
    Receiver,
    /// Something that accepts any bytes.
    TakesAnything(Refusal),
    /// Not known: it did not answer the question.
    Unknown(Failure),
}

/// Whether the answer to a 2.0 request without series is that of a receiver of 2.0.
pub(super) fn knows_2_0(reply: &Reply) -> bool {
    reply.status.is_success() && reply.written.is_some()
}

/// Whether the receiver says that it takes zstd.
pub(super) fn takes_zstd(reply: &Reply) -> bool {
    reply.status == 200 && reply.message == "1"
}

/// What the answer to [`UNDECODABLE`] means.
pub(super) fn judge(result: Result<Reply, SendError>) -> Recognized {
    match result {
        Ok(reply) if reply.status.is_success() => {
            let Reply { status, message, .. } = reply;
            Recognized::TakesAnything(Refusal { status, message })
        }
        Ok(reply) => match answer::judge(reply, Content::V1, 0) {
            // These are about load, and say nothing about the body.
            Verdict::Failed(failure) if failure.suspicious.is_none() => {
                Recognized::Unknown(failure)
            }
            _ => Recognized::Receiver,
        },
        Err(error) => match answer::judge_error(error) {
            Verdict::Failed(failure) => Recognized::Unknown(failure),
            _ => Recognized::Receiver,
        },
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use reqwest::StatusCode;

    use super::*;
    use crate::publish::remote_write::proto::{v1::WriteRequest, v2};

    #[test]
    fn what_cannot_be_decoded_is_nothing_that_any_receiver_takes() {
        assert!(snap::raw::Decoder::new().decompress_vec(UNDECODABLE).is_err());
        assert!(zstd::stream::decode_all(UNDECODABLE).is_err());
        assert!(WriteRequest::decode(UNDECODABLE).is_err());
        assert!(v2::Request::decode(UNDECODABLE).is_err());
        // Importers of lines need a space, an equals sign or a brace.
        assert!(UNDECODABLE.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-'));
    }

    #[test]
    fn whatever_refuses_what_it_cannot_decode_is_a_receiver() {
        for status in 200..600 {
            let reply = Reply {
                status: StatusCode::from_u16(status).expect("a status"),
                retry_after: None,
                written: None,
                is_page: false,
                message: String::new(),
            };
            let recognized = judge(Ok(reply));
            match status {
                200..=299 => {
                    assert!(matches!(recognized, Recognized::TakesAnything(_)), "{status}");
                }
                408 | 425 | 429 | 502 | 503 | 504 | 529 => {
                    assert!(matches!(recognized, Recognized::Unknown(_)), "{status}");
                }
                _ => assert_eq!(recognized, Recognized::Receiver, "{status}"),
            }
        }
    }
}
