//! Users and their passwords, of which there are only bcrypt's hashes.
//!
//! A hash takes as long as its cost says, on purpose: verifying happens on a thread for work that blocks,
//! one password at a time, so that guessing takes no more than a core, and what was found is kept. The
//! time of an answer does not tell whether a user exists.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hyper::header::HeaderValue;
use openssl::{base64, rand::rand_bytes, sha::Sha256};
use tokio::{sync::Semaphore, task};

/// The highest cost of a hash: verifying it takes two seconds or so.
const MAX_COST: u32 = 15;

/// The lowest cost that bcrypt has.
const MIN_COST: u32 = 4;

/// More users than this need another way to authenticate.
const MAX_USERS: usize = 256;

/// Requests whose password is being verified, or waits for that; further ones are told to come again.
const MAX_VERIFYING: usize = 16;

/// Wrong credentials that are remembered: a misconfigured client sends the same ones again and again.
const MAX_REFUSED: usize = 64;

/// What follows the cost in the hash that the passwords of unknown users are compared with.
const OF_NOBODY: &str = "yQbNL0IqFGfBzPJR0tZ0SeVtNQnbBbJb3oCJ0E7kDq1m6E7B2f9tq";

/// Why the users of a file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Basic authentication has no way to send such a name.
    #[error("a name can't be empty or have a colon in it")]
    Name,
    /// It is no hash, perhaps the password itself.
    #[error(
        "this is no bcrypt hash, and a password has to be hashed: make one by `htpasswd -nBC 10 NAME`"
    )]
    NoHash,
    /// Each verification would take long.
    #[error("the cost of this hash is {0}: give one of {MIN_COST} to {MAX_COST}, such as 10")]
    Cost(u32),
    /// There are too many.
    #[error("there are more than {MAX_USERS} users: use client certificates, or a reverse proxy")]
    TooMany,
}

/// Why a request is refused: the `reason` label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish::server) enum Unauthorized {
    /// It has no credentials.
    Missing,
    /// The user is unknown, or the password wrong.
    Wrong,
    /// Too many passwords are being verified.
    Busy,
}

impl Unauthorized {
    pub(in crate::publish::server) const ALL: [Unauthorized; 3] =
        [Unauthorized::Missing, Unauthorized::Wrong, Unauthorized::Busy];

    /// The label value.
    pub(in crate::publish::server) const fn label(self) -> &'static str {
        match self {
            Unauthorized::Missing => "missing",
            Unauthorized::Wrong => "wrong",
            Unauthorized::Busy => "busy",
        }
    }
}

/// Those who may ask.
pub struct Users {
    /// The hashes, by name.
    hashes: BTreeMap<String, String>,
    of_nobody: String,
    /// Keeps what is remembered useless to those who read the memory of another process.
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    verifying: Semaphore,
    waiting: Semaphore,
}

/// What was found out, by digests of credentials.
#[derive(Default)]
struct Remembered {
    /// There are no more of them than users.
    right: HashSet<[u8; 32]>,
    /// The newest ones.
    wrong: VecDeque<[u8; 32]>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("names", &self.hashes.keys()).finish_non_exhaustive()
    }
}

