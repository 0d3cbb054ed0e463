//! Secrets, which are never printed, and the files that hold them.
//!
//! [`Watched`] gives the current text of a file: it reads the file again before a request, at most
//! once a second, and keeps the last text while the file can't be read.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::text_file::{self, Reading};

/// How often a file is read at most. This happens only before a request.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a request waits for a file to be read; if it takes longer, the next request uses the
/// result.
const LOOK_WAIT: Duration = Duration::from_millis(200);

/// A text that is never printed. Its `Debug` shows a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps the secret.
    pub fn new(secret: impl AsRef<str>) -> Self {
        Secret(secret.as_ref().into())
    }

    /// The secret itself, to be sent and not to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The source of a text that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The text itself.
    Value(Secret),
    /// A file with the text. Surrounding white space is ignored. It is read again when it changes.
    File(PathBuf),
}

impl SecretSource {
    /// The text itself.
    pub fn value(text: impl AsRef<str>) -> Self {
        SecretSource::Value(Secret::new(text))
    }
}

/// A file that can't be read or can't be a secret.
#[derive(Debug)]
pub(super) struct SecretError {
    /// The setting that names the file.
    pub(super) setting: String,
    /// What is wrong, and what to do.
    pub(super) problem: String,
}

/// The current text of a [`SecretSource`].
///
/// Contents are compared, not modification times: a mounted secret is swapped under a symbolic
/// link, and a rewrite within the resolution of the clock changes only the content. While a file
/// can't be read, for example on an unreachable network file system, its last content stays in use.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The name of the setting.
    setting: String,
    source: SecretSource,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    text: Secret,
    looked: Instant,
    /// Why the file can't be read now; `text` is then its earlier content.
    trouble: Option<String>,
    /// The read in progress, and since when. There is only one at a time.
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

    /// The text; the last one if the file can't be read.
    pub(super) fn current(&self) -> Secret {
        let mut held = self.held();
        if held.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut held);
        }
        held.text.clone()
    }

    /// Reads the file at once, because its text was not accepted. Returns whether it has changed.
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
            // An earlier request has waited for it.
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
                    tracing::info!(setting, %file, "the file has changed; its new content is used");
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
                    "the file's previous content stays in use: make the file readable for this user"
                );
                held.trouble = Some(problem);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change is a single assignment, so a panic leaves the state consistent.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's text without surrounding white space; or what is wrong, with the file's name.
fn secret(path: &Path, text: Result<String, String>) -> Result<Secret, String> {
    let name = path.display();
    let text = text.map_err(|error| format!("cannot read {name}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{name} is empty")),
        text => Ok(Secret::new(text)),
    }
}
