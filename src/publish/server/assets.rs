//! The files that the page at `/` loads: its style, its scripts and the library that draws curves.

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};
use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY},
};

use super::{
    answer::{Answer, full, plain, with_header},
    negotiate,
};

/// What the paths of all files begin with, and the label that counts requests for them.
pub(super) const ROOT: &str = "/assets/";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file that is part of the program.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

const ASSETS: [Asset; 8] = [
    Asset { name: "page.css", content_type: STYLE, content: include_bytes!("assets/page.css") },
    Asset { name: "page.js", content_type: SCRIPT, content: include_bytes!("assets/page.js") },
    Asset { name: "choice.js", content_type: SCRIPT, content: include_bytes!("assets/choice.js") },
    Asset {
        name: "traffic.js",
        content_type: SCRIPT,
        content: include_bytes!("assets/traffic.js"),
    },
    Asset { name: "status.js", content_type: SCRIPT, content: include_bytes!("assets/status.js") },
    Asset { name: "show.js", content_type: SCRIPT, content: include_bytes!("assets/show.js") },
    // https://github.com/leeoniya/uPlot, version 1.6.32, as in its package.
    Asset { name: "uplot.js", content_type: SCRIPT, content: include_bytes!("assets/uplot.js") },
    Asset { name: "uplot.css", content_type: STYLE, content: include_bytes!("assets/uplot.css") },
];

/// The file at a path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    let name = path.strip_prefix(ROOT)?;
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    /// Answers a request for it. A browser that has it asks again, since another version of the program
    /// may be running, and is told that it has not changed (RFC 9110, section 13.1.2).
    pub(super) fn answer(&self, headers: &HeaderMap) -> Answer {
        // Weak, since it is the same with gzip and without.
        let etag = format!("W/\"{:08x}\"", crc32fast::hash(self.content));
        let is_known = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|known| known.trim() == etag);
        let mut answer = if is_known {
            plain(StatusCode::NOT_MODIFIED, "")
        } else if negotiate::gzip(headers) {
            match gzip(self.content) {
                Ok(packed) => with_header(
                    full(StatusCode::OK, self.content_type, packed),
                    CONTENT_ENCODING,
                    "gzip",
                ),
                Err(_) => full(StatusCode::OK, self.content_type, self.content),
            }
        } else {
            full(StatusCode::OK, self.content_type, self.content)
        };
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            answer.headers_mut().insert(ETAG, etag);
        }
        with_header(with_header(answer, CACHE_CONTROL, "no-cache"), VARY, "Accept-Encoding")
    }
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    encoder.finish()
}
