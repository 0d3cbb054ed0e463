//! The keys of JSON records, predicted from the records before.
//!
//! A writer gives its records the same keys in the same order, with the same white space around
//! them. So what stands between two values of a record (a comma, a key, a colon, white space) is
//! remembered as it is spelled, with what is done with the next value and which spelling came
//! after it. A key then costs one comparison of four words, however many fields are wanted, and although
//! their names are not known at compile time. Each spelling has one alternative, for fields that are
//! missing now and then and for records of two kinds. Anything else is parsed, looked up and
//! remembered: 2 to 3 times the time of a decoder with fixed keys, if no key is as expected.
#![expect(clippy::inline_always, reason = "a quarter of the time per record, see benches/decode")]

use std::{
    hash::{BuildHasher, Hasher},
    num::NonZeroU8,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::json::{Cursor, SyntaxError};

/// Words of eight bytes in a spelling.
const WORDS: usize = 4;

/// The longest spelling that is remembered; longer ones are parsed each time.
const MAX_BYTES: usize = WORDS * 8;

/// How many spellings are remembered. When there are more, they are learned again one by one.
const CAPACITY: usize = 1 << u8::BITS;

/// The spelling before the first one of a record. No text matches it.
const START: u8 = 0;

/// Stands for every spelling that is too long. No text matches it.
const TOO_LONG: NonZeroU8 = NonZeroU8::MIN;

/// Number of the first spelling that is remembered.
const FIRST: usize = 2;

/// An alternative takes the place of the expected spelling after it has come this many times in a
/// row.
const CHANGE_AFTER: u8 = 8;

/// What follows the beginning of a record, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<A> {
    /// A key: this is what is done with the value, which comes next.
    Key(A),
    /// The end of the record.
    End,
}

/// What is remembered of the records before. `A` says what is done with the value of a key; it
/// depends on nothing but the key.
#[derive(Debug)]
pub(super) struct Keys<A> {
    spellings: Box<[Spelling<A>; CAPACITY]>,
    /// How many of them are in use.
    len: usize,
    /// Numbers of those in use, by their words.
    index: HashTable<NonZeroU8>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Clone, Copy)]
struct Spelling<A> {
    /// Its bytes, the first one lowest, and zeros.
    words: [u64; WORDS],
    /// Which bits of the words are its bytes.
    masks: [u64; WORDS],
    /// How many bytes it has.
    len: usize,
    step: Step<A>,
    /// The number of the spelling that is expected to follow.
    expected: u8,
    /// The number of the one that is expected otherwise.
    alternative: u8,
    /// How many times in a row it was the alternative that followed.
    surprises: u8,
}

/// What was read where another spelling was expected. Small enough to be returned in registers.
struct Unexpected {
    /// The number of the spelling; `None` if it is a syntax error.
    number: Option<NonZeroU8>,
    /// The place behind it.
    end: usize,
}

/// How far into a record its keys have been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The number of the last spelling.
    last: u8,
}

impl Progress {
    /// Before the brace with which a record begins.
    pub(super) const START: Progress = Progress { last: START };
}

