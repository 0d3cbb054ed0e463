//! Decides from an answer what happens to the samples of the request. Does no I/O.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | confirmed (202 as well: Mimir's HA deduplication has taken note) |
//! | 2xx with a page of HTML | held: something other than a receiver answers |
//! | 2xx to 2.0 that says fewer samples were written than were sent | the rest is dropped |
//! | 2xx to 2.0 that says nothing, or none, was written | 2.0 is not understood |
//! | 415; 400 to zstd; 400 to 2.0 without Written headers | the form is not understood |
//! | 4xx to 2.0 that says some samples were written | the rest is dropped |
//! | 413 | too large |
//! | 3xx, 401-407, 410, 411, 414, 417, 421, 426, 428, 431, 451 | held: the request or its sender is at fault, and the operator is needed |
//! | 408, 425, 429, 5xx, no answer | the same request again later |
//! | any other 4xx | refused for good, if the receiver accepts other samples |
//!
//! Both specifications forbid sending a request again after a 4xx other than 429. The parts of a
//! refused request (`delivery.rs`) are different requests, each of which is sent once. Sending held
//! requests again deviates from the letter, and so does sending again after a 408 or 425, with which
//! proxies answer: the samples are not at fault and would be lost.
//!
//! Remote-Write 2.0 (Response) forbids interpreting error messages. They do not affect what is sent:
//! [`tells_of_order`] only decides how to count a sample that was refused after an earlier request
//! with it may have been accepted.

use std::time::Duration;

use reqwest::StatusCode;

use crate::publish::remote_write::{Compression, Protocol};

use super::{
    send_error::{SendError, SendErrorKind},
    sender::{Content, Reply},
};

/// What happens next to the samples of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has them.
    Confirmed,
    /// The receiver has this many of them and will never take the others.
    Partial { written: usize, refusal: Refusal },
    /// It does not understand this protocol or compression: the samples are sent in another form.
    NotUnderstood(Refusal),
    /// It will never accept this request: some of the samples are at fault.
    Refused(Refusal),
    /// It accepts only smaller requests, if any.
    TooLarge(Refusal),
    /// The endpoint needs its operator, and nothing is wrong with the samples.
    Held(Refusal),
    /// The request is sent again later, and not before the time that the receiver asks for.
    Failed(Failure),
}

/// How a receiver refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

/// What an operator can do about an endpoint that refuses everything with this status.
pub(super) fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "check user, password, token or tenant",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "check the URL's path; Prometheus needs --web.enable-remote-write-receiver"
        }
        _ => "check the endpoint's URL, credentials and protocol",
    }
}

/// A request that may succeed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened, for the log.
    pub(super) what: String,
    pub(super) retry_after: Option<Duration>,
    /// Whether the receiver may have stored the samples nevertheless.
    pub(super) maybe_stored: bool,
    /// Whether the connection broke. Some receivers close it when a request is too large, without an
    /// answer or with one that is lost because the body is still being sent.
    pub(super) broke: bool,
    /// The answer, where it may be caused by the samples rather than by the receiver's state.
    pub(super) suspicious: Option<Refusal>,
}

/// Judges the answer to a request of this many samples.
pub(super) fn judge(reply: Reply, content: Content, samples: usize) -> Verdict {
    let Reply { status, retry_after, written, is_page, message } = reply;
    let refusal = Refusal { status, message };
    if status.is_success() && is_page {
        let message =
            format!("it answers with a web page, so it is not a receiver: {}", refusal.message);
        return Verdict::Held(Refusal { status, message });
    }
    // 1.0 has no Written headers; what they say there means nothing.
    let written = match content.protocol {
        Protocol::V1 => None,
        Protocol::V2 => written.map(|written| usize::try_from(written.samples).unwrap_or(samples)),
    };
    if status.is_success() {
        return match (content.protocol, written) {
            (Protocol::V1, _) => Verdict::Confirmed,
            (Protocol::V2, Some(written)) if written >= samples => Verdict::Confirmed,
            (Protocol::V2, Some(written)) if written > 0 => Verdict::Partial { written, refusal },
            (Protocol::V2, _) => Verdict::NotUnderstood(refusal),
        };
    }
    if status.is_redirection() {
        let message = format!(
            "it redirects to {}; a redirected POST loses its body, so configure that URL",
            refusal.message
        );
        return Verdict::Held(Refusal { status, message });
    }
    match status.as_u16() {
        401..=407 | 410 | 411 | 414 | 417 | 421 | 426 | 428 | 431 | 451 => Verdict::Held(refusal),
        413 => Verdict::TooLarge(refusal),
        415 => Verdict::NotUnderstood(refusal),
        400 if content.compression == Compression::Zstd => Verdict::NotUnderstood(refusal),
        400 if content.protocol == Protocol::V2 && written.is_none() => {
            Verdict::NotUnderstood(refusal)
        }
        408 | 425 | 429 => failed(refusal, retry_after),
        400..=499 => match written {
            Some(written) if written > 0 => {
                Verdict::Partial { written: written.min(samples), refusal }
            }
            _ => Verdict::Refused(refusal),
        },
        _ => failed(refusal, retry_after),
    }
}

