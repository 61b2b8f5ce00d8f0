//! The table of reasons: all that there is to know about one stands in one row, and everything is read from there.
//!
//! A row has, in this order:
//! - why it is there, and the facts that it carries. Behind `=` stands how a fact is kept in a decision record, by a method of [`Keep`]. A
//!   text without one does not compile: whoever adds it has to say whose words it is.
//! - `rule`: id, title and source of the rule that was broken ([`Rule`]).
//! - `wire`: what a program may see ([`Wire`]).
//! - `page`: what a person sees in a browser ([`OnPage`]). `general()` for reasons that no page leads to.
//! - `story`: what an operator reads ([`Story`]).
//!
//! The rows are in a room for each part of the protocol. A room is a macro that hands its rows, behind those of the rooms before it, to the
//! next room; [`reasons`] is the last and makes an enum and its faces of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kept::{self, Keep};
use super::page::{OnPage, PageText, general, naming, plain, with};
use super::rule::Rule;
use super::story::branches::{factor_failed, initial_access_token, login_required, registration_access, sign_in_failed};
use super::story::{Story, ago, at, closest_difference, one_of, or_none, text_difference, words};
use super::wire::{
    CLIENT_AUTHENTICATION, Wire, bad, bearer_missing, forbidden, insufficient_scope, invalid_client, invalid_token, not_found,
    sanitise, shown, too_many, unavailable,
};
use super::{FactorBranch, LoginBecause, SignInBranch};
use crate::clock::Timestamp;
use crate::oauth::client::{GrantType, MetadataCode};
use crate::oauth::redirect_uri;
use crate::oauth::registration::{AccessFault, TokenFault};

macro_rules! room {
    ($name:ident $($rows:tt)*) => { room! { @made ($) $name $($rows)* } };
    // A dollar sign of the macro that is made has to be handed in.
    (@made ($d:tt) $name:ident $($rows:tt)*) => {
        macro_rules! $name {
            ($d next:ident $d ($d later:ident)* ; $d ($d earlier:tt)*) => {
                $d next! { $d ($d later)* ; $d ($d earlier)* $($rows)* }
            };
        }
    };
}

#[macro_use]
mod admin;
#[macro_use]
mod authorization;
#[macro_use]
mod bearer;
#[macro_use]
mod client;
#[macro_use]
mod code;
#[macro_use]
mod device;
#[macro_use]
mod form;
#[macro_use]
mod grant;
#[macro_use]
mod logout;
#[macro_use]
mod pages;
#[macro_use]
mod refresh;
#[macro_use]
mod registration;
#[macro_use]
mod server;

macro_rules! reasons {
    (; $(
        $(#[$doc:meta])*
        $name:ident $({ $($fact:ident : $type:ty $(= $kept:ident)?),* })? => {
            rule: $id:literal, $title:literal, $spec:literal;
            wire: $wire:expr;
            page: $page:expr;
            story: $story:expr;
        }
    )*) => {
        /// Every reason for which this server says no. Variants carry what the operator needs to understand the case.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "reason", rename_all = "snake_case")]
        pub enum Reason {
            $( $(#[$doc])* $name $({ $($fact: $type),* })?, )*
        }

        impl Reason {
            /// Every variant's name.
            #[cfg(test)]
            pub(super) const NAMES: &[&str] = &[$( stringify!($name) ),*];

            /// The rule behind the refusal.
            pub fn rule(&self) -> Rule {
                match self {
                    $( Self::$name { .. } => Rule { id: $id, title: $title, spec: $spec }, )*
                }
            }

            /// The error as the caller may see it.
            #[allow(unused_variables, reason = "a row uses those of its facts that it needs")]
            pub fn wire(&self) -> Wire {
                match self {
                    $( Self::$name $({ $($fact),* })? => $wire, )*
                }
            }

            /// What a page shows of it.
            #[allow(unused_variables, reason = "a row uses those of its facts that it needs")]
            pub fn page(&self) -> OnPage<'_> {
                match self {
                    $( Self::$name $({ $($fact),* })? => $page, )*
                }
            }

            /// The refusal as a story for the operator.
            #[allow(unused_variables, reason = "a row uses those of its facts that it needs")]
            pub fn story(&self) -> Story {
                match self {
                    $( Self::$name $({ $($fact),* })? => $story, )*
                }
            }

            /// Makes each of its facts fit to be kept in a decision record.
            pub fn keep(&mut self, keep: &impl Keep) {
                match self {
                    $( Self::$name $({ $($fact),* })? => { $($( fact!(keep, $fact $(, $kept)?); )*)? } )*
                }
            }
        }
    };
}

macro_rules! fact {
    ($keep:ident, $fact:ident) => {
        kept::no_words($fact);
    };
    ($keep:ident, $fact:ident, $kept:ident) => {
        $keep.$kept($fact);
    };
}

form! { client authorization pages grant code refresh device bearer registration logout admin server reasons ; }
