//! How the facts of a reason are kept in a decision record (design 4.7, security.md R-84). Which is kept how, [the table](super::table)
//! says; what that means is the keeper's affair.

use super::{FactorBranch, LoginBecause, SignInBranch};
use crate::clock::Timestamp;
use crate::oauth::client::MetadataCode;
use crate::oauth::registration::{AccessFault, TokenFault};

/// Makes words fit to be kept.
pub trait Keep {
    /// This server's own words, or those that it has checked before: as they are.
    fn whole<T>(&self, _: &mut T) {}

    /// The caller's own words: no longer than a record can hold.
    fn cut(&self, words: &mut impl Words);

    /// A list that may be long.
    fn shorten(&self, list: &mut Vec<String>);

    /// An identifier that is unknown, and may be a secret in the wrong place: enough to recognise it, too little to use it.
    fn hint(&self, words: &mut impl Words);

    /// What may be anything, such as a password typed as a username: nothing that can be read.
    fn keyed(&self, words: &mut impl Words);

    /// A path that may hold a token.
    fn path(&self, path: &mut impl Words);
}

/// Text, if there is one.
pub trait Words {
    /// The text itself.
    fn text(&mut self) -> Option<&mut String>;
}

impl Words for String {
    fn text(&mut self) -> Option<&mut String> {
        Some(self)
    }
}

impl Words for Option<String> {
    fn text(&mut self) -> Option<&mut String> {
        self.as_mut()
    }
}

/// What holds nobody's words: numbers, times, and names of cases.
pub(super) trait NoWords {}

impl NoWords for bool {}
impl NoWords for i64 {}
impl NoWords for u64 {}
impl NoWords for usize {}
impl NoWords for Timestamp {}
impl NoWords for AccessFault {}
impl NoWords for FactorBranch {}
impl NoWords for LoginBecause {}
impl NoWords for MetadataCode {}
impl NoWords for SignInBranch {}
impl NoWords for TokenFault {}
impl<T: NoWords> NoWords for Option<T> {}

/// Nothing is to be done; a text cannot come here.
pub(super) fn no_words(_: &impl NoWords) {}
