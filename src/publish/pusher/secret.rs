//! Texts that are never printed, and the files that they come from.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::text_file::{self, Reading};

/// How often a file is looked at, at most. Only before a request: nothing is read while nothing is
/// sent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look at a file may take: what is ready later is found by the next one. Requests wait
/// for it, and with them one of the threads that serve HTTP.
const LOOK_WAIT: Duration = Duration::from_millis(200);

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps the secret.
    pub fn new(secret: impl AsRef<str>) -> Self {
        Secret(secret.as_ref().into())
    }

    /// The secret itself: for the wire, not for people.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a text comes from that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The text itself.
    Value(Secret),
    /// A file that holds it. White space around it does not count. Read again when it changes.
    File(PathBuf),
}

impl SecretSource {
    /// The text itself.
    pub fn value(text: impl AsRef<str>) -> Self {
        SecretSource::Value(Secret::new(text))
    }
}

/// A file can't be read, or is not fit for a secret.
#[derive(Debug)]
pub(super) struct SecretError {
    /// What the operator calls it.
    pub(super) setting: String,
    /// What is wrong, and what to do.
    pub(super) problem: String,
}

/// The text of a [`SecretSource`] as it is now.
///
/// A file's content is compared, not its times: a mounted secret is swapped under a symbolic link,
/// and a rewrite within the clock's tick changes nothing but the content. A file that can't be read
/// for now, because the network file system that it is on is away, stops nothing: what it held last
/// stays in use.
#[derive(Debug)]
pub(super) struct Watched {
    /// What the operator calls it.
    setting: String,
    source: SecretSource,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    text: Secret,
    looked: Instant,
    /// What is wrong with the file now, if `text` is from an earlier time.
    trouble: Option<String>,
    /// The look that is under way, and since when. No other one begins before it ends.
    reading: Option<(Instant, Reading)>,
}

impl Watched {
    /// Reads the text for the first time.
    pub(super) fn new(
        setting: impl Into<String>,
        source: &SecretSource,
    ) -> Result<Self, SecretError> {
        let setting = setting.into();
        let text = match source {
            SecretSource::Value(text) => text.clone(),
            SecretSource::File(path) => {
                secret(path, text_file::read_regular(path)).map_err(|problem| {
                    let problem = format!("{problem}; give a file that this user can read");
                    SecretError { setting: setting.clone(), problem }
                })?
            }
        };
        let looked = Instant::now();
        let held = Mutex::new(Held { text, looked, trouble: None, reading: None });
        Ok(Watched { setting, source: source.clone(), held })
    }

    /// The text. Where the file can't be read any more, what it held last.
    pub(super) fn current(&self) -> Secret {
        let mut held = self.held();
        if held.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut held);
        }
        held.text.clone()
    }

    /// Looks at the file at once, because the text was not accepted; whether it has changed.
    pub(super) fn look_again(&self) -> bool {
        let mut held = self.held();
        let before = held.text.clone();
        self.look(&mut held);
        held.text != before
    }

    fn look(&self, held: &mut Held) {
        let SecretSource::File(path) = &self.source else { return };
        held.looked = Instant::now();
        let (setting, file) = (&self.setting, path.display());
        let (since, reading, wait) = match held.reading.take() {
            // It has been waited for.
            Some((since, reading)) => (since, reading, Duration::ZERO),
            None => (held.looked, Reading::regular(path), LOOK_WAIT),
        };
        let result = if let Some(result) = reading.wait(wait) {
            secret(path, result)
        } else {
            let is_late = since.elapsed() >= text_file::WAIT;
            held.reading = Some((since, reading));
            if !is_late {
                return;
            }
            Err(format!("cannot read {file}: it does not answer"))
        };
        match result {
            Ok(text) => {
                if held.text != text {
                    tracing::info!(setting, %file, "the file has changed and is used as it is now");
                    held.text = text;
                } else if held.trouble.is_some() {
                    tracing::info!(setting, %file, "the file can be read again");
                }
                held.trouble = None;
            }
            Err(problem) if held.trouble.as_ref() == Some(&problem) => {}
            Err(problem) => {
                tracing::error!(
                    setting,
                    error = problem,
                    "what the file held last stays in use: put the file back, readable for this user"
                );
                held.trouble = Some(problem);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change is one assignment, so what a panicking holder leaves is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's text without the white space around it; else what is wrong, with the file's name.
fn secret(path: &Path, text: Result<String, String>) -> Result<Secret, String> {
    let name = path.display();
    let text = text.map_err(|error| format!("cannot read {name}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{name} is empty")),
        text => Ok(Secret::new(text)),
    }
}