impl<A: Copy> Keys<A> {
    /// Nothing is expected.
    pub(super) fn new() -> Self {
        let matches_nothing = Spelling {
            // No byte of UTF-8.
            words: [u64::MAX; WORDS],
            masks: [u64::MAX; WORDS],
            len: 0,
            step: Step::End,
            expected: START,
            alternative: START,
            surprises: 0,
        };
        Keys {
            spellings: Box::new([matches_nothing; CAPACITY]),
            len: FIRST,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Consumes what stands before the next value, or what ends the record. `resolve` says what is
    /// done with the value of a key.
    #[inline(always)]
    pub(super) fn step(
        &mut self,
        progress: &mut Progress,
        cursor: &mut Cursor<'_>,
        resolve: impl FnOnce(&str) -> A,
    ) -> Result<Step<A>, SyntaxError> {
        let last = &mut self.spellings[usize::from(progress.last)];
        let number = last.expected;
        // Here rather than where it is as expected: it need not wait for the comparison then.
        let surprises = std::mem::take(&mut last.surprises);
        let expected = &self.spellings[usize::from(number)];
        if cursor.take_words(&expected.words, &expected.masks, expected.len) {
            progress.last = number;
            return Ok(expected.step);
        }
        let Unexpected { number, end } =
            self.unexpected(progress.last, surprises, *cursor, resolve);
        progress.last = number.ok_or(SyntaxError)?.get();
        cursor.move_to(end);
        Ok(self.spellings[usize::from(progress.last)].step)
    }

    /// Reads the spelling behind the one with the number `last`, which is not the expected one.
    #[inline(never)]
    fn unexpected(
        &mut self,
        last: u8,
        surprises: u8,
        mut cursor: Cursor<'_>,
        resolve: impl FnOnce(&str) -> A,
    ) -> Unexpected {
        let number = self.spellings[usize::from(last)].alternative;
        let Spelling { words, masks, len, .. } = &self.spellings[usize::from(number)];
        if cursor.take_words(words, masks, *len) {
            let last = &mut self.spellings[usize::from(last)];
            if surprises < CHANGE_AFTER {
                last.surprises = surprises + 1;
            } else {
                (last.expected, last.alternative) = (number, last.expected);
            }
            return Unexpected { number: NonZeroU8::new(number), end: cursor.position() };
        }
        let number = self.read(last, &mut cursor, resolve).ok();
        Unexpected { number, end: cursor.position() }
    }

    /// Parses the spelling behind the one with the number `last`, and expects it from now on.
    #[inline(always)]
    fn read(
        &mut self,
        last: u8,
        cursor: &mut Cursor<'_>,
        resolve: impl FnOnce(&str) -> A,
    ) -> Result<NonZeroU8, SyntaxError> {
        let start = *cursor;
        let ends = match cursor.next() {
            Some(b'{') if last == START => cursor.take(b'}'),
            Some(b',') if last != START => false,
            Some(b'}') if last != START => true,
            _ => return Err(SyntaxError),
        };
        let key = if ends { None } else { Some(cursor.string()?) };
        if !ends {
            if !cursor.take(b':') {
                return Err(SyntaxError);
            }
            cursor.peek();
        }
        let step = || key.map_or(Step::End, |key| Step::Key(resolve(&key)));
        let len = cursor.position() - start.position();
        let Some(masks) = MASKS.get(len) else {
            self.spellings[usize::from(TOO_LONG.get())].step = step();
            return Ok(TOO_LONG);
        };
        let words = start.words(masks);
        let hash = hash(&self.hasher, &words);
        let found = self
            .index
            .find(hash, |number| self.spellings[usize::from(number.get())].words == words);
        let number = match found {
            Some(&number) => number,
            None => self.remember(hash, words, len, step()),
        };
        let last = &mut self.spellings[usize::from(last)];
        match last.expected {
            START => last.expected = number.get(),
            _ => last.alternative = number.get(),
        }
        Ok(number)
    }

    /// Remembers a spelling and returns its number.
    #[cold]
    #[inline(never)]
    fn remember(&mut self, hash: u64, words: [u64; WORDS], len: usize, step: Step<A>) -> NonZeroU8 {
        if self.len == CAPACITY {
            // Those that are expected somewhere may still be there, and remain right until then.
            self.index.clear();
            self.len = FIRST;
        }
        let number = NonZeroU8::new(self.len as u8).expect("the first one is not 0");
        self.spellings[self.len] = Spelling {
            words,
            masks: MASKS[len],
            len,
            step,
            expected: START,
            alternative: START,
            surprises: 0,
        };
        self.len += 1;
        let Keys { spellings, index, hasher, .. } = self;
        index.insert_unique(hash, number, |number| {
            self::hash(hasher, &spellings[usize::from(number.get())].words)
        });
        number
    }
}

/// The hash of a spelling. Keys come from outside, so it is seeded.
fn hash(hasher: &DefaultHashBuilder, words: &[u64; WORDS]) -> u64 {
    let mut state = hasher.build_hasher();
    for word in words {
        state.write_u64(*word);
    }
    state.finish()
}

/// By length, which bits of a spelling's words are its bytes.
const MASKS: [[u64; WORDS]; MAX_BYTES + 1] = {
    let mut masks = [[0; WORDS]; MAX_BYTES + 1];
    let mut len = 1;
    while len <= MAX_BYTES {
        masks[len] = masks[len - 1];
        masks[len][(len - 1) / 8] |= 0xff << ((len - 1) % 8 * 8);
        len += 1;
    }
    masks
};