fn failed(refusal: Refusal, retry_after: Option<Duration>) -> Verdict {
    let Refusal { status, message } = &refusal;
    let what = format!("{status}: {message}");
    // A proxy answers 408 when the request did not arrive; after a 5xx anything may have happened.
    let maybe_stored = status.is_server_error();
    // These are about load, and about servers behind the one that answers.
    let of_its_own = matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504 | 529);
    let suspicious = (!of_its_own).then_some(refusal);
    Verdict::Failed(Failure { what, retry_after, maybe_stored, broke: false, suspicious })
}

/// Judges a request that got no answer.
pub(super) fn judge_error(error: SendError) -> Verdict {
    let SendError { what, reached, kind } = error;
    Verdict::Failed(Failure {
        what,
        retry_after: None,
        maybe_stored: reached,
        broke: kind == SendErrorKind::Network,
        suspicious: None,
    })
}

/// Whether a receiver's words are about the order of samples, as they are where it has them
/// already: Prometheus, Cortex and Thanos say "out of order sample" and "duplicate sample for
/// timestamp", Mimir "err-mimir-sample-out-of-order" and "err-mimir-sample-duplicate-timestamp".
/// "out of bounds" and "too old sample" are about age and prove nothing.
pub(super) fn tells_of_order(message: &str) -> bool {
    let message = message.to_ascii_lowercase().replace('-', " ");
    ["out of order", "duplicate sample", "duplicate timestamp"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::{super::sender::Written, *};

    fn reply(status: u16, written: Option<u64>) -> Reply {
        let written = written.map(|samples| Written { samples, histograms: 0, exemplars: 0 });
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, retry_after: None, written, is_page: false, message: "words".to_owned() }
    }

    /// The verdict on ten samples, in a word.
    fn verdict(content: Content, status: u16, written: Option<u64>) -> &'static str {
        match judge(reply(status, written), content, 10) {
            Verdict::Confirmed => "confirmed",
            Verdict::Partial { .. } => "partial",
            Verdict::NotUnderstood(_) => "not understood",
            Verdict::Refused(_) => "refused",
            Verdict::TooLarge(_) => "too large",
            Verdict::Held(_) => "held",
            Verdict::Failed(failure) if failure.suspicious.is_some() => "suspicious",
            Verdict::Failed(_) => "failed",
        }
    }

    #[test]
    fn every_status_has_one_meaning_in_1_0() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => "confirmed",
                300..=399 | 401..=407 | 410 | 411 | 414 | 417 | 421 | 426 | 428 | 431 | 451 => {
                    "held"
                }
                413 => "too large",
                415 => "not understood",
                408 | 425 | 429 | 502 | 503 | 504 | 529 => "failed",
                400..=499 => "refused",
                _ => "suspicious",
            };
            assert_eq!(verdict(Content::V1, status, None), expected, "{status}");
            // Written headers mean nothing here.
            assert_eq!(verdict(Content::V1, status, Some(1)), expected, "{status}");
        }
    }

    #[test]
    fn written_headers_decide_in_2_0() {
        for (status, written, expected) in [
            (204, Some(10), "confirmed"),
            (204, Some(u64::MAX), "confirmed"),
            (200, Some(9), "partial"),
            (204, Some(0), "not understood"),
            (204, None, "not understood"),
            (400, None, "not understood"),
            (415, None, "not understood"),
            (400, Some(9), "partial"),
            (400, Some(0), "refused"),
            (422, None, "refused"),
            (429, Some(0), "failed"),
            (500, Some(0), "suspicious"),
            (401, None, "held"),
        ] {
            assert_eq!(verdict(Content::V2, status, written), expected, "{status} {written:?}");
        }
    }

    #[test]
    fn a_page_for_people_confirms_nothing() {
        for content in [Content::V1, Content::V2, Content::ZSTD] {
            let page = Reply { is_page: true, ..reply(200, Some(10)) };
            assert!(matches!(judge(page, content, 10), Verdict::Held(_)), "{content:?}");
        }
        // Proxies put pages around statuses that mean what they always mean.
        let page = Reply { is_page: true, ..reply(503, None) };
        assert!(matches!(judge(page, Content::V1, 10), Verdict::Failed(_)));
    }

    #[test]
    fn a_400_to_zstd_may_be_about_zstd() {
        assert_eq!(verdict(Content::ZSTD, 400, None), "not understood");
        assert_eq!(verdict(Content::ZSTD, 204, None), "confirmed");
        assert_eq!(verdict(Content::ZSTD, 422, None), "refused");
    }

    #[test]
    fn words_about_order_are_told_from_words_about_age() {
        for message in [
            "out of order sample",
            "duplicate sample for timestamp 1000; overrides not allowed",
            "add 5 samples: Out of order sample",
            "another sample with a more recent timestamp (err-mimir-sample-out-of-order)",
            "(err-mimir-sample-duplicate-timestamp). The affected sample has",
        ] {
            assert!(tells_of_order(message), "{message}");
        }
        for message in ["out of bounds", "too old sample", "label value too long", ""] {
            assert!(!tells_of_order(message), "{message}");
        }
    }
}