impl Users {
    /// Users by name, with their hashes. At an error, the name that it is about.
    pub fn new(
        hashes: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, (String, UserError)> {
        let hashes: BTreeMap<String, String> = hashes.into_iter().collect();
        let mut highest = MIN_COST;
        for (place, (name, hash)) in hashes.iter().enumerate() {
            let cost = match cost(hash) {
                _ if place == MAX_USERS => Err(UserError::TooMany),
                _ if name.is_empty() || name.contains(':') => Err(UserError::Name),
                cost => cost,
            };
            highest = highest.max(cost.map_err(|error| (name.clone(), error))?);
        }
        let mut key = [0; 32];
        if let Err(error) = rand_bytes(&mut key) {
            // What is remembered does not leave the process anyway.
            tracing::debug!(%error, "there are no random bytes");
        }
        Ok(Users {
            hashes,
            of_nobody: format!("$2b${highest:02}${OF_NOBODY}"),
            key,
            remembered: Mutex::default(),
            verifying: Semaphore::new(1),
            waiting: Semaphore::new(MAX_VERIFYING),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether these credentials, the value of the header `Authorization`, are those of a user.
    pub(in crate::publish::server) async fn check(
        &self,
        given: Option<&HeaderValue>,
    ) -> Result<(), Unauthorized> {
        let (name, password) = credentials(given.ok_or(Unauthorized::Missing)?)?;
        let known = self.hashes.get(&name);
        let hash = known.unwrap_or(&self.of_nobody);
        let digest = self.digest(&[name.as_bytes(), hash.as_bytes(), &password]);
        if let Some(is_right) = self.recall(&digest) {
            return if is_right { Ok(()) } else { Err(Unauthorized::Wrong) };
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(Unauthorized::Busy) };
        // It is never closed.
        let _turn = self.verifying.acquire().await.map_err(|_| Unauthorized::Busy)?;
        // The same credentials may have waited before.
        if let Some(is_right) = self.recall(&digest) {
            return if is_right { Ok(()) } else { Err(Unauthorized::Wrong) };
        }
        let verified = {
            let hash = hash.clone();
            task::spawn_blocking(move || bcrypt::verify(&password, &hash)).await
        };
        let is_right = known.is_some() && matches!(verified, Ok(Ok(true)));
        self.remembered().add(digest, is_right);
        if is_right { Ok(()) } else { Err(Unauthorized::Wrong) }
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(&self.key);
        for part in parts {
            sha.update(&(part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        sha.finish()
    }

    fn recall(&self, digest: &[u8; 32]) -> Option<bool> {
        let remembered = self.remembered();
        if remembered.right.contains(digest) {
            return Some(true);
        }
        remembered.wrong.contains(digest).then_some(false)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // What is remembered is right after each step.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn add(&mut self, digest: [u8; 32], is_right: bool) {
        if is_right {
            // A password longer than bcrypt's 72 bytes is right however it goes on.
            if self.right.len() == MAX_USERS {
                self.right.clear();
            }
            self.right.insert(digest);
            return;
        }
        if self.wrong.len() == MAX_REFUSED {
            self.wrong.pop_front();
        }
        self.wrong.push_back(digest);
    }
}

/// The cost of a hash.
fn cost(hash: &str) -> Result<u32, UserError> {
    let is_known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let cost = hash.get(4..6).filter(|_| is_known && hash.len() == 60);
    let cost: u32 = cost.and_then(|cost| cost.parse().ok()).ok_or(UserError::NoHash)?;
    if !(MIN_COST..=MAX_COST).contains(&cost) {
        return Err(UserError::Cost(cost));
    }
    hash.parse::<bcrypt::HashParts>().map_err(|_| UserError::NoHash)?;
    Ok(cost)
}

/// The name and the password of a header's value (RFC 7617).
fn credentials(given: &HeaderValue) -> Result<(String, Vec<u8>), Unauthorized> {
    let text = given.to_str().map_err(|_| Unauthorized::Wrong)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(Unauthorized::Wrong)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(Unauthorized::Wrong);
    }
    let bytes = base64::decode_block(encoded.trim()).map_err(|_| Unauthorized::Wrong)?;
    let colon = memchr::memchr(b':', &bytes).ok_or(Unauthorized::Wrong)?;
    let name = String::from_utf8(bytes[..colon].to_vec()).map_err(|_| Unauthorized::Wrong)?;
    Ok((name, bytes[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_takes_as_long_as_any() {
        for cost in [MIN_COST, 10, MAX_COST] {
            let hash = format!("$2b${cost:02}${OF_NOBODY}");
            assert_eq!(super::cost(&hash), Ok(cost));
        }
        let hash = format!("$2b$04${OF_NOBODY}");
        assert!(matches!(bcrypt::verify("password", &hash), Ok(false)));
    }

    #[test]
    fn what_is_no_usable_hash_is_refused() {
        for (hash, expected) in [
            ("secret", UserError::NoHash),
            ("", UserError::NoHash),
            ("$apr1$bY4m6dQl$Gz1JrYVnHqcvr0GkE6QfF/", UserError::NoHash),
            ("$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7z", UserError::NoHash),
            ("$2y$16$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG", UserError::Cost(16)),
            ("$2y$03$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG", UserError::Cost(3)),
        ] {
            assert_eq!(cost(hash), Err(expected), "{hash}");
        }
    }

    #[test]
    fn wrong_credentials_are_remembered_up_to_a_bound() {
        let mut remembered = Remembered::default();
        for number in 0..=MAX_REFUSED {
            remembered.add([u8::try_from(number).expect("few"); 32], false);
        }
        assert_eq!(remembered.wrong.len(), MAX_REFUSED);
        assert_eq!(remembered.wrong[0], [1; 32]);
    }
}
